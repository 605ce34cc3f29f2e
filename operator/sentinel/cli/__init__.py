"""The `sentinel` command: one module per verb, thin, and imported only when its verb is called: start-up is felt."""

from __future__ import annotations

from importlib import import_module

import click

from sentinel import __version__

VERBS = {
    "agent": "sentinel.cli.roles",
    "cache": "sentinel.cli.cache",
    "cancel": "sentinel.cli.cancel",
    "check": "sentinel.cli.check",
    "completion": "sentinel.cli.completion",
    "deploy": "sentinel.cli.deploy",
    "describe": "sentinel.cli.describe",
    "detect": "sentinel.cli.detect",
    "diff": "sentinel.cli.diff",
    "env": "sentinel.cli.env",
    "list": "sentinel.cli.listing:list_",
    "logs": "sentinel.cli.logs",
    "operator": "sentinel.cli.roles",
    "output": "sentinel.cli.output",
    "prune": "sentinel.cli.prune",
    "reporter": "sentinel.cli.roles",
    "resolver": "sentinel.cli.roles",
    "results": "sentinel.cli.roles",
    "retry": "sentinel.cli.retry",
    "run": "sentinel.cli.run",
    "schema": "sentinel.cli.schema",
    "shell": "sentinel.cli.shell",
    "steps": "sentinel.cli.steps",
    "store": "sentinel.cli.store",
    "top": "sentinel.cli.top",
    "version": "sentinel.cli.version",
    "wait": "sentinel.cli.wait",
}
"""Each verb and the module that holds a click command of that name, or of the name behind a colon."""


class _Verbs(click.Group):
    """A group that imports its commands when they are wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module, _, attribute = VERBS[name].partition(":")
        command = getattr(import_module(module), attribute or name)
        assert isinstance(command, click.Command)  # noqa: S101 - VERBS is ours
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sentinel")
def main() -> None:
    """Run wercker builds on Kubernetes."""
