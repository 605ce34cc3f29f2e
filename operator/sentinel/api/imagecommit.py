"""The ImageCommit resource: the operator asks, the agent on the box's node commits and pushes.

Users read it; only the operator creates it: a user who could create one could publish any build's box with the build's
push Secret (images.md).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from sentinel.api.model import LocalRef, Model, Resource

NODE_LABEL = "sentinel.wercker.com/node"
"""The node's name: an agent watches only the objects that carry its own."""

ACTIVE_LABEL = "sentinel.wercker.com/active"
"""`true`, or `scratch` for a commit with `scratchFrom`, until the commit has ended: finished ones leave the agents'
watch. Agents that do not know `scratchFrom` would push the whole box, and watch `true` only."""

ACTIVE, ACTIVE_SCRATCH = "true", "scratch"
UNFINISHED = f"{ACTIVE_LABEL} in ({ACTIVE},{ACTIVE_SCRATCH})"
"""The label selector of commits that have not ended."""


class CommitPhase(StrEnum):
    """How far a commit is."""

    PENDING = "Pending"
    CLAIMED = "Claimed"
    PUSHING = "Pushing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    REFUSED = "Refused"

    @property
    def ended(self) -> bool:
        return self in (CommitPhase.SUCCEEDED, CommitPhase.FAILED, CommitPhase.REFUSED)


class ImageConfig(Model):
    """What to lay over the base image's configuration. No secrets: everyone who pulls it can read it."""

    labels: Annotated[
        dict[str, str],
        Field(description="Labels of the image.", json_schema_extra={"maxProperties": 64}),
    ] = {}
    working_dir: Annotated[str, Field(max_length=1024, description="Working directory.")] = ""
    cmd: Annotated[
        list[Annotated[str, Field(max_length=4096)]],
        Field(max_length=128, description="Default arguments; empty: the base image's."),
    ] = []
    entrypoint: Annotated[
        list[Annotated[str, Field(max_length=4096)]],
        Field(
            max_length=128,
            description="What is run; empty: the base image's. With an entrypoint and no cmd there are no arguments.",
        ),
    ] = []
    env: Annotated[
        list[Annotated[str, Field(max_length=4096)]],
        Field(max_length=128, description="Variables, NAME=value, over the base image's."),
    ] = []
    ports: Annotated[
        list[Annotated[str, Field(max_length=16, pattern=r"^[0-9]{1,5}/(tcp|udp|sctp)$")]],
        Field(max_length=64, description="Exposed ports, beside the base image's."),
    ] = []
    volumes: Annotated[
        list[Annotated[str, Field(max_length=1024)]],
        Field(max_length=32, description="Volumes, beside the base image's."),
    ] = []
    user: Annotated[str, Field(max_length=256, description="Who runs it; empty: as the base.")] = ""
    stop_signal: Annotated[str, Field(max_length=32, description="The signal that stops it.")] = ""
    author: Annotated[str, Field(max_length=256, description="The image's author.")] = ""
    message: Annotated[
        str, Field(max_length=1024, description="The comment of the new layer's history entry.")
    ] = ""


class CommitLimits(Model):
    """How big a change may be."""

    apparent_bytes: Annotated[
        int,
        Field(
            ge=1,
            description="Sum of the apparent sizes of all changed files, in bytes.",
            json_schema_extra={"format": "int64"},
        ),
    ] = 20 * 1024**3
    entries: Annotated[int, Field(ge=1, description="Number of changed files.")] = 1_000_000


