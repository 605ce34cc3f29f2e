"""What was delivered: for each Build and receiver the last report's rank, in ConfigMaps of the release's namespace.

Not on the Build: a user who may write a Build could then suppress its reports or have them sent again and again. The
ConfigMaps have fixed names, and what changes within a second is one write for all builds. A crash between a delivery
and that write delivers again, with the same id.

Entries go with their Build, or when their Build ended so long ago that it is not reported any more.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Collection
from typing import Any

from sentinel.errors import Conflict
from sentinel.kube.client import Kube
from sentinel.kube.errors import AlreadyExists, NotFound
from sentinel.kube.resources import CONFIG_MAPS
from sentinel.plan.names import MANAGED_BY, MANAGED_BY_VALUE
from sentinel.reports.event import Rank

log = logging.getLogger(__name__)

SHARDS = 8
NAME = "sentinel-reports-{}"
MOST_BYTES = 900 * 1024
"""Of one ConfigMap, which the API server takes up to 1 MiB. Beyond, the oldest entries of builds that were delivered in
whole are left out."""
SINCE = "since"
"""The key that says when reports to a kind of receiver began: builds that had ended before are not reported to it."""

DONE = Rank(9)
"""Behind all reports of a build."""
NOTHING = Rank(-1)


class Cursors:
    """All cursors, in memory and in the cluster. `load` first; `flush` writes what changed."""

    def __init__(self, kube: Kube, *, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._of: dict[str, dict[str, Rank]] = {}
        self._since: dict[str, str] = {}
        self._raw: dict[int, dict[str, Any]] = {}
        self._dirty: set[int] = set()

    async def load(self) -> None:
        """Read what an earlier process wrote."""
        for shard in range(SHARDS):
            try:
                raw = await self._kube.get(
                    CONFIG_MAPS, namespace=self._namespace, name=NAME.format(shard)
                )
            except NotFound:
                continue
            self._take(shard, raw)

    def since(self, kind: str, *, now: str) -> str:
        """When reports to this kind of receiver began, RFC 3339: `now` at the first call."""
        if kind not in self._since:
            self._since[kind] = now
            self._dirty.add(0)
        return self._since[kind]

    def get(self, uid: str, kind: str) -> Rank:
        """The rank of the last delivered report, NOTHING before the first."""
        return self._of.get(uid, {}).get(kind, NOTHING)

    def advance(self, uid: str, kind: str, rank: Rank) -> None:
        """Note a delivery. Never goes back."""
        known = self._of.setdefault(uid, {})
        if rank > known.get(kind, NOTHING):
            known[kind] = rank
            self._dirty.add(_shard(uid))

    def keep_only(self, uids: Collection[str]) -> None:
        """Drop the entries of all other Builds."""
        for uid in [each for each in self._of if each not in uids]:
            del self._of[uid]
            self._dirty.add(_shard(uid))

    async def flush(self) -> None:
        """Write what changed. Raises what the API server refuses; nothing is lost by that."""
        for shard in sorted(self._dirty):
            self._dirty.discard(shard)
            try:
                await self._write(shard)
            except BaseException:
                self._dirty.add(shard)
                raise

    async def _write(self, shard: int) -> None:
        for _ in range(3):
            old = self._raw.get(shard)
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": NAME.format(shard),
                    "namespace": self._namespace,
                    "labels": {MANAGED_BY: MANAGED_BY_VALUE},
                },
                "data": self._encode(shard),
            }
            try:
                if old is None:
                    self._raw[shard] = await self._kube.create(
                        CONFIG_MAPS, body, namespace=self._namespace
                    )
                else:
                    version = old["metadata"]["resourceVersion"]
                    body["metadata"]["resourceVersion"] = version  # type: ignore[index]
                    self._raw[shard] = await self._kube.replace(CONFIG_MAPS, body)
                return
            except NotFound:
                del self._raw[shard]
            except (AlreadyExists, Conflict):
                # Another reporter that has not noticed yet that it does not lead any more: the higher rank counts.
                raw = await self._kube.get(
                    CONFIG_MAPS, namespace=self._namespace, name=NAME.format(shard)
                )
                self._take(shard, raw)
        self._dirty.add(shard)

    def _take(self, shard: int, raw: dict[str, Any]) -> None:
        self._raw[shard] = raw
        for key, text in (raw.get("data") or {}).items():
            name, _, kind = key.partition(".")
            if name == SINCE and kind:
                self._since[kind] = min(text, self._since.get(kind, text))
                continue
            known = self._of.setdefault(key, {})
            for part in text.split():
                kind, _, rank = part.partition("=")
                try:
                    known[kind] = max(Rank.parse(rank), known.get(kind, NOTHING))
                except ValueError:
                    log.warning("ConfigMap %s: %r is left out", NAME.format(shard), part)

    def _encode(self, shard: int) -> dict[str, str]:
        data = {}
        if shard == 0:
            data = {f"{SINCE}.{kind}": text for kind, text in self._since.items()}
        entries = {
            uid: " ".join(f"{kind}={rank}" for kind, rank in sorted(known.items()))
            for uid, known in self._of.items()
            if _shard(uid) == shard
        }
        size = sum(len(uid) + len(text) + 8 for uid, text in entries.items())
        for uid in list(entries):
            if size <= MOST_BYTES:
                break
            if all(rank == DONE for rank in self._of[uid].values()):
                size -= len(uid) + len(entries.pop(uid)) + 8
        return data | entries


def _shard(uid: str) -> int:
    return zlib.crc32(uid.encode()) % SHARDS
