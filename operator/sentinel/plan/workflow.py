"""A WorkflowRun and its Builds → which Builds to create, which to cancel, and how the run stands. Pure.

Level-based: everything follows from the spec, the workflow in the status and the Builds that there are. Names of Builds
are functions of the run, the pipeline and the retry, so that doing it again changes nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sentinel.api import API_VERSION, GROUP
from sentinel.api.build import Build, EnvVar, SourceStatus
from sentinel.api.conditions import ConditionType, Phase, get_condition
from sentinel.api.reasons import Reason
from sentinel.api.workflowrun import MOST_STAGES, PipelineStatus, RunPhase, WorkflowRun
from sentinel.config.model import Workflow, WorkflowStage
from sentinel.errors import UserError
from sentinel.plan.envfile import read_env_file
from sentinel.plan.names import label_value
from sentinel.text import dns_label

RUN_LABEL = f"{GROUP}/workflowrun"
RUN_UID_LABEL = f"{GROUP}/workflowrun-uid"
PIPELINE_LABEL = f"{GROUP}/pipeline"
KIND = "WorkflowRun"

MOST_ENV = 256
"""Variables of one envFile: they are kept in the status."""

MOST_ENV_BYTES = 64 * 1024
"""Of all envFiles of a workflow together."""

SHARED = (*("application", "startedBy", "envFrom", "image", "cache", "timeouts", "retries", "pod"),)
"""The fields of a run's spec that its Builds have too, as they are."""

_NAME_LENGTH = 63
_DIRECTORY = r"[A-Za-z0-9_][A-Za-z0-9 ._-]*"
_MESSAGE_LIMIT = 256


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do now: bodies of Builds to create, by the pipeline's name, and names of Builds to cancel.

    `pipelines` is how all of them stand when that is done.
    """

    create: Mapping[str, dict[str, Any]]
    cancel: tuple[str, ...]
    pipelines: tuple[PipelineStatus, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A run in one word, with the reason and message of its Succeeded condition."""

    phase: RunPhase
    progress: str
    reason: str
    message: str

    @property
    def ended(self) -> bool:
        return self.phase not in (RunPhase.PENDING, RunPhase.RUNNING)


def pipelines_of(workflow: Workflow, *, env_files: Mapping[str, str]) -> list[PipelineStatus]:
    """The pipelines of a workflow without mistakes, before anything ran; `env_files` has the text of each envFile.

    Raises UserError ConfigInvalid for what cannot be run.
    """
    stages = {stage.name: stage for stage in workflow.stages}
    if len(stages) > MOST_STAGES:
        raise _invalid(
            workflow, f"it has {len(stages)} pipelines; at most {MOST_STAGES} can be run"
        )
    size = 0
    found: list[PipelineStatus] = []
    for stage in stages.values():
        env = _variables(workflow, stage, env_files.get(stage.env_file, ""))
        size += sum(len(each.name) + len(each.value) for each in env)
        if size > MOST_ENV_BYTES:
            raise _invalid(
                workflow, f"its envFiles have more than {MOST_ENV_BYTES // 1024} KiB together"
            )
        if len(stage.name) > 128 or len(stage.pipeline) > 128:
            raise _invalid(workflow, "the name of a pipeline is longer than 128 characters")
        picked = stage.artifact_pipeline
        if picked and picked not in _before(stage.name, stages):
            raise _invalid(
                workflow,
                f"artifactPipeline of {stage.name} on line {stage.line} is {picked}, which does not run before it: "
                "name one that it requires",
            )
        if len(stage.requires) > 1 and not picked:
            odd = [each for each in stage.requires if not re.fullmatch(_DIRECTORY, each)]
            if odd:
                raise _invalid(
                    workflow,
                    f"{odd[0]!r}, which {stage.name} requires, cannot be the name of a directory for its output: use "
                    "letters, digits, dots, dashes and underscores",
                )
        found.append(
            PipelineStatus(
                name=stage.name,
                pipeline=stage.pipeline,
                requires=list(stage.requires),
                artifact_pipeline=picked,
                env=env,
            )
        )
    return found


