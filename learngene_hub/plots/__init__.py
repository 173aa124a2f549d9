"""The pictures, as PNG: an evolution, an evaluation, a fine-tuning."""

from learngene_hub.plots.canvas import check_can_draw
from learngene_hub.plots.evaluation import draw_curves, draw_starts, draw_sweep, spread
from learngene_hub.plots.evolution import draw_evolution
from learngene_hub.plots.finetuning import draw_confusion, draw_training

__all__ = [
    "check_can_draw",
    "draw_confusion",
    "draw_curves",
    "draw_evolution",
    "draw_starts",
    "draw_sweep",
    "draw_training",
    "spread",
]
