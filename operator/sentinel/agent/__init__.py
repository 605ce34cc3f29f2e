"""The node agent: turns a running box into an image and pushes it. It has no port; it watches ImageCommits.

Runtimes are siblings behind `runtimes/base.py`.
"""

from __future__ import annotations
