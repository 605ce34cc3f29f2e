"""What every part of the agent works with, made once at its start.

Not here: making it (`app.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sentinel.agent.indexes import Indexes
from sentinel.agent.runtimes.base import Runtime
from sentinel.agent.spool import Spool
from sentinel.agent.status import CommitStatus
from sentinel.agent.threads import Threads
from sentinel.backoff import Backoff
from sentinel.clock import Clock
from sentinel.kube.client import Kube
from sentinel.retry import retry
from sentinel.settings import Settings

T = TypeVar("T")

_MINUTE = Backoff(first=0.2, longest=5.0, tries=16)


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a commit works with. `boot_id` names this run of the agent.

    `walks` is held while a box's files are read, frozen or not: one at a time is faster on a small node, shortens
    every freeze (images.md), and bounds the memory that reading takes.
    """

    kube: Kube
    runtime: Runtime
    settings: Settings
    clock: Clock
    boot_id: str
    spool: Spool
    threads: Threads
    indexes: Indexes = field(init=False)
    walks: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        object.__setattr__(self, "indexes", Indexes(self.spool))


def status_of(raw: dict[str, Any], tools: Tools) -> CommitStatus:
    """The status of an object as read, to be written by this run of the agent."""
    return CommitStatus(
        raw,
        kube=tools.kube,
        clock=tools.clock,
        agent_pod=tools.settings.pod_name,
        boot_id=tools.boot_id,
    )


async def retry_api(ask: Callable[[], Awaitable[T]], tools: Tools) -> T:
    """The API server's answer, retried for a minute: a build must not lose its image to a short outage."""
    return await retry(ask, clock=tools.clock, backoff=_MINUTE, what="a request to the API server")
