"""`sentinel run --cluster`: a Build of a local directory, for users who can reach only the API server.

The directory is sent to the build's own pod (`upload`). Protected variables are in a Secret that the Build owns.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click

from sentinel.api import API_VERSION
from sentinel.cli.cluster import Exit, Found, connect, run
from sentinel.cli.envfile import read_given
from sentinel.cli.upload import send_source
from sentinel.cli.wait import result
from sentinel.cli.watch import watch
from sentinel.config.findings import visible
from sentinel.config.load import load, pipeline_of
from sentinel.errors import SentinelError, UserError
from sentinel.kube.client import Kube
from sentinel.kube.errors import Forbidden
from sentinel.kube.resources import BUILDS, SECRETS
from sentinel.local.environ import Given
from sentinel.local.pack import Packed, pack
from sentinel.local.project import Project, read_project
from sentinel.plan.source import parse_git_url
from sentinel.text import count_of, dns_label, printable

Json = dict[str, Any]

MOST_CONFIG = 256 * 1024
"""Characters of spec.config."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user asked for. An empty namespace is the kubeconfig's, an empty name a new one."""

    folder: Path
    namespace: str = ""
    name: str = ""
    pipeline: str = "build"
    target: str = ""
    env_file: Path | None = None
    use_cache: bool = True


def run_on_cluster(wanted: Wanted) -> Exit:
    """Pack the directory, build it, print the log; the build's exit code. Prints what is wrong."""
    with tempfile.TemporaryFile() as file:
        try:
            project = read_project(wanted.folder)
            loaded = load(project.text)
            pipeline_of(loaded, wanted.pipeline, path=project.config)
            if len(loaded.text) > MOST_CONFIG:
                raise UserError(
                    f"{project.config} has more than {MOST_CONFIG // 1024} KiB, the limit of spec.config"
                )
            given = read_given(wanted.env_file, wanted.folder)
            ignore_file = loaded.config.ignore_file if loaded.config is not None else ""
            packed = pack(project, file, ignore_file=ignore_file)
        except UserError as e:
            click.ClickException(e.message).show()
            return Exit.FAILED
        for warning in given.warnings:
            note(warning)
        note(f"{count_of(packed.files, 'file')}, {_size(packed.size)} packed")
        name = wanted.name or f"{_label(project)}-{secrets.token_hex(3)}"
        body = build_of(wanted, project, packed, given, name=name, config=loaded.text)
        return run(_run(wanted.namespace, body, given.secrets, file), trouble=Exit.ERRORED)


def build_of(
    wanted: Wanted, project: Project, packed: Packed, given: Given, *, name: str, config: str
) -> Json:
    """The Build's body, without a namespace. Nothing protected is in it."""
    git = parse_git_url(project.source.url)
    application = {"name": git.repository or project.root.name}
    if git.domain and git.owner:
        application["owner"] = git.owner
    spec: Json = {
        "pipeline": wanted.pipeline,
        "source": {"upload": {"sha256": packed.sha256, "size": packed.size}},
        "config": config,
        "application": application,
        "env": [_variable(each, env_secret(name)) for each in given.env],
        # Files that are in no repository become neither `latest` nor the cache of the application's other builds.
        "image": {"commit": "never"},
        "cache": {"readOnly": True} if wanted.use_cache else {"enabled": False},
    }
    if wanted.target:
        spec["deployTarget"] = wanted.target
    return {"apiVersion": API_VERSION, "kind": "Build", "metadata": {"name": name}, "spec": spec}


def env_secret(build: str) -> str:
    """The Secret with the protected variables."""
    return f"{build}-env"


def note(text: str) -> None:
    """A line for a person, beside the log."""
    click.echo(f"sentinel: {printable(text)}", err=True)


async def _run(namespace: str, body: Json, protected: Mapping[str, bytes], file: BinaryIO) -> Exit:
    async with await connect() as kube:
        made = await _create(kube, namespace or kube.namespace, body, protected)
        name, namespace = made["metadata"]["name"], made["metadata"]["namespace"]
        note(f"Build {visible(name)} created in namespace {visible(namespace)}")
        task = asyncio.current_task()
        cancelling: list[asyncio.Task[None]] = []

        def interrupt() -> None:
            if cancelling:
                assert task is not None  # noqa: S101 - this is a coroutine
                task.cancel()
                return
            note("cancelling the build; press Ctrl-C again to stop waiting for it")
            cancelling.append(asyncio.create_task(_cancel(kube, name, namespace)))

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
        try:
            found = await _follow(kube, name, namespace, file)
        except asyncio.CancelledError:
            note(f"to wait for its result: sentinel wait -n {visible(namespace)} {visible(name)}")
            return Exit.INTERRUPTED
        finally:
            await asyncio.gather(*cancelling)
        click.echo(result(found), err=True)
        return found.exit


async def _follow(kube: Kube, name: str, namespace: str, file: BinaryIO) -> Found:
    """The Build at its end; until then its log is printed, and its pods get the directory."""
    sending = asyncio.create_task(send_source(kube, name, namespace, file, note=note))
    watching = asyncio.create_task(watch(name, namespace))
    try:
        await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and (error := sending.exception()) is not None:
            if not isinstance(error, SentinelError):
                raise error
            note(f"cannot send the directory, cancelling the build: {error.message}")
            if isinstance(error, Forbidden):
                note(
                    "this needs `get` on pods, and `create` and `get` on pods/exec, as in the role edit"
                )
            await _cancel(kube, name, namespace)
        return await watching
    finally:
        for each in (sending, watching):
            each.cancel()
        await asyncio.gather(sending, watching, return_exceptions=True)


async def _create(kube: Kube, namespace: str, body: Json, protected: Mapping[str, bytes]) -> Json:
    """The Build, and before it the Secret that it names: a Build without its Secret ends at once."""
    body["metadata"]["namespace"] = namespace
    name = body["metadata"]["name"]
    secret = env_secret(name)
    if protected:
        data = {key: base64.b64encode(value).decode() for key, value in protected.items()}
        metadata = {"name": secret, "namespace": namespace}
        await kube.create(
            SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        )
    try:
        made = await kube.create(BUILDS, body)
    except BaseException:
        if protected:
            await kube.delete(SECRETS, name=secret, namespace=namespace)
        raise
    if protected:
        owner = {
            "apiVersion": API_VERSION,
            "kind": "Build",
            "name": name,
            "uid": made["metadata"]["uid"],
        }
        await kube.patch(
            SECRETS,
            name=secret,
            namespace=namespace,
            body={"metadata": {"ownerReferences": [owner]}},
            field_manager="sentinel-cli",
        )
    return made


async def _cancel(kube: Kube, name: str, namespace: str) -> None:
    try:
        await kube.patch(
            BUILDS,
            name=name,
            namespace=namespace,
            body={"spec": {"cancel": True}},
            field_manager="sentinel-cli",
        )
    except SentinelError as e:
        note(f"the build could not be cancelled: {e.message}")


def _variable(entry: Mapping[str, Any], secret: str) -> Json:
    """An entry of spec.env; one that refers to the file's protected variables refers to the Secret instead."""
    origin = entry.get("valueFrom")
    if origin is None:
        return dict(entry)
    key = {**origin["secretKeyRef"], "name": secret}
    return {**entry, "valueFrom": {"secretKeyRef": key}}


def _label(project: Project) -> str:
    return dns_label(project.root.name, limit=40) or "project"


def _size(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB" if size >= 1024**2 else f"{max(1, size // 1024)} KiB"
