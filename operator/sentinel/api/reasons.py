"""The closed list of reasons, used alike in conditions, step states, events, metrics and the docs.

Not here: messages. A reason is a word for machines; the message beside it quotes the evidence for a person.
"""

from __future__ import annotations

from enum import StrEnum


class Blame(StrEnum):
    """Whose failure it is, and so which phase the Build ends in."""

    NOBODY = "nobody"
    USER = "user"
    PLATFORM = "platform"
    CANCEL = "cancel"


class Reason(StrEnum):
    """Every reason Sentinel writes (`api.md` §4 and §5)."""

    # Accepted
    VALID = "Valid"
    INVALID_SPEC = "InvalidSpec"
    SOURCE_NOT_FOUND = "SourceNotFound"
    SOURCE_AUTH_FAILED = "SourceAuthFailed"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    SOURCE_INVALID = "SourceInvalid"
    CONFIG_MISSING = "ConfigMissing"
    CONFIG_INVALID = "ConfigInvalid"
    PIPELINE_NOT_FOUND = "PipelineNotFound"
    IMAGE_NOT_FOUND = "ImageNotFound"
    IMAGE_AUTH_FAILED = "ImageAuthFailed"
    REGISTRY_UNAVAILABLE = "RegistryUnavailable"
    REGISTRY_NOT_ALLOWED = "RegistryNotAllowed"
    STEP_NOT_FOUND = "StepNotFound"
    STEP_INVALID = "StepInvalid"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, not a password
    PORT_CONFLICT = "PortConflict"
    COMMIT_UNSUPPORTED = "CommitUnsupported"
    RESOLVE_LIMIT_EXCEEDED = "ResolveLimitExceeded"
    RESOLVER_UNAVAILABLE = "ResolverUnavailable"
    PARENT_NOT_FOUND = "ParentNotFound"
    PARENT_FAILED = "ParentFailed"

    # PodReady: why a pod does not start (`api.md` §5)
    READY = "Ready"
    PENDING = "Pending"
    UNSCHEDULABLE = "Unschedulable"
    QUOTA_EXCEEDED = "QuotaExceeded"
    ADMISSION_DENIED = "AdmissionDenied"
    SERVICE_ACCOUNT_MISSING = "ServiceAccountMissing"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    INVALID_IMAGE_NAME = "InvalidImageName"
    CONTAINER_CONFIG_INVALID = "ContainerConfigInvalid"
    CONTAINER_CREATE_FAILED = "ContainerCreateFailed"
    VOLUME_UNAVAILABLE = "VolumeUnavailable"
    SANDBOX_FAILED = "SandboxFailed"
    FETCH_FAILED = "FetchFailed"
    NODE_LOST = "NodeLost"

    # Steps, and Succeeded
    PASSED = "Passed"
    RUNNING = "Running"
    EXIT_CODE = "ExitCode"
    OUT_OF_MEMORY = "OutOfMemory"
    COMMAND_TIMEOUT = "CommandTimeout"
    NO_RESPONSE_TIMEOUT = "NoResponseTimeout"
    BUILD_TIMEOUT = "BuildTimeout"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"
    SHELL_MISSING = "ShellMissing"
    ARCHITECTURE_MISMATCH = "ArchitectureMismatch"
    BOX_TERMINATED = "BoxTerminated"
    STORAGE_LIMIT_EXCEEDED = "StorageLimitExceeded"
    COMMIT_FAILED = "CommitFailed"
    PUSH_FAILED = "PushFailed"
    STORE_FAILED = "StoreFailed"
    OUTPUT_TOO_LARGE = "OutputTooLarge"
    OUTPUT_UNREADABLE = "OutputUnreadable"
    IMAGE_TOO_LARGE = "ImageTooLarge"

    # Errored
    POD_EVICTED = "PodEvicted"
    POD_DELETED = "PodDeleted"
    NODE_DISK_FULL = "NodeDiskFull"
    SESSION_LOST = "SessionLost"
    PROTOCOL_MISMATCH = "ProtocolMismatch"
    NOT_VERIFIED = "NotVerified"
    AGENT_UNAVAILABLE = "AgentUnavailable"
    INTERNAL = "Internal"

    # Finished
    COMPLETED = "Completed"

    @property
    def blame(self) -> Blame:
        """Whose failure this reason is. Everything that is not listed as ours or the cluster's is the user's."""
        if self in _NEUTRAL:
            return Blame.NOBODY
        if self is Reason.CANCELLED:
            return Blame.CANCEL
        return Blame.PLATFORM if self in _PLATFORM else Blame.USER


def read_reason(text: str) -> Reason | str:
    """`text` as a Reason, or unchanged where another release wrote it."""
    try:
        return Reason(text)
    except ValueError:
        return text


_NEUTRAL = {
    Reason.VALID,
    Reason.READY,
    Reason.PENDING,
    Reason.PASSED,
    Reason.RUNNING,
    Reason.SKIPPED,
    Reason.COMPLETED,
}
_PLATFORM = {
    Reason.SOURCE_UNAVAILABLE,
    Reason.REGISTRY_UNAVAILABLE,
    Reason.RESOLVER_UNAVAILABLE,
    Reason.COMMIT_FAILED,
    Reason.STORE_FAILED,
    Reason.UNSCHEDULABLE,
    Reason.QUOTA_EXCEEDED,
    Reason.VOLUME_UNAVAILABLE,
    Reason.SANDBOX_FAILED,
    # The fetcher died without a word of its own; where it could say why, its own reason stands.
    Reason.FETCH_FAILED,
    Reason.CONTAINER_CREATE_FAILED,
    Reason.BOX_TERMINATED,
    Reason.POD_EVICTED,
    Reason.POD_DELETED,
    Reason.NODE_LOST,
    Reason.NODE_DISK_FULL,
    Reason.SESSION_LOST,
    Reason.PROTOCOL_MISMATCH,
    # Whoever wrote the object, it was not the author of this build.
    Reason.NOT_VERIFIED,
    Reason.AGENT_UNAVAILABLE,
    Reason.INTERNAL,
}


class CommitReason(StrEnum):
    """Why an ImageCommit failed (`image-commit.md` §7.1)."""

    POD_GONE = "PodGone"
    NOT_OWNED = "NotOwned"
    TOO_BIG = "TooBig"
    NO_SPACE = "NoSpace"
    AUTH_FAILED = "AuthFailed"
    REGISTRY_UNAVAILABLE = "RegistryUnavailable"
    REPOSITORY_NOT_ALLOWED = "RepositoryNotAllowed"
    PUSH_REFUSED = "PushRefused"
    RUNTIME_ERROR = "RuntimeError"
    DEADLINE = "Deadline"
    UNSUPPORTED = "Unsupported"
    COMMITTED = "Committed"


PUSH_REASONS = frozenset(
    {
        CommitReason.AUTH_FAILED,
        CommitReason.REGISTRY_UNAVAILABLE,
        CommitReason.REPOSITORY_NOT_ALLOWED,
        CommitReason.PUSH_REFUSED,
    }
)
"""Commit reasons that a Build reports as PushFailed (the user's registry); all others are CommitFailed."""
