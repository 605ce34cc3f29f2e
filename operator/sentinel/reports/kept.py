"""Builds that have, or may have, something to report: their last known state, compressed, and not too many of them."""

from __future__ import annotations

import json
import zlib
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

from sentinel.reports.sequence import Reported

_METADATA = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "labels")


@dataclass
class Kept:
    """One Build. `version` rises with each state that is offered."""

    namespace: str
    packed: bytes
    deleted: bool = False
    deleted_at: float = 0.0
    """On the monotonic clock."""
    version: int = 1

    def raw(self) -> dict[str, Any]:
        raw: dict[str, Any] = json.loads(zlib.decompress(self.packed))
        return raw

    def reported(self) -> Reported:
        return Reported.parse(self.raw(), deleted=self.deleted)


class Builds:
    """The kept Builds by uid. Not thread-safe."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._count: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._kept)

    def uids(self) -> set[str]:
        return set(self._kept)

    def get(self, uid: str) -> Kept | None:
        return self._kept.get(uid)

    def put(self, raw: dict[str, Any], *, deleted: bool, now: float) -> None:
        """Note a Build's state. What was known of a deleted one stands."""
        metadata = raw["metadata"]
        uid = metadata["uid"]
        slim = {
            "apiVersion": raw.get("apiVersion"),
            "kind": raw.get("kind"),
            "metadata": {key: metadata[key] for key in _METADATA if key in metadata},
            "spec": raw.get("spec"),
            "status": raw.get("status"),
        }
        packed = zlib.compress(json.dumps(slim).encode(), 1)
        known = self._kept.get(uid)
        if known is None:
            self._kept[uid] = Kept(metadata["namespace"], packed, deleted, now if deleted else 0.0)
            self._count[metadata["namespace"]] += 1
        elif not known.deleted:
            known.packed, known.deleted = packed, deleted
            known.deleted_at = now if deleted else 0.0
            known.version += 1

    def drop(self, uid: str) -> None:
        """Forget a Build."""
        kept = self._kept.pop(uid, None)
        if kept is not None:
            self._count[kept.namespace] -= 1
            if not self._count[kept.namespace]:
                del self._count[kept.namespace]

    def too_many(self) -> tuple[str, Kept] | None:
        """The Build to give up where there are too many: the oldest of the namespace that has most; else None."""
        if len(self._kept) <= self._most:
            return None
        (namespace, _), *_ = self._count.most_common(1)
        return next((uid, kept) for uid, kept in self._kept.items() if kept.namespace == namespace)
