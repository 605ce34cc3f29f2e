"""Drives builds: `build.py` is the life of a build from top to bottom, `supervisor.py` decides which ones run.

The only place that decides. Everything it needs is handed in; what people see of it goes through reporters.
"""

from __future__ import annotations
