"""Does a gene help? Descendants, training from scratch and baselines on the same tasks, images, steps and seeds.

Every start is trained on every task. The weights that are not inherited, the batches and their augmentation are equal
for all starts of a task. The starts differ in what they inherit, and in their learning rate: the best one for each on
held-out classes. With one rate for all, the start that this rate happens to suit would win.

Each name is loaded when it is first used, so that unknown protocols are refused without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learngene_hub.evaluation.protocols import PROTOCOLS, Protocol
    from learngene_hub.evaluation.run import Descendants, evaluate
    from learngene_hub.evaluation.sources import Target
    from learngene_hub.evaluation.starts import BASELINES

_HOMES = {
    "BASELINES": "starts",
    "PROTOCOLS": "protocols",
    "Descendants": "run",
    "Protocol": "protocols",
    "Target": "sources",
    "evaluate": "run",
}

__all__ = ["BASELINES", "PROTOCOLS", "Descendants", "Protocol", "Target", "evaluate"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
