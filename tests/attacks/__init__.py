"""Attacks on every file the package reads, for `tests/campaigns/fuzz.py` and `tests/test_fuzz.py`."""
