"""Reading git objects: `cat-file --batch` spoken over pipes, trees and commits taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

_MAX_OBJECT = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Object:
    """An object: its id, kind (commit, tree, blob, tag) and bytes."""

    id: str
    kind: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of a tree: mode as git writes it, and the object's id."""

    mode: str
    id: str

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.mode.startswith("100")

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link, whose blob is the target."""
        return self.mode == "120000"


class Reader:
    """Asks a running `git cat-file --batch` for objects by any name git understands."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def read(self, name: str) -> Object | None:
        """The object, or None where it is missing, ambiguous or larger than 64 MiB."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 - for mypy
        assert stdout is not None  # noqa: S101
        stdin.write(name.encode() + b"\n")
        header = (await stdout.readline()).decode("utf-8", "replace").split()
        if len(header) != 3 or not header[2].isdigit() or int(header[2]) > _MAX_OBJECT:
            return None
        data = await stdout.readexactly(int(header[2]) + 1)
        return Object(id=header[0], kind=header[1], data=data[:-1])


def parse_tree(data: bytes) -> dict[str, Entry]:
    """Name → entry of a tree object: `<mode> <name>\\0<20 bytes>` again and again."""
    entries = {}
    position = 0
    while position < len(data):
        end = data.index(b"\0", position)
        mode, _, name = data[position:end].partition(b" ")
        entries[name.decode("utf-8", "replace")] = Entry(
            mode=mode.decode(), id=data[end + 1 : end + 21].hex()
        )
        position = end + 21
    return entries


def follow(entries: Mapping[str, Entry], name: str) -> Entry | None:
    """The entry if it is a regular file."""
    entry = entries.get(name)
    return entry if entry and entry.is_file else None


def subject(commit: bytes) -> str:
    """The first line of a commit's message."""
    message = commit.partition(b"\n\n")[2].lstrip(b"\n")
    return message.partition(b"\n")[0].decode("utf-8", "replace").strip()