class ImageCommitSpec(Model):
    """What to commit and where to push it. Immutable."""

    node_name: Annotated[str, Field(min_length=1, max_length=253, description="The box's node.")]
    pod_name: Annotated[str, Field(min_length=1, max_length=253, description="The build's pod.")]
    pod_uid: Annotated[str, Field(min_length=1, max_length=64, description="Its uid.")]
    container_name: Annotated[
        str, Field(min_length=1, max_length=63, description="The container to commit.")
    ] = "box"
    container_id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=256,
            description="Its id as the pod's status gives it, with the scheme.",
        ),
    ]
    step: Annotated[
        int,
        Field(
            ge=0,
            description="Ordinal of the step that pushes, which may name another repository than the Build; 0: the "
            "end of the build.",
        ),
    ] = 0
    repository: Annotated[
        str, Field(min_length=1, max_length=1024, description="Where to push, without a tag.")
    ]
    previous: Annotated[
        str,
        Field(
            max_length=71,
            pattern=r"^(sha256:[0-9a-f]{64})?$",
            description="Digest of an image in the repository that an earlier commit made of the same box. Where the "
            "agent knows what the box was then, the layer holds what changed since and goes on top of that image.",
        ),
    ] = ""
    remember: Annotated[
        bool,
        Field(
            description="Another commit of the box may name this one's image as `previous`: the agent keeps a list of "
            "the box's files."
        ),
    ] = False
    tags: Annotated[
        list[Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]],
        Field(
            min_length=1,
            max_length=8,
            description="Tags in the order they are written; the first is the build's own.",
        ),
    ]
    config: Annotated[ImageConfig, Field(description="What to add to the image's config.")] = (
        ImageConfig()
    )
    push_secret_ref: Annotated[LocalRef | None, Field(description="Secret to push with.")] = None
    pull_secret_refs: Annotated[
        list[LocalRef], Field(max_length=16, description="Secrets to read base layers with.")
    ] = []
    base_image: Annotated[
        str,
        Field(
            max_length=1024,
            description="repository@digest the box was started from; base layers are copied from there.",
        ),
    ] = ""
    exclude_paths: Annotated[
        list[Annotated[str, Field(max_length=1024)]],
        Field(max_length=64, description="Absolute paths left out of the image."),
    ] = []
    scratch_from: Annotated[
        list[
            Annotated[
                str,
                Field(max_length=1024, pattern=r"^(/([^/.][^/]*|\.[^/.][^/]*|\.\.[^/]+))+$"),
            ]
        ],
        Field(
            max_length=4,
            description="Absolute directories of the box: the first that is not empty becomes the root of an image of "
            "one layer without a base. Empty: the box is committed onto its own image.",
        ),
    ] = []
    compression: Annotated[
        Literal["gzip", "none"], Field(description="How the layer is compressed.")
    ] = "gzip"
    limits: Annotated[CommitLimits, Field(description="How big a change may be.")] = CommitLimits()
    deadline: Annotated[
        str,
        Field(
            max_length=64,
            description="It is not started after this time.",
            json_schema_extra={"format": "date-time"},
        ),
    ]
    timeout_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=86400,
            description="How long it may take from the first agent's claim, push included, in seconds.",
        ),
    ] = 1800


class Claim(Model):
    """Which agent works on it."""

    agent_pod: Annotated[str, Field(description="The agent's pod.")] = ""
    boot_id: Annotated[str, Field(description="One run of the agent's process.")] = ""
    attempt: Annotated[int, Field(description="How often it was begun.")] = 0


class PushedTag(Model):
    """One tag."""

    name: Annotated[str, Field(description="The tag.")]
    pushed: Annotated[bool, Field(description="Whether the registry took it.")] = False
    message: Annotated[str, Field(max_length=512, description="Why it did not.")] = ""


class ExcludedPath(Model):
    """What one of `excludePaths` left out."""

    path: Annotated[str, Field(description="The path as given.")]
    entries: Annotated[
        int,
        Field(description="Files and directories left out; 0: nothing was there.", ge=0),
    ] = 0


class ImageCommitStatus(Model):
    """How the commit stands."""

    phase: Annotated[CommitPhase | None, Field(description="State.")] = None
    reason: Annotated[str, Field(description="One word of a closed list.")] = ""
    message: Annotated[str, Field(max_length=1024, description="What happened.")] = ""
    claim: Annotated[Claim | None, Field(description="Who works on it.")] = None
    frozen_milliseconds: Annotated[int, Field(description="How long the box was paused.")] = 0
    layer_bytes: Annotated[
        int,
        Field(
            description="Size of the pushed layer in bytes.", json_schema_extra={"format": "int64"}
        ),
    ] = 0
    layer_digest: Annotated[str, Field(description="Digest of the new layer.")] = ""
    digest: Annotated[str, Field(description="Digest of the pushed manifest.")] = ""
    onto: Annotated[
        str,
        Field(
            description="The image that the layer was put on: `previous` of the spec, or empty for the box's own."
        ),
    ] = ""
    tags: Annotated[list[PushedTag], Field(description="Each tag, and whether it was pushed.")] = []
    excluded: Annotated[
        list[ExcludedPath], Field(description="What each of excludePaths left out.")
    ] = []
    left_out: Annotated[
        list[Annotated[str, Field(max_length=512)]],
        Field(max_length=8, description="What else of the box is not in the image, and why."),
    ] = []
    start_time: Annotated[str, Field(description="When the agent began.")] = ""
    completion_time: Annotated[str, Field(description="When it ended.")] = ""


class ImageCommit(Resource):
    """An ImageCommit as read from the API server."""

    spec: ImageCommitSpec
    status: ImageCommitStatus = ImageCommitStatus()
