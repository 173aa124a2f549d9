"""Does a gene help? Descendants beside training from scratch and baselines: same tasks, images, steps and seeds.

Every task is met by every start. The newborn weights that are not inherited, the batches and their augmentation are
equal for all starts of a task. The starts differ in what they inherit, and in the learning rate that suits each best
on held-out classes: with one rate for all, the start that it happens to suit would win.
"""

from learngene_hub.evaluation.protocols import PROTOCOLS, Protocol
from learngene_hub.evaluation.run import Descendants, evaluate
from learngene_hub.evaluation.sources import Target
from learngene_hub.evaluation.starts import BASELINES

__all__ = ["BASELINES", "PROTOCOLS", "Descendants", "Protocol", "Target", "evaluate"]
