"""`sentinel shell`: a shell in the box of a build that runs, beside its steps.

kubectl does it: sizes of terminals, raw mode and plug-ins for logins are its business. The shell has the
container's environment, not the one of the build's own shell: variables and secrets of the build stay in boxkit's.
"""

from __future__ import annotations

import os
import shlex
import shutil

import click

from sentinel.cli.cluster import build_argument, connect, read, run
from sentinel.config.findings import visible
from sentinel.errors import GoneError, UserError
from sentinel.layout import BASE_PATH
from sentinel.plan.names import BOX

COMMAND = f"cd {BASE_PATH} 2>/dev/null; command -v bash >/dev/null && exec bash; exec sh"


@click.command()
@build_argument
def shell(build: str, namespace: str) -> None:
    """Open a shell in the box of BUILD while it runs. It needs kubectl, and `create` on pods/exec."""
    command = run(_command(build, namespace))
    if shutil.which(command[0]) is None:
        raise click.ClickException(
            f"kubectl is not installed; with it, this opens the shell: {shlex.join(command)}"
        )
    os.execvp(command[0], command)  # noqa: S606 - kubectl takes over, its exit code too


async def _command(name: str, namespace: str) -> list[str]:
    """What kubectl is called with. Raises GoneError where the Build has no box now."""
    async with await connect() as kube:
        found = await read(kube, name, namespace)
        if found.finished:
            raise GoneError(
                f"Build {name} has finished, and its box is gone; `sentinel logs {found.address}` shows what it printed"
            )
        pod = found.status.pod
        if pod is None or not pod.name:
            raise GoneError(
                f"Build {name} has no box yet: it is {found.phase}; `sentinel describe {found.address}` shows how far"
            )
        if pod.name.startswith("-") or pod.name != visible(pod.name):
            raise UserError(f"the status of Build {name} has no pod's name")
        where = ["-n", found.namespace, pod.name, "-c", BOX]
        return ["kubectl", "exec", "-it", *where, "--", "sh", "-c", COMMAND]
