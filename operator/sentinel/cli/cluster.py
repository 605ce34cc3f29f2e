"""What the verbs that need a cluster share: connecting, reading a Build, exit codes, errors with the next command.

They need a kubeconfig and rights on Builds in one namespace. Not here: what each verb prints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from sentinel import __version__
from sentinel.api.build import BuildStatus
from sentinel.api.conditions import Condition, ConditionType, Phase, derive_phase, get_condition
from sentinel.cli.exits import Exit as Exit  # noqa: PLC0414 - verbs know it by this module
from sentinel.config.findings import visible
from sentinel.errors import GoneError, SentinelError
from sentinel.kube.client import Kube
from sentinel.kube.errors import Forbidden, NotFound, Unavailable
from sentinel.kube.resources import BUILDS

T = TypeVar("T")
Command = Callable[..., None]

COMPLETION_SECONDS = 2.0
"""The longest that the Tab key waits for names."""
MOST_NAMES = 200


@dataclass(frozen=True, kw_only=True)
class Found:
    """A Build as it was read. Its spec may be one that this release cannot parse: such Builds are shown too."""

    raw: dict[str, Any]
    status: BuildStatus

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.raw["metadata"]["namespace"])

    @property
    def spec(self) -> dict[str, Any]:
        spec = self.raw.get("spec")
        return spec if isinstance(spec, dict) else {}

    @property
    def address(self) -> str:
        """What stands behind a verb to name it: `-n team hello`."""
        return f"-n {visible(self.namespace)} {visible(self.name)}"

    @property
    def finished(self) -> bool:
        condition = get_condition(self.status.conditions, ConditionType.FINISHED)
        return condition is not None and condition.status == "True"

    @property
    def phase(self) -> Phase:
        if self.status.phase is not None:
            return self.status.phase
        return derive_phase(self.status.conditions, running=False, finishing=False)

    @property
    def condition(self) -> Condition | None:
        """The condition that explains the phase: the result, or what the build waits for."""
        of = {each.type: each for each in self.status.conditions}
        for kind in () if self.finished else (ConditionType.ACCEPTED, ConditionType.POD_READY):
            if kind in of and of[kind].status != "True":
                return of[kind]
        return of.get(ConditionType.SUCCEEDED)

    @property
    def exit(self) -> Exit:
        """The exit code of a finished build."""
        return {
            Phase.SUCCEEDED: Exit.SUCCEEDED,
            Phase.FAILED: Exit.FAILED,
            Phase.CANCELLED: Exit.CANCELLED,
        }.get(self.phase, Exit.ERRORED)


def connect() -> Coroutine[Any, Any, Kube]:
    """`async with await connect() as kube:` with the caller's kubeconfig."""
    return Kube.connect(user_agent=f"sentinel-cli/{__version__}")


async def read(kube: Kube, name: str, namespace: str) -> Found:
    """The Build. Raises GoneError where there is none."""
    try:
        raw = await kube.get(BUILDS, namespace=namespace or kube.namespace, name=name)
    except NotFound:
        place = namespace or kube.namespace
        raise GoneError(
            f"there is no Build {name!r} in namespace {place!r}; `sentinel list -n {place}` lists the others"
        ) from None
    try:
        status = BuildStatus.model_validate(raw.get("status") or {})
    except ValidationError as e:
        raise SentinelError(
            f"the status of Build {name} was written by another release of Sentinel; "
            f"`kubectl describe build {name}` shows it"
        ) from e
    return Found(raw=raw, status=status)


def run(work: Coroutine[Any, Any, T], *, trouble: int = 1) -> T:
    """The result of `work`. Prints its error and exits with `trouble` where it fails."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
    except SentinelError as e:
        click.ClickException(e.message + _next(e)).show()
        raise SystemExit(int(trouble)) from e


def _next(error: SentinelError) -> str:
    if isinstance(error, Forbidden):
        return "\n`kubectl auth can-i --list` shows what you may do; add -n and the namespace"
    if isinstance(error, Unavailable):
        return "\n`kubectl cluster-info` shows whether the API server can be reached"
    return ""


def complete_builds(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Names of Builds for the shell's completion; none where the cluster does not answer in time."""
    try:
        return asyncio.run(_names(ctx.params.get("namespace") or "", incomplete))
    except (SentinelError, TimeoutError, OSError):
        return []


async def _names(namespace: str, beginning: str) -> list[str]:
    names: list[str] = []
    async with (
        asyncio.timeout(COMPLETION_SECONDS),
        await connect() as kube,
        aclosing(kube.each(BUILDS, namespace=namespace or kube.namespace)) as builds,
    ):
        async for raw in builds:
            name = visible(str(raw["metadata"]["name"]))
            if name.startswith(beginning):
                names.append(name)
            if len(names) >= MOST_NAMES:
                break
    return names


def build_argument(command: Command) -> Command:
    """The argument BUILD and the option -n of a verb."""
    argument = click.argument("build", callback=_named, shell_complete=complete_builds)
    return namespace_option(argument(command))


def _named(_: click.Context, __: click.Parameter, build: str) -> str:
    """An empty name, as of an unset variable, is wrong usage."""
    if not build:
        raise click.BadParameter("the name is empty")
    return build


def namespace_option(command: Command) -> Command:
    """The option -n."""
    return click.option(
        "-n",
        "--namespace",
        default="",
        help="The Builds' namespace. Default: the one of the kubeconfig's current context.",
    )(command)
