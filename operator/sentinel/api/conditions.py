"""Kubernetes conditions as values: set one, read one, and derive the phase from all of them.

After the API conventions: positive polarity, a reason always, `lastTransitionTime` only when the status flips.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sentinel.api.reasons import Blame, Reason, read_reason

MESSAGE_LIMIT = 1024
"""Longest condition message we write, in characters; Kubernetes itself allows 32 KiB."""


class Phase(StrEnum):
    """One word for people and selectors, derived from the conditions by `derive_phase`."""

    QUEUED = "Queued"
    PREPARING = "Preparing"
    STARTING = "Starting"
    RUNNING = "Running"
    FINISHING = "Finishing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ERRORED = "Errored"
    CANCELLED = "Cancelled"

    @property
    def ended(self) -> bool:
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.ERRORED, Phase.CANCELLED)


class ConditionType(StrEnum):
    """The conditions of a Build."""

    ACCEPTED = "Accepted"
    POD_READY = "PodReady"
    SUCCEEDED = "Succeeded"
    FINISHED = "Finished"


class Condition(BaseModel):
    """One entry of `status.conditions`."""

    model_config = ConfigDict(populate_by_name=True, frozen=True)

    type: Annotated[str, Field(max_length=64, description="What is observed.")]
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: Annotated[
        str, Field(max_length=64, description="One word of the closed list, for machines.")
    ]
    message: Annotated[
        str, Field(max_length=32768, description="What happened, for a person, with the evidence.")
    ] = ""
    last_transition_time: str = Field(
        default="",
        alias="lastTransitionTime",
        description="When `status` last changed.",
        json_schema_extra={"format": "date-time"},
    )
    observed_generation: int = Field(
        default=0, alias="observedGeneration", description="The generation this was said of."
    )


def get_condition(conditions: Iterable[Condition], type_: ConditionType) -> Condition | None:
    """The condition of that type, or None."""
    return next((c for c in conditions if c.type == type_), None)


def set_condition(
    conditions: Iterable[Condition],
    *,
    type_: ConditionType,
    status: Literal["True", "False", "Unknown"],
    reason: Reason | str,
    message: str,
    now: str,
    generation: int,
) -> tuple[Condition, ...]:
    """A copy of `conditions` with one set; `lastTransitionTime` moves only when the status does.

    `now` is an RFC 3339 time. Conditions of other writers keep their place and content.
    """
    kept = list(conditions)
    old = get_condition(kept, type_)
    new = Condition(
        type=type_,
        status=status,
        reason=reason,
        message=message[:MESSAGE_LIMIT],
        lastTransitionTime=old.last_transition_time if old and old.status == status else now,
        observedGeneration=generation,
    )
    if old is None:
        return (*kept, new)
    return tuple(new if c.type == type_ else c for c in kept)


def derive_phase(conditions: Iterable[Condition], *, running: bool, finishing: bool) -> Phase:
    """The one word that `kubectl get builds` shows.

    `running`: a step has started; `finishing`: the last main step has ended and the build has not.
    """
    known = list(conditions)
    finished = get_condition(known, ConditionType.FINISHED)
    succeeded = get_condition(known, ConditionType.SUCCEEDED)
    if finished is not None and finished.status == "True" and succeeded is not None:
        if succeeded.status == "True":
            return Phase.SUCCEEDED
        return {
            Blame.CANCEL: Phase.CANCELLED,
            Blame.PLATFORM: Phase.ERRORED,
            # A pod that stayed pending without a word: whatever it was, not the user's build.
            Blame.NOBODY: Phase.ERRORED,
        }.get(_blame(succeeded.reason), Phase.FAILED)
    if finishing:
        return Phase.FINISHING
    if running:
        return Phase.RUNNING
    accepted = get_condition(known, ConditionType.ACCEPTED)
    if accepted is None:
        return Phase.QUEUED
    return Phase.STARTING if accepted.status == "True" else Phase.PREPARING


def _blame(reason: str) -> Blame:
    known = read_reason(reason)
    # A reason of another release: a false alert is better than a missed one.
    return known.blame if isinstance(known, Reason) else Blame.PLATFORM
