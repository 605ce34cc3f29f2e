"""The numbers at /metrics, in Prometheus' format. What counts builds is in `engine/metrics.py`.

Every label has a closed set of values, but for `namespace`, which is there only where the settings want it: nothing
that a project chooses becomes a label.
"""

from __future__ import annotations

import asyncio
import math
import time

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.process_collector import ProcessCollector

from sentinel import __version__

REGISTRY = CollectorRegistry()
"""Of this process. Not the library's own: what another library registers there is not ours to show."""

ProcessCollector(namespace="sentinel", registry=REGISTRY)

API_REQUESTS = Counter(
    "sentinel_api_requests",
    "Requests to the API server by method and HTTP status; 0 where no answer came.",
    ["method", "code"],
    registry=REGISTRY,
)
API_RETRIES = Counter(
    "sentinel_api_retries", "Requests to the API server that were tried again.", registry=REGISTRY
)
LOOP_LAG = Histogram(
    "sentinel_event_loop_lag_seconds",
    "How much later than wanted the event loop woke up, measured each second.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
    registry=REGISTRY,
)
LAST_EVENT = Gauge(
    "sentinel_watch_last_event_timestamp_seconds",
    "When a watch last brought something, as Unix time. A quiet cluster brings nothing.",
    ["resource"],
    registry=REGISTRY,
)

INFO = Gauge(
    "sentinel_info", "1; the label is the release of the process.", ["version"], registry=REGISTRY
)
INFO.labels(__version__).set(1)
LEADING = Gauge(
    "sentinel_leading",
    "1 in the process that holds the Lease, 0 in a standby.",
    ["lease"],
    registry=REGISTRY,
)
STORE_USABLE = Gauge(
    "sentinel_store_usable",
    "Whether the object store could be used since the operator's start: 1, or 0; NaN where none is configured.",
    registry=REGISTRY,
)
STORE_USABLE.set(math.nan)

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


def count_request(method: str, code: int) -> None:
    """One answer of the API server, or none (0)."""
    API_REQUESTS.labels(method if method in METHODS else "other", str(code)).inc()


def note_event(resource: str) -> None:
    """A watch brought something."""
    LAST_EVENT.labels(resource).set_to_current_time()


async def measure_lag(*, every: float = 1.0) -> None:
    """Measure the event loop's lag until cancelled."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(every)
        LOOP_LAG.observe(max(time.monotonic() - began - every, 0.0))


async def serve_metrics(_: web.Request) -> web.Response:
    """The handler of /metrics."""
    headers = {"Content-Type": CONTENT_TYPE_LATEST}
    return web.Response(body=generate_latest(REGISTRY), headers=headers)