def _invalid(workflow: Workflow, why: str) -> UserError:
    return UserError(
        f"workflow {workflow.name} on line {workflow.line} of wercker.yml cannot be run: {why}",
        reason=Reason.CONFIG_INVALID,
    )


def _before(name: str, stages: Mapping[str, WorkflowStage]) -> set[str]:
    """Everything that runs before a pipeline."""
    found: set[str] = set()
    todo = list(stages[name].requires)
    while todo:
        each = todo.pop()
        if each not in found:
            found.add(each)
            todo += stages[each].requires
    return found


def _variables(workflow: Workflow, stage: WorkflowStage, text: str) -> list[EnvVar]:
    """An envFile's variables as spec.env wants them. What is in a repository is public, XXX_ or not."""
    read = read_env_file(text).variables
    if len(read) > MOST_ENV:
        raise _invalid(workflow, f"envFile {stage.env_file} has more than {MOST_ENV} variables")
    return [
        EnvVar(
            name=each.name,
            value=each.value.replace("$(", "$$(") if each.protected else each.value,
        )
        for each in read
    ]


def decide(run: WorkflowRun, raw: Mapping[str, Any], builds: Mapping[str, Build]) -> Decision:
    """What to do about a run whose workflow is known; `builds` are those that are owned by it, by name.

    `raw` is the run as the server gave it. Every name in `requires` is one of the pipelines.
    """
    return _Decider(run, raw, builds).run()


def build_name(run: WorkflowRun, index: int, pipeline: str, retry: int) -> str:
    """The Build of the pipeline at `index` (from 0): <run>-<number>-<pipeline>, with -r<n> for the n-th retry."""
    tail = f"{index + 1}-{dns_label(pipeline, limit=20) or 'pipeline'}" + (
        f"-r{retry}" if retry else ""
    )
    head = run.name
    if len(head) + 1 + len(tail) > _NAME_LENGTH or dns_label(head, limit=253) != head:
        # Cut or changed, the name alone would not tell two runs apart.
        mark = hashlib.sha256(run.uid.encode()).hexdigest()[:8]
        head = f"{dns_label(head, limit=_NAME_LENGTH - len(tail) - 10)}-{mark}".lstrip("-")
    return f"{head}-{tail}"


def owned_by(run: WorkflowRun, raw: Mapping[str, Any]) -> bool:
    """Whether an object is controlled by the run."""
    return any(
        owner.get("uid") == run.uid and owner.get("kind") == KIND and owner.get("controller")
        for owner in raw["metadata"].get("ownerReferences") or ()
    )


def asks_for(build: Build, body: Mapping[str, Any]) -> bool:
    """Whether a Build has the spec of `body`, cancel and TTL aside: what may change while it exists.

    Anyone who may create Builds can write a run's name, label and owner reference into one, but a spec never changes.
    A release that writes other specs than its predecessor does not know the Builds of runs that are under way.
    """
    may_change = {"cancel": False, "ttl_after_finished": "0s"}
    try:
        wanted = Build.parse({**body, "metadata": build.metadata}).spec
    except UserError:
        return False
    return build.spec.model_copy(update=may_change) == wanted.model_copy(update=may_change)


