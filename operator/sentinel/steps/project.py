"""A step in the project's own repository: `file://./steps/x`, at the commit that is built."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sentinel import network
from sentinel.source.access import GitCredentials
from sentinel.source.address import is_commit, parse_address, valid_ref
from sentinel.source.failure import BACKOFF, Deadline, retry_until
from sentinel.steps.gittree import Host, fetch_tree
from sentinel.steps.pack import StepLimits
from sentinel.steps.registry import Release
from sentinel.steps.wanted import WantedStep


@dataclass(frozen=True, kw_only=True)
class Project:
    """The repository that a build is of, at its commit: where `file://./steps/x` is looked for.

    `ref` is the one the commit was found under, for servers that do not give commits by their id.
    """

    url: str
    commit: str
    ref: str = ""
    credentials: GitCredentials | None = None
    ca: str = ""
    allow_file: bool = False
    policy: network.Policy | None = None


class ProjectStep:
    """One step that lies in the project's own repository. Nothing of it is kept for other builds to find."""

    def __init__(self, project: Project, path: str, *, pause: float = 0.3) -> None:
        self._project = project
        self._path = path
        self._pause = pause
        self._address = parse_address(project.url, allow_file=project.allow_file)
        self.title = self._address.url

    def look_up(self, wanted: WantedStep, deadline: Deadline) -> Release:
        return Release(
            owner=wanted.owner,
            name=wanted.name,
            version="",
            place=self._path,
            origin=f"{self._path} of the project's source",
            mark=self._project.commit,
        )

    def fetch(
        self, release: Release, workdir: Path, *, limits: StepLimits, deadline: Deadline
    ) -> Path:
        project = self._project
        refs: tuple[str, ...] = (project.commit,)
        if project.ref and valid_ref(project.ref) and not is_commit(project.ref):
            refs += (project.ref,)
        host = Host(
            credentials=project.credentials or GitCredentials(),
            ca=project.ca,
            allow_file=project.allow_file,
            policy=project.policy,
        )
        return retry_until(
            deadline,
            lambda: fetch_tree(
                self._address,
                host,
                refs=refs,
                commit=project.commit,
                path="" if self._path == "." else self._path,
                what=f"step {release.owner}/{release.name}",
                workdir=workdir,
                limits=limits,
                deadline=deadline,
            ),
            backoff=replace(BACKOFF, first=self._pause),
        )
