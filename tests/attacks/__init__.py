"""Attacks on every file the package reads, for `tests/campaigns/fuzz.py` and `tests/whole/test_fuzz.py`."""