def summary(run: WorkflowRun, pipelines: Sequence[PipelineStatus]) -> Summary:
    """How the whole stands."""
    ended = [each for each in pipelines if each.ended]
    progress = f"{len(ended)}/{len(pipelines)}"
    if len(ended) < len(pipelines):
        active = [each.name for each in pipelines if not each.ended and each.phase != "Waiting"]
        return Summary(
            phase=RunPhase.RUNNING,
            progress=progress,
            reason=Reason.RUNNING,
            message=f"running: {', '.join(active)}"[:_MESSAGE_LIMIT] if active else "",
        )
    for phase in (RunPhase.FAILED, RunPhase.ERRORED, RunPhase.CANCELLED):
        guilty = [each for each in pipelines if each.phase == phase]
        if not guilty and phase is RunPhase.CANCELLED:
            guilty = [each for each in pipelines if each.phase == "Skipped"]
        if guilty:
            first = guilty[0]
            more = f" (and {len(guilty) - 1} more)" if len(guilty) > 1 else ""
            return Summary(
                phase=phase,
                progress=progress,
                reason=first.reason or Reason.CANCELLED,
                message=f"pipeline {first.name}{more}: {first.message or first.reason}",
            )
    return Summary(
        phase=RunPhase.SUCCEEDED,
        progress=progress,
        reason=Reason.PASSED,
        message="the pipeline passed"
        if len(pipelines) == 1
        else f"all {len(pipelines)} pipelines passed",
    )


