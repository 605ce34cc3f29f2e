"""Builds as the operator leaves them, moment by moment: what the reporter sees of them."""

from __future__ import annotations

import copy
from typing import Any

UID = "0b8f6f0e-1111-4222-8333-444455556666"
COMMIT = "4f2c1f0c4f2c1f0c4f2c1f0c4f2c1f0c4f2c1f0c"
PREFIX = f"team/project-artifacts/shop/{UID}/1/"

Raw = dict[str, Any]


def time(second: int) -> str:
    return f"2026-11-28T10:00:{second:02d}Z"


def condition(type_: str, status: str, reason: str, message: str = "", *, at: int = 0) -> Raw:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": time(at),
    }


def with_condition(raw: Raw, new: Raw) -> None:
    conditions = raw.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [each for each in conditions if each["type"] != new["type"]] + [new]


def created(name: str = "b", *, uid: str = UID, **spec: Any) -> Raw:
    """A Build before the operator saw it."""
    return {
        "apiVersion": "sentinel.wercker.com/v1alpha1",
        "kind": "Build",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": uid,
            "creationTimestamp": time(0),
        },
        "spec": {
            "pipeline": "build",
            "source": {"git": {"url": "https://git.example/team/shop.git", "ref": "main"}},
            "application": {"id": "shop", "name": "shop"},
            "startedBy": "ada",
            "env": [
                {"name": "COLOUR", "value": "red"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}},
                {"name": "HEADER", "value": "Bearer $(TOKEN)"},
            ],
            "envFrom": [{"secretRef": {"name": "all"}, "prefix": "X_"}],
            **spec,
        },
    }


def steps(*phases: str) -> list[Raw]:
    return [
        {
            "id": f"script-{n}",
            "name": "script",
            "displayName": f"step {n}",
            "phase": phase,
            "state": "Pending",
        }
        for n, phase in enumerate(phases, start=1)
    ]


class Story:
    """A Build that changes; `states` are all its states so far, oldest first."""

    def __init__(self, raw: Raw | None = None, *, stored: bool = True) -> None:
        self.raw = raw if raw is not None else created()
        self.states: list[Raw] = []
        self._stored = stored
        self._second = 0
        self.note()

    def note(self) -> None:
        self.states.append(copy.deepcopy(self.raw))

    def tick(self) -> int:
        self._second += 1
        return self._second

    @property
    def status(self) -> Raw:
        status: Raw = self.raw.setdefault("status", {})
        return status

    def begin(self) -> None:
        self.status["startTime"] = time(self.tick())
        self.note()

    def accept(self, *phases: str) -> None:
        self.status["source"] = {"commit": COMMIT, "branch": "main", "subject": "Sell more"}
        self.note()
        self.status["box"] = {"image": "debian:12", "digest": "sha256:aa"}
        with_condition(self.raw, condition("Accepted", "True", "Valid", "fine", at=self.tick()))
        self.status["steps"] = steps(*phases)
        self.status["pod"] = {"attempt": 1}
        if self._stored:
            prefix = PREFIX.replace(UID, self.raw["metadata"]["uid"])
            self.status["results"] = {"prefix": prefix}
        with_condition(self.raw, condition("Succeeded", "Unknown", "Pending"))
        self.note()

    def open(self) -> None:
        self.status["pod"] |= {"name": "b-0b8f6f0e-1", "node": "n1"}
        with_condition(self.raw, condition("PodReady", "True", "Ready", at=self.tick()))
        self.note()
        with_condition(self.raw, condition("Succeeded", "Unknown", "Running"))
        self.note()

    def step(self, number: int, *, passed: bool = True) -> None:
        step = self.status["steps"][number - 1]
        step |= {"state": "Running", "startTime": time(self.tick())}
        self.note()
        reason = "Passed" if passed else "ExitCode"
        step |= {
            "state": "Passed" if passed else "Failed",
            "completionTime": time(self.tick()),
            "exitCode": 0 if passed else 3,
            "reason": reason,
        }
        if not passed:
            step["message"] = "exited with code 3"
        self.note()

    def decide(self, status: str, reason: str, message: str = "") -> None:
        new = condition("Succeeded", status, reason, message, at=self.tick())
        with_condition(self.raw, new)
        if not any(c["type"] == "Accepted" for c in self.status["conditions"]):
            with_condition(
                self.raw, condition("Accepted", "False", reason, message, at=self._second)
            )
        self.note()

    def finish(self) -> None:
        for step in self.status.get("steps", []):
            if step["state"] == "Running":
                step |= {
                    "state": "Failed",
                    "reason": "Cancelled",
                    "completionTime": time(self.tick()),
                }
            elif step["state"] == "Pending":
                step |= {"state": "Skipped", "reason": "Skipped"}
        self.note()
        with_condition(self.raw, condition("Finished", "True", "Completed", at=self.tick()))
        self.status["completionTime"] = time(self._second)
        self.note()


def passed(*, stored: bool = True, uid: str = UID) -> Story:
    story = Story(created(uid=uid), stored=stored)
    story.begin()
    story.accept("main", "main", "after")
    story.open()
    story.step(1)
    story.step(2)
    story.status["image"] = {"repository": "r/team/shop", "digest": "sha256:bb", "tags": ["latest"]}
    if stored:
        story.status["results"]["output"] = {"sizeBytes": 3, "sha256": "cc"}
    story.note()
    story.step(3)
    story.decide("True", "Passed", "all 2 steps passed")
    story.finish()
    return story


def failed() -> Story:
    story = Story()
    story.begin()
    story.accept("main", "main", "after")
    story.open()
    story.step(1, passed=False)
    story.step(3)
    story.decide("False", "ExitCode", "step 'step 1' failed: exited with code 3")
    story.finish()
    return story


def cancelled() -> Story:
    story = Story()
    story.begin()
    story.accept("main", "main")
    story.open()
    story.status["steps"][0] |= {"state": "Running", "startTime": time(story.tick())}
    story.note()
    story.decide("False", "Cancelled", "spec.cancel was set")
    story.finish()
    return story


def refused() -> Story:
    story = Story()
    story.begin()
    story.decide("False", "SourceNotFound", "there is no repository")
    story.finish()
    return story


def invalid() -> Story:
    story = Story(created(env=[{"name": "not a name"}]))
    story.decide("False", "InvalidSpec", "the Build's spec is not valid")
    story.finish()
    return story


def lost() -> Story:
    """The pod is lost before a step, after the operator said that steps may begin."""
    story = Story()
    story.begin()
    story.accept("main")
    story.open()
    story.decide("False", "PodEvicted", "the pod was evicted")
    story.finish()
    return story


STORIES = {
    "passed": passed,
    "failed": failed,
    "cancelled": cancelled,
    "refused": refused,
    "invalid": invalid,
}
