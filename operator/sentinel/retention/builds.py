"""What Builds refer to: their own files, and images. Read from what only the operator writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sentinel.kube.client import Kube
from sentinel.kube.resources import BUILDS
from sentinel.plan.history import read_entry
from sentinel.plan.keys import parse_results
from sentinel.settings import Settings


@dataclass
class Referred:
    """What the Builds that there are refer to.

    `uids` are theirs, and those that the results of their status are of. `orphaned` are namespaces in which a Build
    that has not finished goes on from one that is gone: its output may be fetched yet. `repositories` has the
    namespaces of the Builds whose status names a repository, `digests` the images' digests.
    """

    uids: set[str] = field(default_factory=set)
    orphaned: set[str] = field(default_factory=set)
    repositories: dict[str, set[str]] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)


async def read_builds(kube: Kube, settings: Settings) -> Referred:
    """What all Builds refer to that the operator watches. Raises what the API server's client raises."""
    places: list[str | None] = [*settings.namespaces] or [None]
    found = Referred()
    names: set[tuple[str, str]] = set()
    wanted: set[tuple[str, str]] = set()
    for place in places:
        async for raw in kube.each(BUILDS, namespace=place):
            entry = read_entry(raw)
            names.add((entry.namespace, entry.name))
            if not entry.finished:
                wanted |= {(entry.namespace, name) for name in entry.parents}
            _add(found, raw, prefix=settings.store.prefix)
    found.orphaned = {namespace for namespace, _ in wanted - names}
    return found


def _add(found: Referred, raw: dict[str, Any], *, prefix: str) -> None:
    namespace, status = str(raw["metadata"]["namespace"]), raw.get("status") or {}
    found.uids.add(str(raw["metadata"]["uid"]))
    results = parse_results(
        f"{(status.get('results') or {}).get('prefix', '')}output.tar", prefix=prefix
    )
    if results is not None and results.namespace == namespace:
        # A Build that was restored from a backup has another uid than its files.
        found.uids.add(results.build_uid)
    image = status.get("image") or {}
    if image.get("digest"):
        found.digests.add(str(image["digest"]))
    if image.get("repository"):
        found.repositories.setdefault(str(image["repository"]), set()).add(namespace)
