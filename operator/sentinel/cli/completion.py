"""`sentinel completion`: shell scripts that complete verbs, options and names of Builds."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "sentinel"
VARIABLE = "_SENTINEL_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash: eval "$(sentinel completion bash)" in ~/.bashrc
    zsh:  eval "$(sentinel completion zsh)" in ~/.zshrc
    fish: sentinel completion fish > ~/.config/fish/completions/sentinel.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click has these three
    click.echo(kind(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
