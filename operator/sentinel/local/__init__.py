"""`sentinel run`: one build on a Docker Engine, with no cluster.

The Plan, the session with boxkit and the state machine of steps are those of the operator; here is what takes the place
of a pod (containers, volumes, files) and of the API server (what a terminal shows). Not here: what a step means.
"""

from __future__ import annotations
