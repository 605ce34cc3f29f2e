"""Whether the object store can be used, found out when the operator starts and not by the first build that ends.

What is wrong is one sentence in the operator's log, with what to set. The operator goes on: builds run, their pods keep
the logs, and the store is tried again until it can be used.
"""

from __future__ import annotations

import logging

from sentinel.clock import Clock
from sentinel.errors import SentinelError
from sentinel.observe.metrics import STORE_USABLE
from sentinel.store.objects import ObjectStore

log = logging.getLogger(__name__)

AGAIN = 60.0
"""Seconds between two tries."""

KEY = ".sentinel-probe"


async def probe(store: ObjectStore, *, prefix: str, clock: Clock) -> None:
    """Write, read and delete a small object until that succeeds."""
    known = ""
    STORE_USABLE.set(0)
    while True:
        try:
            await _use(store, f"{prefix.strip('/')}/{KEY}".lstrip("/"))
        except SentinelError as error:
            if error.message != known:
                known = error.message
                log.error("the object store cannot be used: %s", known)
            await clock.sleep(AGAIN)
        else:
            STORE_USABLE.set(1)
            if known:
                log.info("the object store can be used now")
            return


async def _use(store: ObjectStore, key: str) -> None:
    # Writing first: the answer to a HEAD has no body, and so no reason.
    await store.put(key, b"sentinel")
    await store.get(key)
    await store.delete(key)
