"""The `sentinel` command: one module per verb, thin. Verbs import what they need when they run: start-up is felt."""

from __future__ import annotations

import click

from sentinel import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sentinel")
def main() -> None:
    """Run wercker builds on Kubernetes."""


@main.command()
def operator() -> None:
    """Run the operator (in its Deployment, or on your machine against the current kubeconfig)."""
    import asyncio  # noqa: PLC0415

    from sentinel.app import run_operator  # noqa: PLC0415
    from sentinel.observe.log import set_up  # noqa: PLC0415
    from sentinel.settings import Settings  # noqa: PLC0415

    settings = Settings()
    set_up(level=settings.log_level, style=settings.log_format)
    asyncio.run(run_operator(settings))


@main.command()
def agent() -> None:
    """Run the node agent (in its DaemonSet)."""
    import asyncio  # noqa: PLC0415

    from sentinel.agent.app import run_agent  # noqa: PLC0415
    from sentinel.observe.log import set_up  # noqa: PLC0415
    from sentinel.settings import Settings  # noqa: PLC0415

    settings = Settings()
    set_up(level=settings.log_level, style=settings.log_format)
    asyncio.run(run_agent(settings))
