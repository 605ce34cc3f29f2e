"""What operator and resolver say to each other. Both sides validate: the operator does not trust a child either.

Strings that are meant for people are bounded here; everything together by the size of a document. Credentials go one
way only, and no message repeats them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sentinel.api.reasons import Reason
from sentinel.config.diagnostics import Diagnostic
from sentinel.config.model import Config, Workflow
from sentinel.resolver.limits import Limit

MESSAGE = 16 * 1024
"""Characters of an error's message."""
MOST_DIAGNOSTICS = 10
"""Diagnostics that a Build's status has."""
MOST_VALUES = 2000
"""Variables, arguments or ports of an image."""
MOST_OPTIONS = 1000
"""Options of a step's manifest."""
MOST_ENV_FILES = 20
"""Different envFiles of a workflow."""
MOST_ENV_TEXT = 64 * 1024
"""Characters of an envFile."""

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ImageDigest = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")]
Network = dict[str, list[str]]
"""A `network.Policy` as JSON: where connections may go."""
Pairs = tuple[tuple[str, str], ...]


class Message(BaseModel):
    """Base of all: frozen, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Hello(Message):
    """Who asks: the first packet of a connection, for the server."""

    namespace: Annotated[str, Field(max_length=253)]
    build: Annotated[str, Field(max_length=253)]


class Note(Message):
    """The server's word on a child that ended: by a limit, or in another way that `detail` describes."""

    limit: Limit | None = None
    detail: Annotated[str, Field(max_length=200)] = ""


class GitWanted(Message):
    """A repository at a ref. `credentials` are the keys of its Secret (`access.KEYS`), None without one."""

    url: str
    ref: str
    credentials: dict[str, str] | None = Field(default=None, repr=False)


class ArchiveWanted(Message):
    """An archive. `credentials`: username, password, token and ca.crt, None without a Secret."""

    url: str
    sha256: str
    credentials: dict[str, str] | None = Field(default=None, repr=False)


class SourceRequest(Message):
    """Which commit or archive a Build is of, and what its wercker.yml says of `pipeline`.

    `config` is the text of spec.config, "" where the source's own counts; `generate` makes one where it has none. `ca`
    holds certificates (PEM) that are trusted besides the system's. `allow_file` is for tests.
    """

    kind: Literal["source"] = "source"
    git: GitWanted | None = None
    archive: ArchiveWanted | None = None
    config: str = ""
    pipeline: str
    generate: bool = False
    ca: str = ""
    network: Network = {}
    allow_file: bool = False


class WorkflowRequest(Message):
    """Which commit or archive a WorkflowRun is of, and its workflow of that name; "" is the only one."""

    kind: Literal["workflow"] = "workflow"
    git: GitWanted | None = None
    archive: ArchiveWanted | None = None
    config: str = ""
    workflow: str = ""
    ca: str = ""
    network: Network = {}
    allow_file: bool = False


class LoginMessage(Message):
    """An entry of a keychain (`image.dockerconfig.Login`)."""

    host: str
    path: str
    username: str = Field(default="", repr=False)
    password: str = Field(default="", repr=False)
    identity_token: str = Field(default="", repr=False)
    source: str = ""


class ImageWanted(Message):
    """An image to look up. `known` is the digest that it had last, "" if its facts are not known.

    `mirror_of` is the image that wercker.yml has, where `name` is on a mirror.
    """

    name: str
    known: str = ""
    mirror_of: str = ""


class KnownStep(Message):
    """A version of a step whose archive and facts the operator has."""

    registry: str
    owner: str
    name: str
    version: str
    mark: str
    digest: Hex


class StepWanted(Message):
    """A step as wercker.yml names it (`WantedStep`)."""

    identifier: str
    owner: str
    name: str
    version: str
    url: str


class StepRules(Message):
    """Where steps come from and how large they may be (`StepSettings`)."""

    registry: str = ""
    token: str = Field(default="", repr=False)
    standard: bool = False
    allow_local: bool = False
    allow_url: bool = False
    packed_bytes: int
    unpacked_bytes: int
    entries: int


class ProjectWanted(Message):
    """The repository that a build is of, for the steps in it (`Project`)."""

    url: str
    commit: str
    ref: str = ""
    credentials: dict[str, str] | None = Field(default=None, repr=False)
    allow_file: bool = False


