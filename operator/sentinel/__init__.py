"""Sentinel runs wercker builds on Kubernetes.

The package holds every Python role: the operator, the node agent, the fetcher of a build pod's init
containers and the command line. `engine/build.py` is the place to start reading: it is the life of a build.
"""

from __future__ import annotations

__version__ = "0.1.0"
