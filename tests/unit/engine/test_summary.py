"""The one line about a build in the log."""

from __future__ import annotations

from sentinel.api.build import BuildStatus
from sentinel.engine.summary import summary


def test_the_key_figures_of_a_build_are_in_one_line() -> None:
    status = BuildStatus.model_validate(
        {
            "phase": "Failed",
            "pod": {"name": "p", "uid": "u", "attempt": 2},
            "steps": [
                {"id": "a-1", "name": "a\nb", "state": "Passed"},
                {"id": "b-2", "name": "b", "state": "Failed"},
                {"id": "c-3", "name": "c", "state": "Skipped"},
            ],
            "image": {"digest": "sha256:1"},
            "usage": {
                "queuedSeconds": 1,
                "pendingSeconds": 2,
                "runSeconds": 3,
                "cpuSeconds": 4.5,
                "peakMemoryBytes": 6 * 1024**2,
            },
        }
    )
    assert summary(status, reason="StepFailed") == (
        "Failed (StepFailed); steps: 1 passed, 1 failed, 1 skipped; queued 1 s, pending 2 s, ran 3 s, processor 4.5 s, "
        "peak memory 6 MiB; attempt 2; image sha256:1"
    )


def test_a_build_that_never_began_has_one_too() -> None:
    status = BuildStatus.model_validate({"phase": "Errored"})
    assert summary(status, reason="InvalidSpec") == "Errored (InvalidSpec)"
