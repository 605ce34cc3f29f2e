"""From a Config and a Build to a Plan, from a Plan to a pod, and from a pod back to what it says. Pure.

The Plan is what a running attempt is driven by, also after the operator was restarted, upgraded or cut off from git:
it is stored with the pod and never computed twice.
"""

from __future__ import annotations
