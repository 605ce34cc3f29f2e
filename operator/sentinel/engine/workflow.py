"""One WorkflowRun brought one step further: its workflow is read once, then Builds are created, cancelled and counted.

Every decision is `plan.workflow.decide`'s, from the Builds that there are now; here it is read and done. After a
restart, a lost answer or a second operator at the same moment it is done again, which changes nothing: names are locks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from sentinel.api.build import Build
from sentinel.api.conditions import ConditionType, get_condition, set_condition
from sentinel.api.reasons import Blame, Reason, read_reason
from sentinel.api.workflowrun import PipelineStatus, RunPhase, WorkflowRun, WorkflowRunStatus
from sentinel.clock import rfc3339
from sentinel.engine.board import Key
from sentinel.engine.run import Tools
from sentinel.engine.secrets import References
from sentinel.engine.sources import found_of, wanted_of
from sentinel.engine.status import without_blanks
from sentinel.errors import (
    CancelledByUser,
    Conflict,
    GoneError,
    InfrastructureError,
    InternalError,
    SentinelError,
    TransientError,
    UserError,
)
from sentinel.kube.errors import AlreadyExists, ApiError, NotFound
from sentinel.kube.events import Recorder
from sentinel.kube.resources import BUILDS, WORKFLOW_RUNS
from sentinel.plan.names import instance_label
from sentinel.plan.refusals import FOREVER, classify_refusal, refused
from sentinel.plan.workflow import RUN_UID_LABEL, asks_for, decide, owned_by, pipelines_of, summary
from sentinel.resolver.client import raise_failure
from sentinel.resolver.messages import WorkflowRequest
from sentinel.text import count_of

log = logging.getLogger(__name__)


class Reconciler:
    """Brings WorkflowRuns further; `reconcile` may be called at any time, for one run never twice at once."""

    def __init__(self, tools: Tools, recorder: Recorder) -> None:
        self._tools = tools
        self._recorder = recorder

    async def reconcile(self, key: Key) -> None:
        """Do for one run what is to be done now. Raises TransientError and whatever else should be tried again."""
        namespace, name = key
        try:
            raw = await self._tools.kube.get(WORKFLOW_RUNS, namespace=namespace, name=name)
        except NotFound:
            return
        if raw["metadata"].get("deletionTimestamp"):
            return
        try:
            await _One(self._tools, self._recorder, raw).go()
        except GoneError as e:
            log.info("%s", e.message)

    async def give_up(self, key: Key, why: str) -> None:
        """End a run that we failed with again and again."""
        namespace, name = key
        raw = await self._tools.kube.get(WORKFLOW_RUNS, namespace=namespace, name=name)
        one = _One(self._tools, self._recorder, raw)
        await one.end(InternalError(f"the operator failed with it: {why}", reason=Reason.INTERNAL))


class _One:
    """A run as it is now; `status` is what it should be."""

    def __init__(self, tools: Tools, recorder: Recorder, raw: dict[str, Any]) -> None:
        self._tools, self._recorder, self._raw = tools, recorder, raw
        self._invalid: UserError | None = None
        try:
            self._run = WorkflowRun.parse(raw)
        except UserError as e:
            # The server's schema lets little through; what it does must end the run, not our loop.
            self._invalid = e
            self._run = WorkflowRun.parse({**raw, "spec": {"source": {}}})
        self.status = self._run.status

    async def go(self) -> None:
        status, spec = self.status, self._run.spec
        finished = get_condition(status.conditions, ConditionType.FINISHED)
        if finished is not None and finished.status == "True":
            if spec.retry <= status.retry or spec.cancel or self._invalid is not None:
                return
            self._begin_again()
        try:
            if self._invalid is not None:
                raise self._invalid
            if not status.pipelines:
                await self._read()
        except (CancelledByUser, UserError, InfrastructureError, InternalError) as e:
            await self.end(e)
            return
        await self._advance()

    def _begin_again(self) -> None:
        now = f"retry {self._run.spec.retry} was asked for"
        self._condition(ConditionType.FINISHED, "False", Reason.RUNNING, now)
        self._condition(ConditionType.SUCCEEDED, "Unknown", Reason.RUNNING, now)
        self._change(completion_time="")
        self._say("Retried", now)

    async def _read(self) -> None:
        """Find the revision and its workflow, once: from then on both are in the status."""
        run, settings = self._run, self._tools.settings
        if run.spec.cancel:
            raise CancelledByUser("spec.cancel was set", reason=Reason.CANCELLED)
        # What is read of the run's Secrets is what a Build of it would read.
        build = Build.parse(
            {"metadata": run.metadata, "spec": {"source": self._raw["spec"]["source"]}}
        )
        references = References(build=build, kube=self._tools.kube, settings=settings)
        git, archive = await wanted_of(run.spec.source, references)
        request = WorkflowRequest(
            git=git,
            archive=archive,
            config=run.spec.config,
            workflow=run.spec.workflow,
            ca=settings.source.ca,
            network=settings.network.policy().to_json(),
        )
        resolver = self._tools.resolver
        try:
            async with (
                asyncio.timeout(settings.prepare_seconds),
                resolver.session(namespace=run.namespace, build=run.name) as session,
            ):
                answer = await session.workflow(request)
        except TimeoutError:
            raise InfrastructureError(
                f"the source was not resolved within {settings.prepare_seconds:.0f} s (setting prepare_seconds)",
                reason=Reason.SOURCE_UNAVAILABLE,
            ) from None
        _, source = found_of(run.spec.source, answer.source)
        self._change(source=source, start_time=rfc3339(self._tools.clock.now()))
        if answer.failure is not None:
            raise_failure(answer.failure)
        if answer.workflow is None:
            raise InternalError("the resolver gave neither a workflow nor why there is none")
        files = {each.name: each.text for each in answer.env_files}
        pipelines = pipelines_of(answer.workflow, env_files=files)
        self._change(pipelines=pipelines, workflow=answer.workflow.name, phase=RunPhase.RUNNING)
        at = source.commit[:12] or source.digest[:19]
        text = f"workflow {answer.workflow.name} of {at}: {count_of(len(pipelines), 'pipeline')}"
        self._condition(ConditionType.ACCEPTED, "True", Reason.VALID, text)
        self._condition(ConditionType.SUCCEEDED, "Unknown", Reason.RUNNING)
        # Nothing is created for a workflow that a restart might read again, and otherwise.
        await self._write()
        self._say("Accepted", text)

    async def _advance(self) -> None:
        """Create and cancel what is due, and show how everything stands."""
        while not await self._step():
            # A Build could not be created: what requires it is skipped.
            pass

    async def _step(self) -> bool:
        """One look at all Builds. Whether everything that follows from it is done."""
        self._run = self._run.model_copy(update={"status": self.status})
        decision = decide(self._run, self._raw, await self._builds())
        for name in decision.cancel:
            with suppress(NotFound):
                await self._tools.kube.patch(
                    BUILDS,
                    namespace=self._run.namespace,
                    name=name,
                    body={"spec": {"cancel": True}},
                )
        stand = {each.name: each for each in decision.pipelines}
        waits: TransientError | None = None
        denied = False
        for name, body in decision.create.items():
            try:
                problem = await self._create(body)
            except TransientError as e:
                # The others are no worse for it; what is not there is not noted as being there.
                waits, stand[name] = e, self._known(name)
                continue
            if problem is None:
                self._say("Created", f"pipeline {name}: Build {body['metadata']['name']}")
                continue
            denied = True
            stand[name] = self._known(name).model_copy(
                update={
                    "phase": "Failed" if isinstance(problem, UserError) else "Errored",
                    "reason": problem.reason or Reason.INTERNAL,
                    "message": problem.message[:256],
                    "build": "",
                    "retry": self._run.spec.retry,
                }
            )
        if denied and waits is None:
            self._change(pipelines=list(stand.values()))
            return False
        await self._show(list(stand.values()))
        if waits is not None:
            raise waits
        return True

    def _known(self, name: str) -> PipelineStatus:
        return next(each for each in self.status.pipelines if each.name == name)

    async def _show(self, pipelines: list[PipelineStatus]) -> None:
        now = summary(self._run, pipelines)
        retry = self._run.spec.retry
        self._change(pipelines=pipelines, progress=now.progress, phase=now.phase, retry=retry)
        if not now.ended:
            self._condition(ConditionType.SUCCEEDED, "Unknown", now.reason, now.message)
            await self._write()
            return
        await self._finish(now.phase, now.reason, now.message)

    async def end(self, error: SentinelError) -> None:
        """End the run before any Build of it exists."""
        reason = error.reason or Reason.INTERNAL
        phases = {Blame.USER: RunPhase.FAILED, Blame.CANCEL: RunPhase.CANCELLED}
        phase = phases.get(reason.blame, RunPhase.ERRORED)
        if get_condition(self.status.conditions, ConditionType.ACCEPTED) is None:
            self._condition(ConditionType.ACCEPTED, "False", reason, error.message)
        self._change(retry=self._run.spec.retry)
        await self._finish(phase, reason, error.message)

    async def _finish(self, phase: RunPhase, reason: str, message: str) -> None:
        succeeded: Literal["True", "False"] = "True" if phase is RunPhase.SUCCEEDED else "False"
        self._condition(ConditionType.SUCCEEDED, succeeded, reason, message)
        self._condition(ConditionType.FINISHED, "True", Reason.COMPLETED)
        self._change(phase=phase, completion_time=rfc3339(self._tools.clock.now()))
        await self._write()
        self._say("Finished", f"{reason}: {message}", warn=phase is not RunPhase.SUCCEEDED)

    async def _builds(self) -> dict[str, Build]:
        """The Builds that the run owns, by name."""
        found: dict[str, Build] = {}
        async for raw in self._tools.kube.each(
            BUILDS, namespace=self._run.namespace, labels=f"{RUN_UID_LABEL}={self._run.uid}"
        ):
            if owned_by(self._run, raw):
                build = Build.parse(raw)
                found[build.name] = build
        return found

    async def _create(self, body: Mapping[str, Any]) -> SentinelError | None:
        """Create a Build, or say why it cannot be. One that is there already is ours if it asks for the same."""
        kube, namespace = self._tools.kube, self._run.namespace
        meta = body["metadata"]
        labels = {**meta["labels"], **instance_label(self._tools.settings.instance)}
        body = {**body, "metadata": {**meta, "labels": labels}}
        try:
            await kube.create(BUILDS, dict(body), namespace=namespace)
        except AlreadyExists:
            name = body["metadata"]["name"]
            raw = await kube.get(BUILDS, namespace=namespace, name=name)
            if owned_by(self._run, raw) and asks_for(Build.parse(raw), body):
                return None
            return UserError(
                f"Build {name} exists and was not made for this run: delete it, and raise spec.retry",
                reason=Reason.INVALID_SPEC,
            )
        except (Conflict, TransientError):
            raise
        except ApiError as e:
            if e.status == 401:
                raise TransientError(e.message) from e
            refusal = classify_refusal(e.status, e.text, refused(body))
            if refusal.verdict == "wait" and refusal.grace < FOREVER:
                raise  # counted: it may pass, and else it ends the run
            if refusal.verdict == "wait":
                raise TransientError(refusal.message) from e
            return refusal.reason.error(refusal.message)
        return None

    def _change(self, **fields: Any) -> None:
        generation = int(self._raw["metadata"].get("generation", 1))
        self.status = self.status.model_copy(update={**fields, "observed_generation": generation})

    def _condition(
        self,
        type_: ConditionType,
        status: Literal["True", "False", "Unknown"],
        reason: Reason | str,
        message: str = "",
    ) -> None:
        conditions = set_condition(
            self.status.conditions,
            type_=type_,
            status=status,
            reason=read_reason(str(reason)),
            message=message,
            now=rfc3339(self._tools.clock.now()),
            generation=int(self._raw["metadata"].get("generation", 1)),
        )
        self._change(conditions=list(conditions))

    async def _write(self) -> None:
        """Bring the status to the server where it differs. Raises Conflict if the run was changed meanwhile."""
        before = WorkflowRunStatus.model_validate(self._raw.get("status") or {})
        if self.status == before:
            return
        status = self.status.model_dump(by_alias=True, mode="json", exclude_none=True)
        body = {
            "apiVersion": self._raw["apiVersion"],
            "kind": self._raw["kind"],
            "metadata": self._raw["metadata"],
            "spec": self._raw["spec"],
            "status": without_blanks(status),
        }
        try:
            self._raw = await self._tools.kube.replace(WORKFLOW_RUNS, body, subresource="status")
        except NotFound as e:
            raise GoneError(f"WorkflowRun {self._run.namespace}/{self._run.name} is gone") from e

    def _say(self, reason: str, note: str, *, warn: bool = False) -> None:
        self._recorder.record(
            self._raw,
            reason=reason,
            action="Run",
            note=note[:1024],
            type="Warning" if warn else "Normal",
        )
