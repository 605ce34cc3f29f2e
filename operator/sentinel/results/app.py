"""The results server put together: what it reads at the start, and what makes it start again.

It has no state: any number may run. When the front proxy's settings or its own certificate change, the process ends and
its container is started again, so that no connection stays that was accepted by old rules.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from sentinel import __version__
from sentinel.clock import SystemClock
from sentinel.errors import SentinelError, UserError
from sentinel.kube.client import Kube
from sentinel.kube.errors import Forbidden
from sentinel.kube.resources import CONFIG_MAPS
from sentinel.observe.health import Health, serve_health
from sentinel.observe.stop import until_stopped
from sentinel.results import frontproxy
from sentinel.results.certificate import Serving, load_serving, publish
from sentinel.results.frontproxy import FrontProxy
from sentinel.results.server import ResultsServer
from sentinel.results.slots import Slots
from sentinel.settings import Settings
from sentinel.store.objects import ObjectStore

log = logging.getLogger(__name__)

CHECK_SECONDS = 60.0
"""Between two looks at certificate, APIService and front proxy."""
DRAIN_SECONDS = 5.0
"""After SIGTERM, while kube-proxy and the API server learn that the pod is going."""
HANDSHAKE_SECONDS = 10.0
MOST_HEADERS = 2048
"""A user may be in many groups, and each is a header."""


async def run_results(settings: Settings) -> None:
    """Serve until SIGTERM. Raises UserError without a store, or where the cluster has no front proxy."""
    store = ObjectStore.from_settings(settings.store)
    if store is None:
        raise UserError(
            "there is nothing to serve without an object store: set store.bucket or store.url"
        )
    health, clock = Health(), SystemClock()
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        await stack.enter_async_context(serve_health(health, port=settings.health_port))
        kube = await stack.enter_async_context(
            await Kube.connect(user_agent=f"sentinel-results/{__version__}")
        )
        proxy, serving = await _read(kube, settings)
        server = ResultsServer(
            kube=kube,
            store=store,
            store_prefix=settings.store.prefix,
            proxy=proxy,
            slots=Slots(total=settings.results.at_once, share=settings.results.namespace_at_once),
        )
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificate, key = serving.write(directory)
        context = proxy.context(certificate=certificate, key=key)
        await stack.enter_async_context(
            serve(server.application(), context, port=settings.results.port)
        )
        await publish(kube, serving)
        health.ready = True
        log.info("serving the results API")

        async def check() -> None:
            while True:
                await clock.sleep(CHECK_SECONDS)
                try:
                    now = await _read(kube, settings)
                    await publish(kube, serving)
                except SentinelError as error:
                    log.warning(
                        "the front proxy and the certificate cannot be read: %s", error.message
                    )
                    continue
                if now != (proxy, serving):
                    log.info("the front proxy's settings or the certificate changed; restarting")
                    return

        if await until_stopped(check()):
            await clock.sleep(DRAIN_SECONDS)


async def _read(kube: Kube, settings: Settings) -> tuple[FrontProxy, Serving]:
    try:
        raw = await kube.get(CONFIG_MAPS, namespace=frontproxy.NAMESPACE, name=frontproxy.NAME)
    except Forbidden as error:
        raise UserError(
            f"{error.message}; bind Role {frontproxy.NAMESPACE}/extension-apiserver-authentication-reader to this "
            "service account"
        ) from error
    serving = await load_serving(
        kube,
        namespace=settings.pod_namespace,
        name=settings.results.tls_secret,
        host=f"{settings.results.service}.{settings.pod_namespace}.svc",
    )
    return FrontProxy.read(raw.get("data") or {}), serving


@asynccontextmanager
async def serve(
    app: web.Application, context: ssl.SSLContext, *, port: int, host: str | None = None
) -> AsyncIterator[int]:
    """Answer while the block runs; the port."""
    runner = web.AppRunner(
        app, access_log=None, max_headers=MOST_HEADERS, shutdown_timeout=20.0, keepalive_timeout=90
    )
    await runner.setup()
    assert runner.server is not None  # noqa: S101 - set up
    listening = await asyncio.get_running_loop().create_server(
        runner.server,
        host,
        port,
        ssl=context,
        ssl_handshake_timeout=HANDSHAKE_SECONDS,
        reuse_address=True,
    )
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await runner.cleanup()
