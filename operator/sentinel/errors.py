"""Every error Sentinel raises on purpose, and whose fault each one is.

::

    SentinelError                 carries a reason of the closed list and a message for a person
    ├── UserError                 the build's author can mend it: phase Failed
    ├── InfrastructureError       the cluster failed: phase Errored, perhaps another attempt
    │   ├── SessionLost           the box could not be reached for too long
    │   ├── ProtocolMismatch      the box's boxkit and this operator have no protocol version in common
    │   └── NotVerified           an object under a build's name is not provably the operator's
    ├── TransientError            try again: never ends a build by itself
    │   ├── NotYet                too early: the container is not there yet
    │   └── Conflict              the object was changed meanwhile: read it again
    ├── GoneError                 the thing we acted for is not there any more, or is not ours
    │   └── TakenOver             another operator has gone on with it: two act at once
    ├── BoxEnded                  the box closed its session or its container ended: the pod's status tells why
    ├── ParentPending             the Build waits for another one: it is driven again when there is news of that
    ├── NewerPlan                 a newer operator planned the attempt: leave its pod alone
    ├── CancelledByUser           spec.cancel or a delete
    └── InternalError             our own mistake: phase Errored, reason Internal
        └── ProtocolError         the other side spoke nonsense

Low-level errors (HTTP, git's exit code, botocore's) are mapped to these at the edge where they arise, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentinel.api.reasons import Reason


class SentinelError(Exception):
    """Base of the tree. `message` says where, why and what to do, and holds no secret."""

    def __init__(self, message: str, *, reason: Reason | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


class UserError(SentinelError):
    """The spec, wercker.yml, source, image name or a Secret of the user's is wrong."""


class InfrastructureError(SentinelError):
    """A node, a pod, the registry's network or the object store failed; no fault of the build's."""


class SessionLost(InfrastructureError):
    """Five minutes without a word from a box whose node looks alive."""


class ProtocolMismatch(InfrastructureError):
    """boxkit refused our `hello`, or agreed on a version that we do not speak: another pod gets our own boxkit."""


class NotVerified(InfrastructureError):
    """A pod, ConfigMap or Secret under a build's name was not made by the operator, or was changed since.

    It ends the build. Nothing is done to the object: it may belong to someone else.
    """


class TransientError(SentinelError):
    """Worth another try, with jitter and a bound. `retry_after` is in seconds when the server named it."""

    def __init__(
        self, message: str, *, reason: Reason | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.retry_after = retry_after


class NotYet(TransientError):
    """The container we exec into does not exist yet."""


class Conflict(TransientError):
    """HTTP 409: the object changed since we read it, or exists already."""


class GoneError(SentinelError):
    """What we acted for was deleted, ended or belongs to another attempt: stop without a trace."""


class TakenOver(GoneError):
    """Another operator acts for the same Build, and is further."""


class BoxEnded(SentinelError):
    """The box takes no more requests: its session is closed or its container has ended.

    Says nothing about the Build or its result. The handler looks at the pod.
    """


class NewerPlan(SentinelError):
    """The attempt's Plan has a version that only a newer operator reads. Its pod must not be touched."""


class ParentPending(SentinelError):
    """The Build goes on from `parent` (namespace, name), which has not finished. Drive it again when there is news of
    that one, at the latest after `within` seconds."""

    def __init__(
        self, message: str, *, parent: tuple[str, str], within: float, reason: Reason | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.parent = parent
        self.within = within


class CancelledByUser(SentinelError):
    """spec.cancel was set, or the Build was deleted."""


class InternalError(SentinelError):
    """A bug of ours, or an answer that no server we know of gives."""


class ProtocolError(InternalError):
    """Bytes that are no frame, or a message that breaks the session's protocol."""
