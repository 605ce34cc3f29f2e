"""Fetching a project: git, used by the operator (resolve a ref, read one file) and in the pod (check out).

`fetch.py` and what it imports (`address`, `complaint`, `gitcommand`) use the standard library only: they stand on
every build's critical path.
"""

from __future__ import annotations
