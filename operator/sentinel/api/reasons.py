"""The closed list of reasons, used alike in conditions, step states, events, metrics and the docs: one row each.

Not here: messages. A reason is a word for machines; the message beside it quotes the evidence for a person.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from sentinel.errors import InfrastructureError, SentinelError, UserError


class Blame(StrEnum):
    """Whose failure it is, and so which phase the Build ends in."""

    NOBODY = "nobody"
    USER = "user"
    PLATFORM = "platform"
    CANCEL = "cancel"


class Reason(StrEnum):
    """Every reason that Sentinel writes: name, whose failure it is, what it means, and what to do.

    The rows are the text of docs/reference/reasons.md.
    """

    blame: Blame
    meaning: str
    remedy: str

    def __new__(cls, name: str, blame: Blame, meaning: str, remedy: str = "") -> Self:
        row = str.__new__(cls, name)
        row._value_ = name
        row.blame, row.meaning, row.remedy = blame, meaning, remedy
        return row

    def error(self, message: str) -> SentinelError:
        """The exception of a failure with this reason: its class follows from whose failure it is."""
        kind = UserError if self.blame is Blame.USER else InfrastructureError
        return kind(message, reason=self)

    # Accepted
    VALID = (
        "Valid",
        Blame.NOBODY,
        "Spec, source, wercker.yml, images and steps are fine.",
    )
    INVALID_SPEC = (
        "InvalidSpec",
        Blame.USER,
        "A field of the Build's spec cannot be used.",
        "The message names it: submit a new Build.",
    )
    SOURCE_NOT_FOUND = (
        "SourceNotFound",
        Blame.USER,
        "The repository, ref or archive was not found, its address is not valid, or a directory did not arrive.",
        "Check spec.source; the message lists refs with similar names.",
    )
    SOURCE_AUTH_FAILED = (
        "SourceAuthFailed",
        Blame.USER,
        "The server rejected the credentials, or requires some.",
        "Check the Secret that spec.source names.",
    )
    SOURCE_UNAVAILABLE = (
        "SourceUnavailable",
        Blame.PLATFORM,
        "The server did not answer, or closed the connection, three times.",
    )
    SOURCE_INVALID = (
        "SourceInvalid",
        Blame.USER,
        "The archive or repository is corrupt, unsafe or too large, or the archive's sha256 does not match.",
    )
    CONFIG_MISSING = (
        "ConfigMissing",
        Blame.USER,
        "The project has no wercker.yml.",
        "Add one (`sentinel detect`), or set spec.config.",
    )
    CONFIG_INVALID = (
        "ConfigInvalid",
        Blame.USER,
        "wercker.yml has errors that concern this pipeline; the message quotes the lines.",
        "`sentinel check` finds the same before you push.",
    )
    PIPELINE_NOT_FOUND = (
        "PipelineNotFound",
        Blame.USER,
        "wercker.yml has no such pipeline.",
        "The message lists those that it has.",
    )
    IMAGE_NOT_FOUND = (
        "ImageNotFound",
        Blame.USER,
        "The image of the box or of a service was not found in its registry.",
    )
    IMAGE_AUTH_FAILED = (
        "ImageAuthFailed",
        Blame.USER,
        "A registry rejected the credentials, or requires some.",
        "Check spec.image.pullSecretRefs.",
    )
    REGISTRY_UNAVAILABLE = (
        "RegistryUnavailable",
        Blame.PLATFORM,
        "A registry did not answer.",
    )
    REGISTRY_NOT_ALLOWED = (
        "RegistryNotAllowed",
        Blame.USER,
        "The operator's settings do not allow images of that registry.",
    )
    STEP_NOT_FOUND = (
        "StepNotFound",
        Blame.USER,
        "A step of the pipeline was not found in the registry, or not in that version. Nothing has run.",
    )
    STEP_INVALID = (
        "StepInvalid",
        Blame.USER,
        "A step's archive is corrupt, unsafe, too large, or changed while the build ran.",
    )
    SECRET_NOT_FOUND = (
        "SecretNotFound",
        Blame.USER,
        "A Secret or ConfigMap that the Build names, or a key of it, was not found.",
    )
    PORT_CONFLICT = (
        "PortConflict",
        Blame.USER,
        "Two services listen on one port; all services of a build share one network.",
    )
    COMMIT_UNSUPPORTED = (
        "CommitUnsupported",
        Blame.USER,
        "The box cannot be committed with its pod settings, its image or its node.",
    )
    RESOLVE_LIMIT_EXCEEDED = (
        "ResolveLimitExceeded",
        Blame.USER,
        "Reading the source, wercker.yml, image configurations or steps of the Build took more memory, time, disk "
        "or the like than one Build may.",
        "The message names the limit and the operator's setting.",
    )
    RESOLVER_UNAVAILABLE = (
        "ResolverUnavailable",
        Blame.PLATFORM,
        "The resolver container of the operator's pod was not reachable, or ended several times while it worked on "
        "the Build.",
        "Check its log and its memory limit; submit the Build again.",
    )
    PARENT_NOT_FOUND = (
        "ParentNotFound",
        Blame.USER,
        "The Build that spec.parent or spec.inputs names was not found within 30 s, or the one above it whose source "
        "is needed.",
        "Finished Builds are deleted after their ttlAfterFinished: submit the parent again, or set spec.source.",
    )
    PARENT_FAILED = (
        "ParentFailed",
        Blame.USER,
        "The Build that spec.parent or spec.inputs names did not succeed, or did not finish within timeouts.pending "
        "and timeouts.build of this one. The message has its reason.",
    )

    # PodReady: why a pod does not start (kubernetes.md "Pods")
    READY = (
        "Ready",
        Blame.NOBODY,
        "The box answers.",
    )
    PENDING = (
        "Pending",
        Blame.NOBODY,
        "The pod has not started yet, and nothing shows why not.",
    )
    UNSCHEDULABLE = (
        "Unschedulable",
        Blame.PLATFORM,
        "The scheduler found no node for the pod; the message is the scheduler's. Waited for until timeouts.pending.",
    )
    QUOTA_EXCEEDED = (
        "QuotaExceeded",
        Blame.PLATFORM,
        "A ResourceQuota of the namespace is used up: the message names the object and the quota. Waited for until "
        "timeouts.pending.",
    )
    ADMISSION_DENIED = (
        "AdmissionDenied",
        Blame.USER,
        "The API server denied the pod, or another object that the build needs: Pod Security, a webhook, a "
        "LimitRange, or a quota that requires limits.",
        "The message names the field to set.",
    )
    SERVICE_ACCOUNT_MISSING = (
        "ServiceAccountMissing",
        Blame.USER,
        "The service account of spec.pod was not found within 10 s. The default account of a new namespace is "
        "waited for until timeouts.pending.",
    )
    IMAGE_PULL_FAILED = (
        "ImagePullFailed",
        Blame.USER,
        "The node cannot pull an image; the message is the kubelet's. Given up after 30 s of failing.",
    )
    INVALID_IMAGE_NAME = (
        "InvalidImageName",
        Blame.USER,
        "An image name is not valid.",
    )
    CONTAINER_CONFIG_INVALID = (
        "ContainerConfigInvalid",
        Blame.USER,
        "A container cannot be created as it is described: a Secret, ConfigMap or user.",
    )
    CONTAINER_CREATE_FAILED = (
        "ContainerCreateFailed",
        Blame.PLATFORM,
        "The runtime cannot start a container: its entrypoint or a mount.",
    )
    VOLUME_UNAVAILABLE = (
        "VolumeUnavailable",
        Blame.PLATFORM,
        "A volume cannot be mounted. Waited for until timeouts.pending.",
    )
    SANDBOX_FAILED = (
        "SandboxFailed",
        Blame.PLATFORM,
        "The node cannot set up the pod's network. Waited for until timeouts.pending.",
    )
    FETCH_FAILED = (
        "FetchFailed",
        Blame.PLATFORM,
        "The container that fetches the source ended without an error message.",
    )
    NODE_LOST = (
        "NodeLost",
        Blame.PLATFORM,
        "The pod's node has not been ready for a minute.",
    )

    # Steps, and Succeeded
    PASSED = (
        "Passed",
        Blame.NOBODY,
        "All steps passed.",
    )
    RUNNING = (
        "Running",
        Blame.NOBODY,
        "It runs.",
    )
    EXIT_CODE = (
        "ExitCode",
        Blame.USER,
        "The step ended with an exit code other than 0.",
        "Its log has the error.",
    )
    OUT_OF_MEMORY = (
        "OutOfMemory",
        Blame.USER,
        "The kernel killed a process of the step, or the box.",
        "Raise spec.pod.box.resources.limits.memory.",
    )
    COMMAND_TIMEOUT = (
        "CommandTimeout",
        Blame.USER,
        "The step took longer than command-timeout.",
    )
    NO_RESPONSE_TIMEOUT = (
        "NoResponseTimeout",
        Blame.USER,
        "The step printed nothing for as long as no-response-timeout.",
    )
    BUILD_TIMEOUT = (
        "BuildTimeout",
        Blame.USER,
        "The main steps together took longer than spec.timeouts.build.",
    )
    CANCELLED = (
        "Cancelled",
        Blame.CANCEL,
        "spec.cancel was set.",
    )
    SKIPPED = (
        "Skipped",
        Blame.NOBODY,
        "An earlier step failed, or the box was stopped, so this one did not run.",
    )
    SHELL_MISSING = (
        "ShellMissing",
        Blame.USER,
        "The box has neither bash nor sh, or not the one that its cmd names.",
    )
    ARCHITECTURE_MISMATCH = (
        "ArchitectureMismatch",
        Blame.USER,
        "The box's shell does not run on the node's architecture.",
    )
    BOX_TERMINATED = (
        "BoxTerminated",
        Blame.PLATFORM,
        "The box's container ended while the build ran, and its pod was neither evicted nor deleted: a step stopped "
        "process 1 (`kill 1`), or the runtime did.",
    )
    STORAGE_LIMIT_EXCEEDED = (
        "StorageLimitExceeded",
        Blame.USER,
        "The build wrote more than an ephemeral-storage limit or an emptyDir's sizeLimit of its pod allows, and the "
        "kubelet evicted the pod.",
        "Raise the limit that the message names, or write less.",
    )
    COMMIT_FAILED = (
        "CommitFailed",
        Blame.PLATFORM,
        "Committing the box to an image failed; the message is the agent's.",
    )
    PUSH_FAILED = (
        "PushFailed",
        Blame.USER,
        "Pushing the image failed; the message is the registry's.",
    )
    STORE_FAILED = (
        "StoreFailed",
        Blame.PLATFORM,
        "The output could not be written to the object store.",
    )
    OUTPUT_TOO_LARGE = (
        "OutputTooLarge",
        Blame.USER,
        "$WERCKER_OUTPUT_DIR holds more than is stored.",
    )
    OUTPUT_UNREADABLE = (
        "OutputUnreadable",
        Blame.USER,
        "The box's user may not read a file in $WERCKER_OUTPUT_DIR; the message names it.",
        "Change its mode in the step that makes it, or remove it.",
    )
    IMAGE_TOO_LARGE = (
        "ImageTooLarge",
        Blame.USER,
        "The box changed more than an image may hold: bytes (a sparse file counts in full), files, or names.",
        "Delete what the image does not need in a step, or list it in spec.image.excludePaths.",
    )

    # Errored
    POD_EVICTED = (
        "PodEvicted",
        Blame.PLATFORM,
        "The pod was evicted: its node was low on a resource, was drained or shut down, or a pod of higher priority "
        "took its place.",
        "spec.retries allows another attempt.",
    )
    POD_DELETED = (
        "PodDeleted",
        Blame.PLATFORM,
        "The pod was deleted.",
    )
    NODE_DISK_FULL = (
        "NodeDiskFull",
        Blame.PLATFORM,
        "The node has no room for the build's logs.",
    )
    SESSION_LOST = (
        "SessionLost",
        Blame.PLATFORM,
        "The box did not answer for five minutes, though its node is ready.",
    )
    PROTOCOL_MISMATCH = (
        "ProtocolMismatch",
        Blame.PLATFORM,
        "The pod was made by another release of Sentinel; its boxkit and this operator have no protocol version in "
        "common.",
    )
    NOT_VERIFIED = (
        "NotVerified",
        Blame.PLATFORM,
        "A pod, ConfigMap or Secret under the build's name cannot be proven to be the operator's: its signature is "
        "missing or wrong, it is not the one that was created, or it was changed. The message names it; nothing was "
        "done to it.",
        "Look in the audit log for who wrote it. Builds that ran before an upgrade from a version that did not sign "
        "were not signed: submit them again.",
    )
    AGENT_UNAVAILABLE = (
        "AgentUnavailable",
        Blame.PLATFORM,
        "No agent on the pod's node took the commit.",
        "Check that the agent's DaemonSet runs there.",
    )
    INTERNAL = (
        "Internal",
        Blame.PLATFORM,
        "Internal error in Sentinel.",
        "The operator's log has it; please report it.",
    )

    # Finished
    COMPLETED = (
        "Completed",
        Blame.NOBODY,
        "Nothing more will happen to this Build.",
    )


def read_reason(text: str) -> Reason | str:
    """`text` as a Reason, or unchanged where another release wrote it."""
    return _NAMES.get(text, text)


_NAMES: dict[str, Reason] = {str(each): each for each in Reason}


class CommitReason(StrEnum):
    """Why an ImageCommit failed (images.md)."""

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
