"""`sentinel run`: a build of a local directory on a Docker Engine; its result is the exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sentinel.cli.envfile import ENV_FILE, read_given
from sentinel.cli.exits import Exit
from sentinel.errors import SentinelError, UserError

if TYPE_CHECKING:
    from sentinel.engine.outcome import Outcome
    from sentinel.local.run import LocalRun
    from sentinel.local.view import View
    from sentinel.settings import Settings

LOCAL_ONLY = {
    "only": "--step",
    "first": "--from",
    "last": "--until",
    "shell_on_failure": "--shell-on-failure",
    "commit": "--commit",
    "pull": "--pull",
    "network": "--network",
    "boxkit": "--boxkit",
    "output": "--output",
}
"""Options that --cluster does not have."""
CLUSTER_ONLY = {"namespace": "--namespace", "name": "--name"}


@click.command()
@click.argument(
    "folder", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--pipeline", default="build", show_default=True, help="The pipeline to run.")
@click.option("--deploy-target", default="", help="A target section of the pipeline.")
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"Variables: X_NAME=public, XXX_NAME=protected. Default: {ENV_FILE} in the directory, where it is.",
)
@click.option(
    "--step", "only", multiple=True, help="Run only this step; may be given several times."
)
@click.option("--from", "first", default="", metavar="STEP", help="Begin with this step.")
@click.option("--until", "last", default="", metavar="STEP", help="End with this step.")
@click.option(
    "--shell-on-failure", is_flag=True, help="Open a shell in the box where a step has failed."
)
@click.option("--commit", default="", metavar="NAME", help="Make a local image of the box.")
@click.option("--no-cache", is_flag=True, help="Begin with an empty cache, and keep none.")
@click.option("--pull", is_flag=True, help="Pull box and services also where the engine has them.")
@click.option(
    "--network", default="", help="Docker's network for the box. Default: the engine's own."
)
@click.option(
    "--boxkit",
    default="",
    envvar="SENTINEL_BOXKIT",
    metavar="FILE",
    help="The program that runs the steps. Default: the one in Sentinel's image ($SENTINEL_IMAGE).",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["human", "lines", "json"]),
    default="human",
    show_default=True,
    help="human: steps that passed are folded on a terminal. lines: all of every log. json: one event on a line.",
)
@click.option(
    "--cluster",
    is_flag=True,
    help="Run it as a Build on the cluster of the kubeconfig, sending the directory through the API server.",
)
@click.option(
    "-n",
    "--namespace",
    default="",
    help="With --cluster: the Build's namespace. Default: the one of the kubeconfig's current context.",
)
@click.option(
    "--name", default="", help="With --cluster: the Build's name. Default: one after the directory."
)
@click.pass_context
def run(
    ctx: click.Context,
    folder: Path,
    *,
    pipeline: str,
    deploy_target: str,
    env_file: Path | None,
    only: tuple[str, ...],
    first: str,
    last: str,
    shell_on_failure: bool,
    commit: str,
    no_cache: bool,
    pull: bool,
    network: str,
    boxkit: str,
    output: str,
    cluster: bool,
    namespace: str,
    name: str,
) -> None:
    """Run a pipeline of the project in FOLDER on this machine's Docker Engine, or on a cluster.

    Steps are named by their number, or by their name. Ctrl-C cancels: steps are stopped, after-steps run. Once more
    stops everything at once. Exit code: 0 if the build succeeded, 1 if it failed, 2 if it errored, 3 if it was
    cancelled.
    """
    _check_options(ctx, LOCAL_ONLY if cluster else CLUSTER_ONLY, cluster=cluster)
    if cluster:
        from sentinel.cli.runcluster import Wanted as OnCluster  # noqa: PLC0415
        from sentinel.cli.runcluster import run_on_cluster  # noqa: PLC0415

        ctx.exit(
            run_on_cluster(
                OnCluster(
                    folder=folder,
                    namespace=namespace,
                    name=name,
                    pipeline=pipeline,
                    target=deploy_target,
                    env_file=env_file,
                    use_cache=not no_cache,
                )
            )
        )
    # Imported here: start-up is felt. To collect garbage while thousands of classes are made is a sixth of it.
    gc.disable()
    from sentinel.local.docker import Docker  # noqa: PLC0415
    from sentinel.local.planning import Wanted  # noqa: PLC0415
    from sentinel.local.project import read_project  # noqa: PLC0415
    from sentinel.local.run import LocalRun, Options  # noqa: PLC0415
    from sentinel.local.selection import Selection  # noqa: PLC0415
    from sentinel.local.terminal import is_interactive  # noqa: PLC0415

    gc.enable()

    if only and (first or last):
        raise click.UsageError("--step cannot be combined with --from and --until")
    interactive = output != "json" and is_interactive()
    if shell_on_failure and not interactive:
        raise click.UsageError("--shell-on-failure needs a terminal")
    view = _view(output)
    options = Options(
        boxkit=boxkit,
        commit=commit,
        network=network,
        pull=pull,
        use_cache=not no_cache,
        interactive=interactive,
        shell_on_failure=shell_on_failure,
    )

    async def work() -> Outcome:
        # What is wrong with the directory is found without an engine.
        wanted = Wanted(
            project=read_project(folder),
            uid=str(uuid.uuid4()),
            started=datetime.now(UTC),
            pipeline=pipeline,
            target=deploy_target,
            selection=Selection(only=only, first=first, last=last),
            given=read_given(env_file, folder),
        )
        settings, cancel, docker = _settings(), asyncio.Event(), Docker.connect()
        try:
            local = LocalRun(
                wanted,
                options=options,
                docker=docker,
                settings=settings,
                view=view,
                cancel=cancel,
            )
            return await _interruptible(local, cancel, view)
        finally:
            docker.close()

    ctx.exit(_exit_of(work))


def _check_options(ctx: click.Context, refused: dict[str, str], *, cluster: bool) -> None:
    """Raises UsageError for options of the other way to run."""
    given = [
        option
        for parameter, option in refused.items()
        if ctx.get_parameter_source(parameter) is ParameterSource.COMMANDLINE
    ]
    if given:
        how = "cannot be combined with --cluster" if cluster else "needs --cluster"
        raise click.UsageError(f"{', '.join(given)} {how}")


def _exit_of(work: Callable[[], Coroutine[Any, Any, Outcome]]) -> Exit:
    from sentinel.api.reasons import Blame, Reason  # noqa: PLC0415

    try:
        outcome = asyncio.run(work())
    except (asyncio.CancelledError, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except SentinelError as e:
        click.ClickException(e.message).show()
        return Exit.FAILED if isinstance(e, UserError) else Exit.ERRORED
    except OSError as e:
        # A closed pipe or a full disk: the containers are removed all the same.
        click.ClickException(f"the output cannot be written: {e.strerror or e}").show()
        return Exit.ERRORED
    if outcome.succeeded:
        return Exit.SUCCEEDED
    blame = outcome.reason.blame if isinstance(outcome.reason, Reason) else Blame.PLATFORM
    return {Blame.USER: Exit.FAILED, Blame.CANCEL: Exit.CANCELLED}.get(blame, Exit.ERRORED)


def _settings() -> Settings:
    """The operator's settings, from this environment: where steps and images come from. Raises UserError."""
    from pydantic import ValidationError  # noqa: PLC0415
    from pydantic_settings import SettingsError  # noqa: PLC0415

    from sentinel.settings import Settings  # noqa: PLC0415

    try:
        return Settings()
    except (SettingsError, ValidationError) as e:
        raise UserError(f"the settings in the environment (SENTINEL_…) are not valid: {e}") from e


async def _interruptible(local: LocalRun, cancel: asyncio.Event, view: View) -> Outcome:
    """The outcome of a run that the first SIGINT or SIGTERM cancels, and the second stops."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(local.run())

    stopping = asyncio.Event()

    def interrupt() -> None:
        if stopping.is_set():
            return  # containers are being removed, which takes no longer than Docker Engine needs
        if cancel.is_set():
            stopping.set()
            task.cancel()
            return
        cancel.set()
        view.note("cancelling: steps are stopped, after-steps run. Interrupt again to stop at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    return await task


def _view(output: str) -> View:
    from sentinel.cli.runview import Json, Lines  # noqa: PLC0415

    out = sys.stdout.buffer
    if output == "json":
        return Json(out)
    terminal = sys.stdout.isatty()
    if terminal and output == "human" and os.environ.get("TERM") != "dumb":
        from sentinel.cli.folded import Folded  # noqa: PLC0415

        return Folded(sys.stdout)
    # no-color.org
    colour = terminal and not os.environ.get("NO_COLOR")
    return Lines(out, sys.stderr.buffer, terminal=terminal, colour=colour)
