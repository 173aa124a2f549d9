"""Results as pages for people: `report.html` of an evaluation, `evolution.html` of an evolution."""
