"""internal/shell and internal/watch at the user's terminal, as wercker had them: the box keeps the step's place and
waits for its end.

Without a terminal they run their code once, as on a cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from docker import errors

from sentinel.config.model import Step
from sentinel.local.changes import Changes, send
from sentinel.local.docker import Docker
from sentinel.local.planning import Planned
from sentinel.local.project import Project
from sentinel.local.terminal import Left, shell_in_box, wait_for_key
from sentinel.local.view import View
from sentinel.plan.internal import about_internal
from sentinel.plan.model import Plan, PlanStep
from sentinel.session.client import Session
from sentinel.session.journal import SessionState

SHELL, WATCH = "shell", "watch"


def with_terminal(planned: Planned, steps: Sequence[Step]) -> Planned:
    """`planned` with its interactive steps left to us; `steps` are wercker.yml's, in the plan's order.

    A person takes as long as they like: such a step has no timeout, and neither has its build.
    """
    ours = [step for step in steps if step.kind == "internal" and step.name in (SHELL, WATCH)]
    if not ours:
        return planned
    made = tuple(
        replace(
            each,
            kind="operator",
            properties=step.properties,
            command_timeout=0.0,
            no_response_timeout=0.0,
        )
        if step in ours
        else each
        for each, step in zip(planned.plan.steps, steps, strict=True)
    )
    known = about_internal(ours)
    return replace(
        planned,
        plan=replace(planned.plan, steps=made, build_timeout=0.0),
        notes=tuple(each for each in planned.notes if each not in known),
    )


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """The user's terminal for one build: what is opened there has the environment of the last step's end."""

    docker: Docker
    box: str
    plan: Plan
    project: Project
    session: Session
    view: View

    async def serve(self) -> None:
        """Do each interactive step as the box comes to it, until cancelled."""
        ours = {each.ordinal: each for each in self.plan.steps if each.kind == "operator"}
        while ours:

            def due(state: SessionState, among: Sequence[int] = tuple(ours)) -> int:
                running = (
                    n for n in among if n in state.steps and state.steps[n].state == "running"
                )
                return next(running, 0)

            step = ours.pop(due(await self.session.wait_for(lambda state: due(state) > 0)))
            code = await self._do(step)
            await self.session.verdict(step.ordinal, exit_code=code)

    async def after_failure(self, step: str) -> None:
        """A shell in the box where a step has failed; the build goes on when it ends."""
        self.view.note(
            f"step {step} failed: this is a shell in the box; the build goes on when you leave it"
        )
        await self._open("", "")

    async def _do(self, step: PlanStep) -> int:
        if step.name == WATCH:
            return await self._watch(step)
        self.view.note(
            f"{step.display_name}: a shell in the box; the build goes on when you leave it"
        )
        return await self._open(step.code, dict(step.properties).get("cmd", ""))

    async def _open(self, code: str, command: str) -> int:
        """The exit code of a shell that has run `code`, or of `command` in its place."""
        shell = self._shell
        words = [shell, "-c", f"{code}\nexec {command or shell}"] if code or command else [shell]
        return (await self._run(words)).code

    async def _watch(self, step: PlanStep) -> int:
        """Run the code until Ctrl-C; with `reload` again whenever files change. Its result does not fail the build."""
        reload = dict(step.properties).get("reload", "").lower() in ("1", "t", "true")
        changes = Changes(project=self.project, ignore_file=self.plan.ignore_file)
        more = ", and again when files change" if reload else ""
        self.view.note(f"{step.display_name}: runs until Ctrl-C{more}")
        changed: list[str] = []

        def stop() -> bool:
            changed[:] = changes.settled() if reload else []
            return bool(changed)

        while True:
            left = await self._run([self._shell, "-c", step.code], stop=stop)
            if not reload or (left.interrupted and not changed):
                return 0
            if not changed:
                self.view.note(
                    f"{step.display_name}: ended with exit code {left.code}; waiting for changes"
                )
                with self.view.handed_over():
                    if await asyncio.to_thread(wait_for_key, stop):
                        return 0
            self.view.note(f"{step.display_name}: {', '.join(changed[:5])} changed")
            try:
                await self.docker.do(
                    send,
                    self.docker,
                    self.box,
                    root=self.project.root,
                    names=tuple(changed),
                    target=self.plan.base_path,
                )
            except errors.APIError as e:
                self.view.note(f"the files were not copied into the box: {e.explanation}")
            changed.clear()

    @property
    def _shell(self) -> str:
        opened = self.session.state.opened
        return (opened.shell if opened is not None else "") or "/bin/sh"

    async def _run(self, words: Sequence[str], *, stop: Callable[[], bool] = lambda: False) -> Left:
        environment = await self.session.environment()
        try:
            with self.view.handed_over():
                return await asyncio.to_thread(
                    shell_in_box,
                    self.docker,
                    self.box,
                    words,
                    environment=environment,
                    directory=self.plan.source_dir,
                    stop=stop,
                )
        except errors.APIError as e:
            self.view.note(f"no shell could be opened: {e.explanation}")
            return Left(code=1, interrupted=True)
