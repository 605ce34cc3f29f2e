"""Logging set-up and health. (Not `logging.py`: a reader would stumble.)"""

from __future__ import annotations
