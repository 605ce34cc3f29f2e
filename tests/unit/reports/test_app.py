"""The reporter's watch: no Build is missed where a connection breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tests.unit.clocks import Hasty

from sentinel.kube.errors import Expired, Unavailable
from sentinel.reports.app import _watch_forever

CUT = Unavailable("the connection was reset")


class Watches:
    """`watch` gives what `script` has, one entry for each call: events (kind, name, version), then perhaps an error."""

    def __init__(self, *script: list[Any]) -> None:
        self._script = list(script)
        self.versions: list[str] = []
        self.over = asyncio.Event()

    async def watch(
        self, _: Any, *, resource_version: str, **__: Any
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        self.versions.append(resource_version)
        if not self._script:
            self.over.set()
            await asyncio.Event().wait()
        for each in self._script.pop(0):
            if isinstance(each, Exception):
                raise each
            kind, name, version = each
            yield kind, {"metadata": {"name": name, "uid": name, "resourceVersion": version}}


class Heard:
    """What was offered, by name."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def offer(self, raw: dict[str, Any], *, deleted: bool) -> None:
        self.names.append(raw["metadata"]["name"] + ("-" if deleted else ""))


async def follow(*script: list[Any]) -> tuple[list[str], list[str]]:
    """The versions that watches began from, and the Builds that were offered."""
    kube, heard = Watches(*script), Heard()
    work = asyncio.create_task(_watch_forever(kube, heard, None, Hasty(), ""))  # type: ignore[arg-type]
    await kube.over.wait()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    return kube.versions, heard.names


async def test_a_watch_that_breaks_among_its_first_builds_begins_from_the_start() -> None:
    versions, names = await follow(
        [("ADDED", "new", "90"), CUT],
        [("ADDED", "new", "90"), ("ADDED", "old", "10"), ("BOOKMARK", "", "95"), CUT],
        [("MODIFIED", "old", "97"), CUT],
    )
    assert versions == ["", "", "95", "97"]
    assert names == ["new", "new", "old", "old"]


async def test_a_version_that_is_too_old_begins_from_the_start() -> None:
    versions, names = await follow(
        [("BOOKMARK", "", "95"), ("DELETED", "a", "96")], [Expired("too old")], [CUT]
    )
    assert versions == ["", "96", "", ""]
    assert names == ["a-"]
