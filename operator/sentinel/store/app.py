"""`sentinel store` as a process: the directory is opened, served until SIGTERM, and left to the next one."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from dataclasses import dataclass
from pathlib import Path

from sentinel.errors import UserError
from sentinel.observe.health import Health, serve_health
from sentinel.store.files import Directory, Unusable
from sentinel.store.server import LARGEST, StoreServer

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Served:
    """What is served where. `limit`, `reserve` and `largest` in bytes; `tls`: files with a certificate and its key;
    `health_port`: of /livez, /readyz and /metrics, 0 for none."""

    path: Path
    host: str
    port: int
    limit: int = 0
    reserve: int = 0
    largest: int = LARGEST
    tls: tuple[Path, Path] | None = None
    health_port: int = 0


async def run_store(served: Served, *, secret: str) -> None:
    """Serve until SIGTERM or SIGINT. Raises UserError that says what is wrong with the directory or the address."""
    ended = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, ended.set)
    directory = Directory(served.path, limit=served.limit, reserve=served.reserve)
    health = Health()
    server = StoreServer(directory, secret=secret, largest=served.largest)
    try:
        async with serve_health(health, port=served.health_port):
            await asyncio.to_thread(directory.open)
            async with server.running(
                served.host, served.port, tls=_context(served), follow=health.follow
            ) as url:
                room = directory.room() // 1024**2
                log.info("serving %s at %s; it has room for %d MiB", served.path, url, room)
                health.ready = True
                await ended.wait()
                health.ready = False
    except Unusable as error:
        raise UserError(f"the store cannot be served: {error}") from error
    except OSError as error:
        raise UserError(f"the store cannot listen on port {served.port}: {error}") from error
    finally:
        directory.close()


def _context(served: Served) -> ssl.SSLContext | None:
    if served.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key = served.tls
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise UserError(
            f"{certificate} and {key} are no certificate and its key: {error}"
        ) from error
    return context