class FactsRequest(Message):
    """What registries say of a build's images and steps.

    `network` and `ca` are for steps; `registries` and `registries_ca` for images: the former allows the registries that
    the operator's settings name. `…ca` are certificates (PEM) that are trusted besides the system's.
    """

    kind: Literal["facts"] = "facts"
    images: tuple[ImageWanted, ...] = ()
    logins: tuple[LoginMessage, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    default_registry: str = "docker.io"
    architecture: str = "amd64"
    steps: tuple[StepWanted, ...] = ()
    known_steps: tuple[KnownStep, ...] = ()
    rules: StepRules | None = None
    project: ProjectWanted | None = None
    ca: str = ""
    network: Network = {}
    registries: Network = {}
    registries_ca: str = ""


class PushedRequest(Message):
    """Whether a registry has the image that an agent reported.

    `repository` must have an image `digest` of the layers of `base` (repository@digest; "" for an image from scratch)
    with `layer` on top.
    `architecture` is the node's, which chose the base's image.
    """

    kind: Literal["pushed"] = "pushed"
    repository: str
    digest: str
    layer: str
    base: str
    architecture: str
    push_logins: tuple[LoginMessage, ...] = ()
    pull_logins: tuple[LoginMessage, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    default_registry: str = "docker.io"
    registries: Network = {}
    registries_ca: str = ""


class CopyRequest(Message):
    """Copy the image `source` (repository@digest) to the repository `target` under each of `tags`."""

    kind: Literal["copy"] = "copy"
    source: str
    target: str
    tags: tuple[str, ...]
    push_logins: tuple[LoginMessage, ...] = ()
    pull_logins: tuple[LoginMessage, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    default_registry: str = "docker.io"
    registries: Network = {}
    registries_ca: str = ""


Request = Annotated[
    SourceRequest | WorkflowRequest | FactsRequest | PushedRequest | CopyRequest,
    Field(discriminator="kind"),
]


class Failure(Message):
    """An error of the tree in `errors.py`. What is no error of that tree is Internal, and the child's log has it."""

    kind: Literal["user", "infrastructure", "internal"]
    reason: Reason
    message: Annotated[str, Field(max_length=MESSAGE)]


class SourceAnswer(Message):
    """The source, and its configuration with the one pipeline that was asked for.

    `config` is None where `failure` says why there is none. `generated` is the text of a configuration that was made
    for a project without one. `digest` is an archive's sha256, and then there is no commit.
    """

    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})?$")] = ""
    branch: Annotated[str, Field(max_length=1024)] = ""
    tag: Annotated[str, Field(max_length=1024)] = ""
    subject: Annotated[str, Field(max_length=256)] = ""
    digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    config: Config | None = None
    generated: Annotated[str, Field(max_length=64 * 1024)] = ""
    diagnostics: Annotated[tuple[Diagnostic, ...], Field(max_length=MOST_DIAGNOSTICS)] = ()
    failure: Failure | None = None


class EnvFileFound(Message):
    """An envFile of the project's root: its text, as it is."""

    name: Annotated[str, Field(max_length=1024)]
    text: Annotated[str, Field(max_length=MOST_ENV_TEXT)]


class WorkflowAnswer(Message):
    """The source, and the workflow with the files that its pipelines name. `failure` says why there is no workflow."""

    source: SourceAnswer
    workflow: Workflow | None = None
    env_files: Annotated[tuple[EnvFileFound, ...], Field(max_length=MOST_ENV_FILES)] = ()
    failure: Failure | None = None


class ImageFound(Message):
    """An image. `kept`: its digest is still the known one, and nothing else is said."""

    digest: ImageDigest
    kept: bool = False
    env: Annotated[Pairs, Field(max_length=MOST_VALUES)] = ()
    ports: Annotated[tuple[str, ...], Field(max_length=MOST_VALUES)] = ()
    volumes: Annotated[tuple[str, ...], Field(max_length=MOST_VALUES)] = ()
    entrypoint: Annotated[tuple[str, ...], Field(max_length=MOST_VALUES)] = ()
    cmd: Annotated[tuple[str, ...], Field(max_length=MOST_VALUES)] = ()
    user: Annotated[str, Field(max_length=1024)] = ""
    working_dir: Annotated[str, Field(max_length=4096)] = ""


class StepFound(Message):
    """A step. `kept`: the operator has its archive and facts under this digest already. `standard`: it is
    one of our own, which the registry does not have, and nothing else is said.

    `registry`, `release` (the version) and `mark` are what the next Build may know it by; `registry` is "" where
    nothing says that the same version is the same bytes.
    """

    owner: Annotated[str, Field(max_length=100)]
    name: Annotated[str, Field(max_length=100)]
    version: Annotated[str, Field(max_length=100)] = ""
    digest: Hex | Literal[""] = ""
    size: Annotated[int, Field(ge=0)] = 0
    kept: bool = False
    standard: bool = False
    registry: Annotated[str, Field(max_length=2048)] = ""
    mark: Annotated[str, Field(max_length=200)] = ""
    release: Annotated[str, Field(max_length=100)] = ""
    defaults: Annotated[Pairs, Field(max_length=MOST_OPTIONS)] = ()
    required: Annotated[tuple[str, ...], Field(max_length=MOST_OPTIONS)] = ()
    warnings: Annotated[tuple[str, ...], Field(max_length=100)] = ()


class FactsAnswer(Message):
    """One entry for each image and step of the request, in its order.

    `archives` are the digests of the step archives that follow as files, in this order.
    """

    images: tuple[ImageFound, ...] = ()
    steps: tuple[StepFound, ...] = ()
    archives: Annotated[tuple[Hex, ...], Field(max_length=1000)] = ()


class PushedAnswer(Message):
    """How the image differs from what was reported, "" where it does not."""

    problem: Annotated[str, Field(max_length=4096)] = ""


class CopiedAnswer(Message):
    """The image was copied; else there is a failure."""


class Answer(Message):
    """Exactly one of them."""

    source: SourceAnswer | None = None
    workflow: WorkflowAnswer | None = None
    facts: FactsAnswer | None = None
    pushed: PushedAnswer | None = None
    copied: CopiedAnswer | None = None
    failure: Failure | None = None
