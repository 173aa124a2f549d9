"""The pictures of an evolution, an evaluation and a fine-tuning: figures, written as PNG or put into a page as SVG."""

from learngene_hub.report.plots.canvas import check_can_draw, svg_address, write_png
from learngene_hub.report.plots.evaluation import draw_curves, draw_starts, draw_sweep
from learngene_hub.report.plots.evolution import draw_evolution
from learngene_hub.report.plots.finetuning import draw_confusion, draw_training
from learngene_hub.report.plots.search import draw_search

__all__ = [
    "check_can_draw",
    "draw_confusion",
    "draw_curves",
    "draw_evolution",
    "draw_search",
    "draw_starts",
    "draw_sweep",
    "draw_training",
    "svg_address",
    "write_png",
]
