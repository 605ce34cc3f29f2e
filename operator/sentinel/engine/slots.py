"""How many builds are driven at once, and whose: a limit for all, and a share of it for each namespace.

A build that only waits for room in the cluster (no node takes its pod, or a quota is used up) holds no slot: it costs
a task and a look now and then. When it gets its pod it goes on at once, so that for a while more builds may be driven
than the limit says; no other begins until then. How many may wait like this is limited too, in the same shares.
"""

from __future__ import annotations

from collections import Counter

from sentinel.settings import Settings

PARKED = 2
"""Builds that may wait for room in the cluster, as a multiple of `max_builds`."""


class Slots:
    """Counts builds by their uid. Who is next is not decided here."""

    def __init__(self, settings: Settings) -> None:
        self._all = settings.max_builds
        # With a single namespace there is nothing to share.
        share = 1.0 if len(settings.namespaces) == 1 else settings.namespace_share
        self._each = max(1, int(self._all * share))
        self._namespaces: dict[str, str] = {}
        self._parked: set[str] = set()
        self._driven_of: Counter[str] = Counter()
        self._parked_of: Counter[str] = Counter()

    @property
    def driven(self) -> int:
        """Builds that hold a slot."""
        return len(self._namespaces) - len(self._parked)

    def free(self, namespace: str) -> bool:
        """Whether another build of that namespace may begin."""
        return self.driven < self._all and self._driven_of[namespace] < self._each

    def take(self, uid: str, namespace: str) -> None:
        """A build begins."""
        self._namespaces[uid] = namespace
        self._driven_of[namespace] += 1

    def park(self, uid: str, waits: bool) -> bool:
        """A build gives its slot back while it waits for room in the cluster, or takes one again. Whether one is free
        now that was not."""
        namespace = self._namespaces[uid]
        if waits == (uid in self._parked):
            return False
        if not waits:
            self._parked.remove(uid)
            self._count(namespace, driven=1, parked=-1)
            return False
        if (
            len(self._parked) >= PARKED * self._all
            or self._parked_of[namespace] >= PARKED * self._each
        ):
            return False
        self._parked.add(uid)
        self._count(namespace, driven=-1, parked=1)
        return True

    def release(self, uid: str) -> None:
        """A build has ended, or is not ours any more."""
        namespace = self._namespaces.pop(uid, None)
        if namespace is None:
            return
        parked = uid in self._parked
        self._parked.discard(uid)
        self._count(namespace, driven=0 if parked else -1, parked=-1 if parked else 0)

    def _count(self, namespace: str, *, driven: int, parked: int) -> None:
        for counter, change in ((self._driven_of, driven), (self._parked_of, parked)):
            counter[namespace] += change
            if not counter[namespace]:
                del counter[namespace]
