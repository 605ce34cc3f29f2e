"""Fixtures of released versions: see `tests/unit/test_released.py`."""
