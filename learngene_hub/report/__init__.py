"""Results as one page for people: `report.html`, with its pictures beside it."""

from learngene_hub.report.page import REPORT_NAME, render_report, write_report

__all__ = ["REPORT_NAME", "render_report", "write_report"]
