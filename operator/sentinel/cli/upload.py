"""Sending a packed directory to the pod of its Build, by exec into the init container that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, BinaryIO

from sentinel.cli.cluster import read
from sentinel.config.findings import visible
from sentinel.errors import SentinelError, TransientError
from sentinel.kube.client import Kube
from sentinel.kube.errors import Forbidden, NotFound
from sentinel.kube.exec import ExecStream, Exited
from sentinel.kube.resources import PODS
from sentinel.layout import PYTHON
from sentinel.plan.names import SOURCE

COMMAND = (PYTHON, "-I", "-m", "sentinel.source.receive")
LOOK_EVERY = 0.5
"""Seconds between two looks for a pod that waits."""
CHUNK = 256 * 1024
RECEIVED_WITHIN = 60.0
"""Seconds from the last byte that is sent until the receiver has compared the digest."""


async def send_source(
    kube: Kube, name: str, namespace: str, file: BinaryIO, *, note: Callable[[str], None]
) -> None:
    """Send `file` to every pod of the Build that waits for it, until the Build has finished.

    A pod that is lost is followed by another one, and a cut connection by another try. Raises Forbidden where the
    caller may not exec there.
    """
    sent: set[str] = set()
    why = said = ""
    while True:
        try:
            found = await read(kube, name, namespace)
            if found.finished:
                return
            pod = found.status.pod
            if pod is not None and pod.name:
                waiting = await _waiting(kube, pod.name, namespace)
                if waiting and waiting not in sent:
                    # Not before: a pod that has everything may end before the receiver could say so.
                    if why and why != said:
                        note(f"the directory was not sent, trying again: {why}")
                        said = why
                    why = await _send(kube, pod.name, namespace, file)
                    if not why:
                        sent.add(waiting)
        except (NotFound, TransientError):
            pass  # not there yet, or out of reach for a moment
        await asyncio.sleep(LOOK_EVERY)


async def _waiting(kube: Kube, pod: str, namespace: str) -> str:
    """The id of the container that waits for the directory, "" while there is none."""
    raw = await kube.get(PODS, name=pod, namespace=namespace)
    for each in (raw.get("status") or {}).get("initContainerStatuses") or ():
        if each.get("name") == SOURCE and "running" in (each.get("state") or {}):
            return str(each.get("containerID") or pod)
    return ""


async def _send(kube: Kube, pod: str, namespace: str, file: BinaryIO) -> str:
    """Send the file once; why it was not received, "" where it was. Raises Forbidden."""
    stream = await kube.exec(namespace=namespace, pod=pod, container=SOURCE, command=COMMAND)
    # Read all the time: pongs are read too, and the receiver may end before it has everything.
    reading: asyncio.Task[None] = asyncio.create_task(_drain(stream))
    try:
        writing = asyncio.create_task(_write(stream, file))
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await writing
                async with asyncio.timeout(RECEIVED_WITHIN):
                    await asyncio.shield(reading)
            else:
                await reading
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
    except Forbidden:
        raise
    except SentinelError as e:
        return visible(e.message)
    except TimeoutError:
        return f"the pod did not confirm it within {RECEIVED_WITHIN:.0f} s"
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await stream.close()
    ending: Any = stream.ending
    if isinstance(ending, Exited):
        if ending.code == 0:
            return ""
        text = stream.stderr.decode("utf-8", "replace").strip()
        return visible(text or f"the receiver ended with exit code {ending.code}")
    return visible(f"the connection was cut: {ending.detail if ending else 'no status'}")


async def _drain(stream: ExecStream) -> None:
    while await stream.read():
        pass


async def _write(stream: ExecStream, file: BinaryIO) -> None:
    file.seek(0)
    while data := await asyncio.to_thread(file.read, CHUNK):
        await stream.write(data)
