"""Whether the box that greets us is the one we mean and speaks our protocol, decided before it is asked anything."""

from __future__ import annotations

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, NotVerified, ProtocolMismatch
from sentinel.session.messages import PROTOCOLS, Welcome


def check_welcome(welcome: Welcome, *, read: int, box: tuple[str, int] | None) -> None:
    """Raise for a box that we cannot go on with.

    `read` is the number of journal records read so far, `box` the uid and attempt of the build whose box it must be,
    None for any. Raises ProtocolMismatch; InfrastructureError BoxTerminated where the journal is shorter than what was
    read; NotVerified where the box was opened for another build or attempt.
    """
    lowest, highest = PROTOCOLS
    if not lowest <= welcome.protocol <= highest:
        raise mismatch(f"boxkit {welcome.version} speaks protocol {welcome.protocol}")
    if box is not None and welcome.build and (welcome.build, welcome.attempt) != box:
        raise NotVerified(
            f"the box answers for attempt {welcome.attempt} of build {welcome.build[:64]}, not for attempt {box[1]} of "
            f"build {box[0]}: nothing was started in it",
            reason=Reason.NOT_VERIFIED,
        )
    if welcome.seq < read:
        raise InfrastructureError(
            f"the box has lost its journal ({read} records were read, it has {welcome.seq}): its container was "
            "replaced while the build ran",
            reason=Reason.BOX_TERMINATED,
        )


def mismatch(what: str) -> ProtocolMismatch:
    """`what` happened because operator and boxkit are of different releases."""
    lowest, highest = PROTOCOLS
    return ProtocolMismatch(
        f"{what}; this operator speaks protocol {lowest} to {highest}. The pod was made by another release of "
        "Sentinel: submit the Build again, or run the operator's other release until its builds have ended",
        reason=Reason.PROTOCOL_MISMATCH,
    )
