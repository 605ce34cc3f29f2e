"""The one line about a build in the operator's log, at its end. Pure.

All that a project chooses is left out or quoted elsewhere: names of steps, messages, branches are in the Build.
"""

from __future__ import annotations

from collections import Counter

from sentinel.api.build import BuildStatus
from sentinel.api.reasons import Reason


def summary(status: BuildStatus, *, reason: Reason | str) -> str:
    """How a build ended, with its key figures: `Succeeded (Passed), 3 steps passed, queued 0 s, …`."""
    parts = [f"{status.phase or 'ended'} ({reason})"]
    counts = Counter(str(step.state).lower() for step in status.steps)
    if counts:
        parts.append("steps: " + ", ".join(f"{count} {state}" for state, count in counts.items()))
    if (usage := status.usage) is not None:
        parts.append(
            f"queued {usage.queued_seconds} s, pending {usage.pending_seconds} s, ran {usage.run_seconds} s, "
            f"processor {usage.cpu_seconds:g} s, peak memory {usage.peak_memory_bytes / 1024**2:.0f} MiB"
        )
    if status.pod is not None and status.pod.attempt > 1:
        parts.append(f"attempt {status.pod.attempt}")
    if status.image is not None and status.image.digest:
        parts.append(f"image {status.image.digest}")
    return "; ".join(parts)
