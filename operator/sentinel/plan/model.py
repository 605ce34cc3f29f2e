"""The Plan: everything an attempt needs to be driven to its end, frozen, without a secret in it.

It travels as compressed JSON in an annotation of the pod, so every type here is plain data: strings, numbers,
tuples. A change of shape raises VERSION; an operator that meets a newer version says so and leaves the pod alone. New
fields have defaults, so that it reads what an older one made.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from sentinel.api.build import CommitWhen, PodContainer
from sentinel.layout import BASE_PATH, OUTPUT_DIR
from sentinel.plan.names import AttemptId
from sentinel.plan.source import PlanOutput as PlanOutput  # noqa: PLC0414 - a part of the Plan
from sentinel.plan.source import PlanSource as PlanSource  # noqa: PLC0414

VERSION = 4
"""The newest that is read: that of a plan with `commit` onFailure or eachStep."""

INHERITED = 3
"""That of a plan whose source is the parent's."""

COMMON = 2
"""That of a plan which nothing needs that came later: the release before this one drives it too."""

StepPhase: TypeAlias = Literal["main", "after"]


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What the registry says of an image. `reference` is repository@digest, or the name as given if unchecked.

    `env`, `entrypoint`, `cmd` are the image config's; `ports` are its EXPOSE entries like "6379/tcp", `volumes` its
    VOLUME paths.
    """

    name: str
    reference: str
    digest: str = ""
    env: tuple[tuple[str, str], ...] = ()
    ports: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One variable of the build's environment, in its place in the order.

    Exactly one of the three: `value` (literal, $(NAME) not yet replaced), `secret` or `config_map` as (name, key).
    `optional` leaves it out where the object or key is missing.
    """

    name: str
    value: str = ""
    secret: tuple[str, str] | None = None
    config_map: tuple[str, str] | None = None
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class EnvSource:
    """All keys of a Secret or ConfigMap, each with `prefix`, at this place in the order."""

    kind: Literal["secret", "configMap"]
    name: str
    prefix: str = ""


@dataclass(frozen=True, kw_only=True)
class StepFacts:
    """What a registry says of a step. `digest` is the sha256 of its archive, in hexadecimal digits.

    `defaults` are the manifest's options in its order: (name, default), "" where it has none; `required` those of
    them without which the step's author thinks that it cannot run. `warnings` are about the step itself. A `standard`
    step comes with our image and has no digest.
    """

    version: str
    digest: str
    defaults: tuple[tuple[str, str], ...] = ()
    required: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    standard: bool = False


@dataclass(frozen=True, kw_only=True)
class PlanStep:
    """One step as boxkit gets it.

    `ordinal` is unique over both phases and counts from 1. `exports` are (name, text) with a live $ for the shell.
    `command_timeout` and `no_response_timeout` are in seconds. `version`, `digest` and `url` say which step of a
    registry it is, so that another attempt gets the same one; a script has none. A `standard` step is in our image.
    One of kind `operator` is done by the operator with its `properties`, while the box waits.
    """

    ordinal: int
    id: str
    owner: str
    name: str
    display_name: str
    phase: StepPhase
    kind: Literal["script", "step", "operator"]
    version: str = ""
    digest: str = ""
    url: str = ""
    standard: bool = False
    code: str = ""
    cwd: str = ""
    exports: tuple[tuple[str, str], ...] = ()
    properties: tuple[tuple[str, str], ...] = ()
    command_timeout: float
    no_response_timeout: float


@dataclass(frozen=True, kw_only=True)
class PlanService:
    """A service container. `alias` is how the box reaches it; `container` its name in the pod.

    `ports` are the exposed TCP ports that boxkit waits for. `env` holds the link variables of the services before it
    and its own. `user` is uid or uid:gid, or empty for the image's.
    """

    alias: str
    container: str
    image: ImageFacts
    env: tuple[tuple[str, str], ...] = ()
    cmd: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    user: str = ""


@dataclass(frozen=True, kw_only=True)
class PlanImage:
    """What to commit and where to push. `commit` "never": nothing of this is used."""

    commit: CommitWhen = "never"
    repository: str = ""
    push_secret: str = ""
    pull_secrets: tuple[str, ...] = ()
    exclude_paths: tuple[str, ...] = ()
    latest: Literal["green", "every"] = "green"


@dataclass(frozen=True, kw_only=True)
class PlanCache:
    """The cache of the build: the object `key`, "" where it has none. `limit` in bytes of its files.

    `space` is the uid of the namespace. `size` in bytes of the object when the build was planned: 0 where there was
    none, and the pod restores nothing.
    """

    key: str = ""
    space: str = ""
    size: int = 0
    save: bool = False
    limit: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything an attempt needs. Times are in seconds.

    `shell` and `entrypoint` are argv: which shell the box's `cmd` asks for (empty: bash, else sh), and what is put
    before it. `user` is the box's uid or uid:gid where wercker.yml says one. `ignore_file` names the file of the
    source that says what is not copied. `deploy` tells the two kinds of wercker's environment apart. `image_notes` are
    sentences about the images, for people.
    """

    build: str
    namespace: str
    uid: str
    attempt: int
    pipeline: str
    source: PlanSource
    box: ImageFacts
    user: str = ""
    shell: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    services: tuple[PlanService, ...] = ()
    steps: tuple[PlanStep, ...] = ()
    variables: tuple[Variable | EnvSource, ...] = ()
    image: PlanImage = PlanImage()
    base_path: str = BASE_PATH
    source_dir: str = BASE_PATH
    ignore_file: str = ""
    pending_timeout: float = 900.0
    build_timeout: float = 7200.0
    results_prefix: str = ""
    cache: PlanCache = PlanCache()
    deploy: bool = False
    image_notes: tuple[str, ...] = ()
    version: int = COMMON

    @property
    def id(self) -> AttemptId:
        """Which attempt it is of, and the names of what that makes."""
        return AttemptId(self.namespace, self.build, self.uid, self.attempt)

    @property
    def archived_steps(self) -> tuple[PlanStep, ...]:
        """The steps whose files come from an archive."""
        return tuple(step for step in self.steps if step.digest)

    @property
    def scratch_directories(self) -> tuple[str, ...]:
        """What an image from scratch is made of: the output, or where that is empty the source."""
        return tuple(dict.fromkeys((OUTPUT_DIR, posixpath.normpath(self.base_path))))

    def box_user(self, box: PodContainer) -> str:
        """The user of the box's PID 1: the Build's, else wercker.yml's, else the image's. `box` is the Build's."""
        return str(box.security_context.get("runAsUser", self.user or self.box.user))

    def at(self, attempt: int) -> Plan:
        """The same plan for another attempt: nothing but the number and the place of the results differs."""
        head = self.results_prefix.removesuffix(f"/{self.attempt}/")
        return replace(self, attempt=attempt, results_prefix=f"{head}/{attempt}/")
