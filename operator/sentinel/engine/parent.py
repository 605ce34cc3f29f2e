"""What a Build has of those that it goes on from, once they have succeeded: image, outputs, and where its source is.

Everything is read from what tenants cannot write or change: the status, which only the operator writes, and the spec,
which the API server keeps as it was. Where an output lies is derived; of the image only its name is taken, and it is
looked up and allowed like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from sentinel.api.build import Build, SourceStatus
from sentinel.api.conditions import ConditionType, get_condition
from sentinel.api.model import seconds
from sentinel.api.reasons import Reason
from sentinel.api.source import ArchiveSource, GitSource, Source
from sentinel.engine.run import Run
from sentinel.errors import ParentPending, UserError
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import BUILDS
from sentinel.plan.model import PlanOutput, PlanSource
from sentinel.plan.outputs import output_key, plan_output

APPEARS_WITHIN = 30.0
"""Seconds that a parent may take to appear after its child: `kubectl apply -f` creates in the files' order."""

MOST_GENERATIONS = 32
"""Builds that are looked through, each the parent of the one before, for one that names a source."""


@dataclass(frozen=True, kw_only=True)
class Inherited:
    """What a Build has of its parents. `image` is repository@digest, "" where none was pushed.

    For a Build without a source of its own: `source`, pinned to the revision that the parent was built from, with what
    `found` says of it; `config` is the spec.config that counts there, and `outputs` are the files; without outputs the
    source itself is. `notes` are for people.
    """

    image: str
    source: Source | None = None
    found: SourceStatus = field(default_factory=SourceStatus)
    config: str = ""
    outputs: tuple[PlanOutput, ...] = ()
    notes: tuple[str, ...] = ()

    def apply(self, source: PlanSource, status: SourceStatus) -> tuple[PlanSource, SourceStatus]:
        """What was found of `source`, with what it has of the parents. A commit alone has no branch: theirs is used."""
        source = replace(source, parent_image=self.image)
        if self.source is None:
            return source, status
        found = self.found
        source = replace(
            source,
            ref=found.branch or found.tag or source.ref,
            branch=found.branch,
            tag=found.tag,
            subject=found.subject,
            outputs=self.outputs,
            inherited=True,
        )
        return source, found.model_copy(update={"url": status.url})


async def inherit(run: Run) -> Inherited | None:
    """What the Build has of its parents; None where it has none.

    Raises ParentPending while one of them has not finished, and the status says which; UserError ParentNotFound,
    ParentFailed, SourceNotFound, InvalidSpec.
    """
    spec = run.build.spec
    if spec.parent is None:
        return None
    names = list(dict.fromkeys([spec.parent.name, *(each.name for each in spec.inputs)]))
    if run.build.name in names:
        raise UserError(
            "spec.parent or spec.inputs names the Build itself: name the Build that it goes on from",
            reason=Reason.INVALID_SPEC,
        )
    directories = [each.directory for each in spec.inputs]
    if len(set(directories)) < len(directories):
        raise UserError(
            "two entries of spec.inputs have the same directory: give each one of its own",
            reason=Reason.INVALID_SPEC,
        )
    family = _Family(run=run)
    builds = {name: await family.succeeded(name) for name in names}
    parent = builds[spec.parent.name]
    image = _image(parent)
    if spec.source != Source():
        return Inherited(image=image)
    origin, config = await family.origin(parent)
    found = parent.status.source or SourceStatus()
    outputs, notes = await family.outputs(parent, builds)
    if origin.spec.source.upload is not None and not outputs:
        raise UserError(
            f"Build {parent.name}, the parent, has no output, and the directory that {origin.name} was run with is not "
            "kept: put into $WERCKER_OUTPUT_DIR what a deploy needs, or set spec.source",
            reason=Reason.SOURCE_NOT_FOUND,
        )
    return Inherited(
        image=image,
        source=_pinned(origin.spec.source, found),
        found=found,
        config=spec.config or config,
        outputs=outputs,
        notes=notes,
    )


