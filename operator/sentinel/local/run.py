"""The life of a local build, top to bottom: plan, containers, session, steps, what is kept, clean-up.

The stages and their order are the operator's (`engine/build.py`). Nothing is recovered: a run that is killed has ended,
and the next one removes its containers.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from docker import errors

from sentinel.api.reasons import Reason
from sentinel.config.findings import visible
from sentinel.engine.boxsteps import (
    expected,
    first_failure,
    judge,
    open_message,
    run_after,
    run_main,
    services_tried,
    was_stopped,
)
from sentinel.engine.deadline import cancelled
from sentinel.engine.guard import guarded, to_the_end
from sentinel.engine.outcome import Outcome
from sentinel.errors import BoxEnded, CancelledByUser, SentinelError, UserError
from sentinel.layout import CACHE_DIR, FETCHED_CACHE
from sentinel.local import results
from sentinel.local.boxkit import find_boxkit
from sentinel.local.commit import commit_box
from sentinel.local.containers import Containers
from sentinel.local.docker import Docker
from sentinel.local.images import find_image
from sentinel.local.leftovers import alive, home, remove_run, sweep
from sentinel.local.livesteps import Terminal, with_terminal
from sentinel.local.planning import Planned, Wanted, finish, prepare
from sentinel.local.project import files_of
from sentinel.local.stream import attach, why_ended
from sentinel.local.view import Follower, View
from sentinel.plan.model import Plan, PlanStep
from sentinel.session.client import Session
from sentinel.session.journal import StepState
from sentinel.session.messages import Copy
from sentinel.session.stream import RequestRefused
from sentinel.settings import Settings

T = TypeVar("T")

LOGS_WITHIN = 30.0
"""Seconds for the rest of the logs, after the last step has ended: a busy machine takes its time."""
CLOSED_WITHIN = 60.0
"""Seconds for the end of the box."""
INTERRUPTED = "interrupted"
LAST_LINES, LAST_CHARACTERS = 5, 500
"""Of the box's output, for the message where it has ended under the build."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a build is run. `commit` names the image that the box becomes, `network` is Docker's mode for the box.

    `interactive`: there is a terminal, at which internal/shell is opened, and with `shell_on_failure` a shell where a
    step has failed.
    """

    boxkit: str = ""
    commit: str = ""
    network: str = ""
    pull: bool = False
    use_cache: bool = True
    interactive: bool = False
    shell_on_failure: bool = False


class LocalRun:
    """One run. `cancel` is set by the first Ctrl-C; a second one cancels the task."""

    def __init__(
        self,
        wanted: Wanted,
        *,
        options: Options,
        docker: Docker,
        settings: Settings,
        view: View,
        cancel: asyncio.Event,
    ) -> None:
        self._wanted, self._options = wanted, options
        self._docker, self._settings = docker, settings
        self._view, self._cancel = view, cancel
        self._kept = results.Kept(root=wanted.project.root)
        self._result: dict[str, str] = {}

    async def run(self) -> Outcome:
        """How the build ended. Nothing of it is left in the engine then, whatever happens."""
        began = time.monotonic()
        try:
            outcome = await self._run()
        except CancelledByUser as e:
            outcome = Outcome.failed(Reason.CANCELLED, e.message)
        except SentinelError as e:
            outcome = Outcome.failed(e.reason or Reason.INTERNAL, e.message)
        except errors.APIError as e:
            message = f"Docker Engine refused: {visible(str(e.explanation or e))}"
            outcome = Outcome.failed(Reason.CONTAINER_CREATE_FAILED, message)
        finally:
            self._view.close()
        self._view.finished(outcome, seconds=time.monotonic() - began, result=self._result)
        return outcome

    async def _run(self) -> Outcome:
        docker, folder, uid = self._docker, home() / "alive", self._wanted.uid
        await docker.do(sweep, docker, folder, host=docker.host)
        with alive(folder, run=uid, host=docker.host) as forget:
            try:
                planned = await self._unless_cancelled(self._plan())
                self._view.planned(planned.plan)
                return await self._contain(planned)
            finally:
                await to_the_end(self._clean_up(forget))

    async def _clean_up(self, forget: Callable[[], None]) -> None:
        await self._docker.idle()
        await self._docker.do(remove_run, self._docker, self._wanted.uid)
        forget()

    async def _plan(self) -> Planned:
        prepared = await prepare(self._wanted, settings=self._settings, cache=home() / "steps")
        for each in prepared.diagnostics:
            self._view.note(f"{self._wanted.project.config}:{each.line}: {each.message}")
        facts = prepared.facts
        values = {
            **facts.public,
            **{name: data.decode() for name, data in self._wanted.given.secrets.items()},
        }
        images = facts.images
        found = await asyncio.gather(
            *(
                find_image(
                    self._docker,
                    each,
                    default_registry=self._settings.images.default_registry,
                    values=values,
                    pull=self._options.pull,
                    note=self._view.note,
                )
                for each in (images.box, *images.services)
            )
        )
        planned = finish(prepared, found)
        if self._options.interactive:
            planned = with_terminal(planned, [step for _, step in facts.steps])
        for note in planned.notes:
            self._view.note(note)
        return planned

    async def _contain(self, planned: Planned) -> Outcome:
        plan, options = planned.plan, self._options
        boxkit = await find_boxkit(
            self._docker,
            given=options.boxkit,
            image=self._settings.image,
            cache=home() / "boxkit",
            note=self._view.note,
        )
        names = await asyncio.to_thread(self._begin, plan.ignore_file)
        containers = Containers(
            docker=self._docker, plan=plan, run=self._wanted.uid, network=options.network
        )
        cache = self._kept.cache_of(plan.pipeline) if options.use_cache else None
        await self._unless_cancelled(
            containers.start(
                root=self._wanted.project.root,
                names=names,
                archives=planned.archives,
                boxkit=boxkit,
                cache=cache,
            )
        )
        try:
            return await self._converse(planned, containers)
        except BoxEnded as e:
            raise await self._why_ended(containers.box, e) from e

    def _begin(self, ignore_file: str) -> list[str]:
        """Make `.sentinel`, and list the source's files."""
        project = self._wanted.project
        try:
            self._kept.begin()
            return files_of(project, ignore_file=ignore_file)
        except (OSError, subprocess.CalledProcessError) as e:
            raise UserError(
                f"{project.root} cannot be used: {visible(str(e))}", reason=Reason.SOURCE_NOT_FOUND
            ) from e

    async def _converse(self, planned: Planned, containers: Containers) -> Outcome:
        plan = planned.plan

        def known(ordinal: int) -> StepState | None:
            return session.state.steps.get(ordinal)

        follower = Follower(plan=plan, view=self._view, state=known, write=self._log)
        session = Session(
            lambda: attach(self._docker, containers.box),
            box=(plan.uid, plan.attempt),
            on_record=follower.record,
            on_log=follower.log,
            expected=expected(plan),
        )
        async with session:
            await self._unless_cancelled(self._open(session, planned))
            await self._unless_cancelled(services_tried(session, plan))
            terminal = Terminal(
                docker=self._docker,
                box=containers.box,
                plan=plan,
                project=self._wanted.project,
                session=session,
                view=self._view,
            )
            cancelled_by_user = self._pass_on_cancel(session)
            state = await guarded(run_main(session, plan), cancelled_by_user, terminal.serve())
            if was_stopped(plan.steps, state):
                raise BoxEnded("the box was stopped while its steps ran")
            outcome = judge(plan.steps, state)
            failed = first_failure(plan.steps, state)
            if failed is not None and self._options.shell_on_failure and not self._cancel.is_set():
                await terminal.after_failure(failed.display_name)
            if outcome.reason is not Reason.CANCELLED:
                outcome = await self._keep(outcome, containers.box)
            await guarded(run_after(session, plan, outcome), terminal.serve())
            await _shown(follower)
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSED_WITHIN):
                    await session.close()
            artifacts = [
                step
                for step in plan.steps
                if (left := session.state.steps.get(step.ordinal)) and left.artifacts
            ]
        await self._keep_rest(outcome, containers.box, plan, artifacts)
        return outcome

    async def _open(self, session: Session, planned: Planned) -> None:
        message = open_message(planned.plan, planned.environment, store=False)
        restored = Copy(source=FETCHED_CACHE, target=CACHE_DIR)
        try:
            await session.open(replace(message, copies=(*message.copies, restored)))
        except RequestRefused as e:
            reasons = {
                "PrepareFailed": Reason.CONTAINER_CONFIG_INVALID,
                "NoShell": Reason.SHELL_MISSING,
            }
            if e.code not in reasons:
                raise
            raise UserError(
                f"the box {planned.plan.box.name} cannot be prepared: {e.text}",
                reason=reasons[e.code],
            ) from e

    async def _keep(self, outcome: Outcome, box: str) -> Outcome:
        """The image, of a red build too, and the output of a green one, before the after-steps, as on a cluster."""
        if self._options.commit:
            try:
                image = await self._docker.do(commit_box, self._docker, box, self._options.commit)
            except (errors.APIError, ValueError) as e:
                return Outcome.failed(Reason.COMMIT_FAILED, f"the box was not committed: {e}")
            self._result["image"] = image
        if not outcome.succeeded:
            return outcome
        try:
            left_out = await asyncio.to_thread(results.save_output, self._docker, box, self._kept)
        except OSError as e:
            return Outcome.failed(Reason.STORE_FAILED, f"the output was not kept: {e}")
        for each in left_out:
            self._view.note(f"not in the output: {each}")
        if self._kept.output.is_dir():
            self._result["output"] = str(self._kept.output)
        return outcome

    async def _keep_rest(
        self, outcome: Outcome, box: str, plan: Plan, artifacts: Sequence[PlanStep]
    ) -> None:
        """Artifacts and cache: what goes wrong with them is noted and changes nothing."""
        for step in artifacts:
            try:
                await asyncio.to_thread(
                    results.save_artifacts, self._docker, box, self._kept, step.id
                )
            except OSError as e:
                self._view.note(f"the report artifacts of {step.display_name} are not kept: {e}")
            else:
                self._result["artifacts"] = str(self._kept.folder / "artifacts")
        if outcome.succeeded and self._options.use_cache:
            limit = self._settings.cache.max_mib * results.MIB
            path = self._kept.cache_of(plan.pipeline)
            try:
                await asyncio.to_thread(results.save_cache, self._docker, box, path, limit=limit)
            except OSError as e:
                self._view.note(f"the cache is not kept: {e}")

    async def _unless_cancelled(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, or CancelledByUser as soon as the user wants no more of it."""
        return await guarded(work, self._raise_when_cancelled())

    async def _raise_when_cancelled(self) -> None:
        await self._cancel.wait()
        raise CancelledByUser(INTERRUPTED, reason=Reason.CANCELLED)

    async def _why_ended(self, box: str, end: BoxEnded) -> SentinelError:
        try:
            raw = await self._docker.do(self._docker.api.inspect_container, box)
        except errors.APIError:
            return Reason.BOX_TERMINATED.error(end.message)
        state = raw["State"]
        reason = Reason.OUT_OF_MEMORY if state.get("OOMKilled") else Reason.BOX_TERMINATED
        last = await self._docker.do(self._docker.api.logs, box, tail=LAST_LINES)
        said = visible(last.decode("utf-8", "replace").strip()[-LAST_CHARACTERS:])
        return reason.error(why_ended(state) + (f". It printed last: {said}" if said else ""))

    def _log(self, step: PlanStep, data: bytes) -> None:
        with self._kept.log(step.ordinal, step.id).open("ab") as file:
            file.write(data)

    async def _pass_on_cancel(self, session: Session) -> None:
        await self._cancel.wait()
        await cancelled(session, INTERRUPTED, after=True)


async def _shown(follower: Follower) -> None:
    """Wait for the rest of the logs: the journal may be ahead of them."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LOGS_WITHIN):
            await follower.complete()
    follower.flush()