class _Decider:
    """One run of `decide`: the pipelines are looked at after those that they require."""

    def __init__(
        self, run: WorkflowRun, raw: Mapping[str, Any], builds: Mapping[str, Build]
    ) -> None:
        self._run, self._raw, self._builds = run, raw, builds
        self._known = {each.name: each for each in run.status.pipelines}
        self._index = {each.name: n for n, each in enumerate(run.status.pipelines)}
        self._now: dict[str, PipelineStatus] = {}
        self._create: dict[str, dict[str, Any]] = {}
        self._cancel: list[str] = []

    def run(self) -> Decision:
        waiting = dict(self._known)
        while waiting:
            ready = [n for n, each in waiting.items() if all(r in self._now for r in each.requires)]
            if not ready:
                raise ValueError("the workflow has a cycle")
            for name in ready:
                self._now[name] = self._look(waiting.pop(name))
        return Decision(
            create=self._create,
            cancel=tuple(self._cancel),
            pipelines=tuple(self._now[name] for name in self._known),
        )

    def _look(self, known: PipelineStatus) -> PipelineStatus:
        found = self._latest(known)
        if found is None:
            return self._without_build(known)
        number, build = found
        at = known.model_copy(update={"build": build.name, "retry": number})
        if not _finished(build):
            if self._run.spec.cancel and not build.spec.cancel:
                self._cancel.append(build.name)
            return self._is(at, build.status.phase or Phase.QUEUED, "", "")
        succeeded = get_condition(build.status.conditions, ConditionType.SUCCEEDED)
        phase = build.status.phase or Phase.ERRORED
        if phase != Phase.SUCCEEDED and number < self._run.spec.retry:
            return self._next(at)
        reason = succeeded.reason if succeeded is not None else ""
        message = succeeded.message if succeeded is not None and phase != Phase.SUCCEEDED else ""
        return self._is(at, phase, reason, message)

    def _without_build(self, known: PipelineStatus) -> PipelineStatus:
        """A pipeline that has no Build, or not any more."""
        if known.phase == Phase.SUCCEEDED:
            return known
        if known.retry >= self._run.spec.retry:
            if known.build:
                why = f"Build {known.build} was deleted"
                return self._is(known, Phase.CANCELLED, Reason.CANCELLED, why)
            if known.phase in (Phase.FAILED, Phase.ERRORED):
                # Its Build could not be created.
                return known
        return self._next(known)

    def _latest(self, known: PipelineStatus) -> tuple[int, Build] | None:
        """The Build of the last retry that has one; None where the last one that is known of is gone."""
        index = self._index[known.name]
        for number in range(self._run.spec.retry, -1, -1):
            name = build_name(self._run, index, known.name, number)
            if name in self._builds and self._is_ours(known, self._builds[name]):
                return number, self._builds[name]
            if name == known.build:
                return None
        return None

    def _is_ours(self, known: PipelineStatus, build: Build) -> bool:
        """Whether a Build of the run's is the one that is created for that pipeline, and not before its time."""
        required = [self._now[name] for name in known.requires]
        if any(each.phase != Phase.SUCCEEDED for each in required):
            return False
        return asks_for(build, self._body(known, build.name, required))

    def _next(self, known: PipelineStatus) -> PipelineStatus:
        """A pipeline that has no Build for this retry: created if it may begin."""
        if self._run.spec.cancel:
            return self._is(known, "Skipped", Reason.CANCELLED, "the run was cancelled")
        required = [self._now[name] for name in known.requires]
        for each in required:
            if each.ended and each.phase != Phase.SUCCEEDED:
                why = f"it requires {each.name}, which ended as {each.phase}"
                return self._is(known, "Skipped", Reason.SKIPPED, why)
        if not all(each.ended for each in required):
            return self._is(known, "Waiting", "", "")
        retry = self._run.spec.retry
        name = build_name(self._run, self._index[known.name], known.name, retry)
        self._create[known.name] = self._body(known, name, required)
        at = known.model_copy(update={"build": name, "retry": retry})
        return self._is(at, Phase.QUEUED, "", "")

    def _is(self, known: PipelineStatus, phase: str, reason: str, message: str) -> PipelineStatus:
        update = {"phase": str(phase), "reason": str(reason), "message": message[:_MESSAGE_LIMIT]}
        return known.model_copy(update=update)

    def _body(
        self, of: PipelineStatus, name: str, required: Sequence[PipelineStatus]
    ) -> dict[str, Any]:
        run, said = self._run, self._raw["spec"]
        spec: dict[str, Any] = {key: said[key] for key in SHARED if key in said}
        # The run's own time counts: its Builds go with it.
        spec |= {"pipeline": of.pipeline, "ttlAfterFinished": "0s"}
        env = [each.model_dump(by_alias=True, exclude_defaults=True) for each in of.env]
        if env or said.get("env"):
            spec["env"] = [*env, *(said.get("env") or [])]
        if target := run.spec.deploy_targets.get(of.name):
            spec["deployTarget"] = target
        if required:
            picked = self._now[of.artifact_pipeline] if of.artifact_pipeline else required[0]
            spec["parent"] = {"name": picked.build}
            if len(required) > 1 and not of.artifact_pipeline:
                spec["inputs"] = [{"name": each.build, "directory": each.name} for each in required]
        else:
            spec["source"] = pinned(said["source"], run.status.source)
            if run.spec.config:
                spec["config"] = run.spec.config
        return {
            "apiVersion": API_VERSION,
            "kind": "Build",
            "metadata": {
                "name": name,
                "namespace": run.namespace,
                "labels": {
                    RUN_LABEL: label_value(run.name),
                    RUN_UID_LABEL: run.uid,
                    PIPELINE_LABEL: label_value(of.name),
                },
                "ownerReferences": [
                    {
                        "apiVersion": API_VERSION,
                        "kind": KIND,
                        "name": run.name,
                        "uid": run.uid,
                        "controller": True,
                        "blockOwnerDeletion": False,
                    }
                ],
            },
            "spec": spec,
        }


def pinned(source: Mapping[str, Any], found: SourceStatus | None) -> dict[str, Any]:
    """`source` at the revision that was found, with the name that this was found under; as it is where none was."""
    if found is None:
        return dict(source)
    if "git" in source and found.commit:
        ref = f"refs/tags/{found.tag}" if found.tag else found.branch
        git = {**source["git"], "commit": found.commit}
        return {"git": {**git, "ref": ref} if ref else git}
    if "archive" in source and found.digest:
        return {"archive": {**source["archive"], "sha256": found.digest.removeprefix("sha256:")}}
    return dict(source)


def _finished(build: Build) -> bool:
    finished = get_condition(build.status.conditions, ConditionType.FINISHED)
    return finished is not None and finished.status == "True"
