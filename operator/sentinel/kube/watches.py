"""How kopf watches and logs in, the same for operator and agent (kubernetes.md)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

import kopf

from sentinel.clock import Clock
from sentinel.errors import TransientError, UserError
from sentinel.kube.client import Kube
from sentinel.kube.errors import Forbidden, NotFound
from sentinel.kube.resources import Resource

log = logging.getLogger(__name__)

MOST_REFUSALS = 60
"""How often we ask again what is forbidden: an API server that starts refuses all until it has read its roles."""

STARTED_WITHIN = 60.0
"""Seconds in which kopf must have started its watches."""

_WATCHER = "watcher for "
"""What the names of kopf's watch tasks begin with."""


def tune(settings: kopf.OperatorSettings) -> None:
    """Everything we change of kopf's settings but the selectors."""
    settings.posting.enabled = False
    settings.peering.standalone = True
    # What we watch is known, and its CRDs came with us: no watch of all CRDs and namespaces, and no right to one.
    settings.scanning.disabled = True
    settings.watching.server_timeout = 280
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    # A Build may take 1.5 MB: a page is held in memory as a whole.
    settings.watching.chunk_size = 50
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.process.ultimate_exiting_timeout = 120
    settings.persistence.diffbase_storage = NoEssence()
    settings.persistence.progress_storage = NoProgress()


class NoEssence(kopf.DiffBaseStorage):
    """Nothing to compare. kopf copies every object seven times to see what changed, even where changes are not needed
    (only `on.event` is ours): a quarter of all the operator's processor time."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return cast(kopf.BodyEssence, {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        pass


class NoProgress(kopf.ProgressStorage):
    """No handler is ever tried again by kopf, so there is nothing to remember, and nothing is written on objects."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass

    def purge(self, **_: Any) -> None:
        pass

    def touch(self, **_: Any) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


async def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account inside a cluster, the kubeconfig outside."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


class WatchTasks:
    """Whether kopf's watches run. It starts one task per resource and namespace and does not restart one that ended."""

    def __init__(self, *resources: Resource, namespaces: Sequence[str] = (), clock: Clock) -> None:
        self._expected = len(resources) * len(namespaces or (None,))
        self._clock = clock
        self._began = clock.monotonic()

    def problem(self) -> str:
        """Which watches do not run; empty while all do, and in the first minute."""
        running = [
            task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(_WATCHER)
        ]
        if len(running) >= self._expected or self._clock.monotonic() - self._began < STARTED_WITHIN:
            return ""
        names = ", ".join(sorted(name.removeprefix(_WATCHER) for name in running))
        return f"{len(running)} of {self._expected} watches run: {names or 'none'}"


async def check_installed(
    kube: Kube, *resources: Resource, namespaces: Sequence[str] = (), every: float = 1.0
) -> None:
    """Raise UserError where a CRD is missing: without scanning kopf would wait for it in silence.

    With `namespaces` nothing is listed cluster-wide: there may be no right to.

    An API server that is away, or just starting, is waited for, with a look `every` so many seconds: a process that
    ended instead would be restarted later each time, up to five minutes.
    """
    places: list[str | None] = [*namespaces] or [None]
    for resource in resources:
        try:
            for namespace in places:
                await _list(kube, resource, namespace=namespace, every=every)
        except NotFound as e:
            raise UserError(
                f"the cluster does not know {resource.plural}.{resource.group}: apply crds/ or install the chart "
                "with crds.enabled"
            ) from e


async def _list(kube: Kube, resource: Resource, *, namespace: str | None, every: float) -> None:
    refused = 0
    while True:
        try:
            await kube.check_served(resource, namespace=namespace)
            return
        except TransientError as e:
            log.warning("waiting for the API server: %s", e.message)
        except Forbidden as e:
            refused += 1
            if refused > MOST_REFUSALS:
                raise
            log.warning("waiting for the API server to know our rights: %s", e.message)
        await asyncio.sleep(every)
