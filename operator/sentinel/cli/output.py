"""`sentinel output`: what a finished build left in $WERCKER_OUTPUT_DIR, as files or as the archive.

It comes from the results API in pieces, each asked for again where the connection is cut, and is compared with the size
and sha256 in the Build's status before a file is written. A project decides what is in it, so it is unpacked as the
archives of strangers are.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import IO

import click

from sentinel.api.build import OutputStatus
from sentinel.cli.cluster import Found, build_argument, connect, read, run
from sentinel.cli.results import ResultsApi
from sentinel.cli.table import byte_size
from sentinel.config.findings import visible
from sentinel.errors import GoneError, SentinelError, UserError
from sentinel.source.unpack import ArchiveLimits, Refused, unpack

PIECE = 16 * 1024 * 1024
"""Bytes of one request: the API server ends a request of this kind after a minute."""
MOST_ENTRIES = 2_000_000


@click.command()
@build_argument
@click.argument("directory", required=False, default="", metavar="[DIR]")
def output(build: str, namespace: str, directory: str) -> None:
    """Write the output of BUILD to DIR (default: BUILD-output). With - for DIR, print it as a tar archive."""
    click.echo(run(_output(build, namespace, directory)), err=True)


async def _output(name: str, namespace: str, directory: str) -> str:
    async with await connect() as kube:
        found = await read(kube, name, namespace)
        stored = _stored(found)
        api = ResultsApi(kube, namespace=found.namespace, name=found.name)
        text = byte_size(stored.size_bytes)
        if directory == "-":
            if sys.stdout.isatty():
                raise UserError(
                    "standard output is a terminal, and the output is a tar archive: add `> output.tar`"
                )
            # Nobody can take back what went into a pipe: its end is an error where the sum is wrong.
            await _download(api, stored, sys.stdout.buffer)
            return f"the archive has {text}"
        target = Path(directory or f"{name}-output")
        _check(target, found)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".sentinel-output-") as file:
            await _download(api, stored, file.file)
            file.flush()
            limits = ArchiveLimits(bytes=stored.size_bytes, entries=MOST_ENTRIES, name=4096)
            try:
                made = await asyncio.to_thread(
                    unpack, file.name, str(target), limits=limits, strip="one"
                )
            except Refused as e:
                raise UserError(
                    f"the output cannot be unpacked: {visible(e.message)}\n"
                    f"`sentinel output {found.address} - > output.tar` writes the archive as it is"
                ) from e
        return f"{target}: {made.entries} files and directories, {text}"


def _stored(found: Found) -> OutputStatus:
    """Raises GoneError where there is no output to read."""
    if not found.finished:
        raise GoneError(
            f"Build {found.name} has not finished; its output is stored at its end: `sentinel wait {found.address}`"
        )
    results = found.status.results
    if results is None:
        raise GoneError(
            f"Build {found.name} stored nothing: Sentinel is installed without an object store"
        )
    if results.output is None:
        raise GoneError(
            f"Build {found.name} has no output: no step left anything in $WERCKER_OUTPUT_DIR"
        )
    return results.output


def _check(target: Path, found: Found) -> None:
    """Raises UserError where the directory cannot be filled."""
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is not a directory")
    if target.exists() and any(target.iterdir()):
        raise UserError(
            f"{target} is not empty: remove it, or name another one: `sentinel output {found.address} DIR`"
        )


async def _download(api: ResultsApi, stored: OutputStatus, file: IO[bytes]) -> None:
    """Raises SentinelError where the bytes are not those that the build stored."""
    digest = hashlib.sha256()
    at = 0
    while at < stored.size_bytes:
        begun = at
        end = min(at + PIECE, stored.size_bytes)
        async with aclosing(api.output(start=at, end=end)) as data:
            async for piece in data:
                digest.update(piece)
                file.write(piece)
                at += len(piece)
        if at == begun:
            break
    if at != stored.size_bytes or digest.hexdigest() != stored.sha256:
        raise SentinelError(
            f"the output in the store is not what the build stored: {at} bytes of {stored.size_bytes} with sha256 "
            f"{digest.hexdigest()}, and {stored.sha256} in the Build's status. Ask an administrator who else writes to "
            "the store"
        )
