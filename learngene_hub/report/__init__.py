"""Results as pages for people: `report.html` of an evaluation, `evolution.html` of an evolution."""

from learngene_hub.report.evolution import EVOLUTION_NAME, render_evolution
from learngene_hub.report.page import REPORT_NAME, render_report, write_report

__all__ = ["EVOLUTION_NAME", "REPORT_NAME", "render_evolution", "render_report", "write_report"]