@dataclass(frozen=True, kw_only=True)
class _Family:
    """The Builds that one goes on from, as they are read."""

    run: Run

    async def _read(self, name: str) -> Build | None:
        try:
            raw = await self.run.tools.kube.get(
                BUILDS, namespace=self.run.build.namespace, name=name
            )
        except NotFound:
            return None
        return Build.parse(raw)

    async def succeeded(self, name: str) -> Build:
        """The parent of that name, once it has succeeded."""
        parent = await self._read(name)
        if parent is None:
            age = self._age()
            if age >= APPEARS_WITHIN:
                raise UserError(
                    f"Build {name}, which this one goes on from, was not found in namespace "
                    f"{self.run.build.namespace}: check spec.parent and spec.inputs; finished Builds are "
                    "deleted after their ttlAfterFinished",
                    reason=Reason.PARENT_NOT_FOUND,
                )
            await self._wait(
                name, f"Build {name}, the parent, does not exist yet", APPEARS_WITHIN - age
            )
        assert parent is not None  # noqa: S101 - _wait does not return
        conditions = parent.status.conditions
        finished = get_condition(conditions, ConditionType.FINISHED)
        if finished is None or finished.status != "True":
            timeouts = self.run.build.spec.timeouts
            limit = seconds(timeouts.pending) + seconds(timeouts.build)
            left = limit - self._age()
            phase = parent.status.phase or "Queued"
            if left <= 0:
                raise UserError(
                    f"Build {name}, the parent, has not finished ({phase}) {limit:.0f} s after this Build was created: "
                    "submit it again later, or raise spec.timeouts.build",
                    reason=Reason.PARENT_FAILED,
                )
            await self._wait(name, f"waiting for Build {name}, the parent ({phase})", left)
        succeeded = get_condition(conditions, ConditionType.SUCCEEDED)
        if succeeded is None or succeeded.status != "True":
            why = f"{succeeded.reason}: {succeeded.message[:300]}" if succeeded is not None else ""
            raise UserError(
                f"Build {name}, the parent, ended as {parent.status.phase} ({why}): correct it, and submit both again",
                reason=Reason.PARENT_FAILED,
            )
        return parent

    def _age(self) -> float:
        """Seconds since the Build was created."""
        created = self.run.build.metadata.get("creationTimestamp")
        now = self.run.tools.clock.now()
        return (now - datetime.fromisoformat(created)).total_seconds() if created else 0.0

    async def _wait(self, name: str, message: str, within: float) -> None:
        """Say in the status what is waited for, and give the Build back to the supervisor."""
        known = get_condition(self.run.writer.status.conditions, ConditionType.SUCCEEDED)
        if known is None or known.message != message:
            self.run.writer.condition(ConditionType.SUCCEEDED, "Unknown", Reason.PENDING, message)
            await self.run.writer.flush()
        raise ParentPending(
            message, parent=(self.run.build.namespace, name), within=within, reason=Reason.PENDING
        )

    async def origin(self, parent: Build) -> tuple[Build, str]:
        """The Build that names the source which `parent` was built from, and the spec.config that counts there."""
        at, config = parent, parent.spec.config
        for _ in range(MOST_GENERATIONS):
            if at.spec.source != Source() or at.spec.parent is None:
                return at, config
            name = at.spec.parent.name
            above = await self._read(name)
            if above is None:
                raise UserError(
                    f"Build {name} was not found, and the source of {at.name} is the one that it names: set "
                    "spec.source",
                    reason=Reason.PARENT_NOT_FOUND,
                )
            at, config = above, config or above.spec.config
        raise UserError(
            f"none of {MOST_GENERATIONS} Builds above this one names a source: set spec.source",
            reason=Reason.INVALID_SPEC,
        )

    async def outputs(
        self, parent: Build, builds: dict[str, Build]
    ) -> tuple[tuple[PlanOutput, ...], tuple[str, ...]]:
        """The outputs that the source is made of, and what people should know where one of them is missing."""
        store, settings = self.run.tools.store, self.run.tools.settings
        if store is None or any(each.status.results is None for each in builds.values()):
            raise UserError(
                f"the output of Build {parent.name}, the parent, was not kept: the operator had no object store. Set "
                "spec.source, or have store.bucket or store.volume set",
                reason=Reason.SOURCE_NOT_FOUND,
            )
        inputs = self.run.build.spec.inputs
        places = [(builds[each.name], each.directory) for each in inputs] or [(parent, "")]
        found: list[PlanOutput] = []
        notes: list[str] = []
        for build, directory in places:
            output = plan_output(build, directory=directory)
            if output is None:
                notes.append(_without_output(build, directory))
                continue
            info = await store.head(
                output_key(output, namespace=build.namespace, settings=settings)
            )
            if info is None or info.size != output.size:
                raise UserError(
                    f"the output of Build {build.name} is not in the object store any more: submit that Build again",
                    reason=Reason.SOURCE_NOT_FOUND,
                )
            found.append(output)
        if inputs and not found:
            raise UserError(
                "none of the Builds in spec.inputs has an output: their steps put nothing into $WERCKER_OUTPUT_DIR",
                reason=Reason.SOURCE_NOT_FOUND,
            )
        return tuple(found), tuple(notes)


def _image(parent: Build) -> str:
    image = parent.status.image
    return f"{image.repository}@{image.digest}" if image is not None and image.digest else ""


def _pinned(source: Source, found: SourceStatus) -> Source:
    """`source` at exactly what was found there."""
    if source.git is not None:
        git: GitSource = source.git.model_copy(update={"commit": found.commit})
        return Source(git=git)
    if source.archive is not None:
        sha256 = found.digest.removeprefix("sha256:")
        archive: ArchiveSource = source.archive.model_copy(update={"sha256": sha256})
        return Source(archive=archive)
    return source


def _without_output(build: Build, directory: str) -> str:
    what = f"Build {build.name} has no output, its steps put nothing into $WERCKER_OUTPUT_DIR"
    if directory:
        return f"{what}: there is no directory {directory}"
    return f"{what}: the source is what that Build was built from"
