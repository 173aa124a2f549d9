"""Attacks on files that strangers send, for `tests/campaigns/fuzz.py` and `tests/whole/test_fuzz.py`."""
