"""What a wercker.yml says, as frozen data: pipelines with their box, services and steps.

Everything here keeps the source text of scalars and the line it came from. Defaults that depend on the Build or on
the operator's settings are not filled in here: `plan` does that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box or a service. `id` is the image as written, without an applied `tag`."""

    id: str
    tag: str = ""
    name: str = ""
    cmd: str = ""
    entrypoint: str = ""
    user: str = ""
    env: tuple[tuple[str, str], ...] = ()
    ports: tuple[str, ...] = ()
    auth: tuple[tuple[str, str], ...] = ()
    volumes: str = ""
    url: str = ""
    line: int = 0

    @property
    def image(self) -> str:
        """The image reference with its tag, as a container runtime takes it. `tag` goes before a tag in `id`.

        A digest is more exact than any tag, and stays; a colon before the last slash is that of a port.
        """
        if not self.tag or "@" in self.id:
            return self.id
        path, slash, last = self.id.rpartition("/")
        return f"{path}{slash}{last.partition(':')[0]}:{self.tag}"

    @property
    def alias(self) -> str:
        """What a service is called in the box: its `name`, else the last part of the repository."""
        return self.name or re.split(r"[@:]", self.id.split("/")[-1], maxsplit=1)[0]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One entry of `steps` or `after-steps`.

    `kind` is "script" for an inline script, "internal" for `internal/…`, "registry" for all others. `properties`
    keeps the order of the file; `code`, `name`, `cwd` and `checkpoint` are taken out of it. `identifier` is the
    step as written: owner, name, version and url in one.
    """

    identifier: str = ""
    owner: str = "wercker"
    name: str
    version: str = "*"
    url: str = ""
    kind: Literal["script", "internal", "registry"]
    display_name: str = ""
    cwd: str = ""
    checkpoint: str = ""
    code: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """One section of wercker.yml that can be run. `box` and `services` are None where the file's own apply."""

    name: str
    box: Box | None = None
    services: tuple[Box, ...] | None = None
    steps: tuple[Step, ...] = ()
    after_steps: tuple[Step, ...] = ()
    targets: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    base_path: str = ""
    docker: bool = False
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class WorkflowStage:
    """A pipeline in a workflow. `name` is what `requires` refers to, `pipeline` the section that it runs."""

    name: str
    pipeline: str
    requires: tuple[str, ...] = ()
    artifact_pipeline: str = ""
    env_file: str = ""
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """Pipelines that follow each other."""

    name: str
    stages: tuple[WorkflowStage, ...] = ()
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole wercker.yml. Timeouts are in minutes as the file gives them, None where it does not."""

    box: Box | None = None
    services: tuple[Box, ...] = ()
    command_timeout: float | None = None
    no_response_timeout: float | None = None
    source_dir: str = ""
    ignore_file: str = ""
    pipelines: Mapping[str, Pipeline] = field(default_factory=dict)
    workflows: tuple[Workflow, ...] = ()
