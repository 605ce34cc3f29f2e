"""The tree that an archive becomes: every entry is checked and written here, and nothing outside it is touched.

Beside the directory on disk stands what is in it. Symbolic links exist only there until `finish`, so no file is ever
written through one; and each link is followed through the whole tree, other links included, before it is made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sentinel.source.packed import (
    BROKEN,
    TOO_LARGE,
    UNSAFE,
    ArchiveEntry,
    ArchiveLimits,
    Refused,
    most_bytes,
    shown,
)

MAX_DEPTH = 128
"""Directories in each other: tools that walk trees recurse."""

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HOPS = 40
"""Links the kernel follows for one name."""
_MAX_STEPS = 10_000_000
"""Parts of names looked at for all links together, a matter of seconds."""


class _Directory:
    """A directory of the tree: `children` by name are directories, None for a file, the target for a link."""

    __slots__ = ("children", "mode")

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.children: dict[str, _Directory | str | None] = {}


class Tree:
    """The directory that is filled, and beside it what is in it: links exist there only, until `finish`."""

    def __init__(
        self,
        path: str,
        limits: ArchiveLimits,
        packed: int,
        *,
        readable: bool,
        peek: int | None,
        left_out: list[str] | None = None,
    ) -> None:
        self.entries = 0
        self.bytes = 0
        self._limits = limits
        self._most_bytes = most_bytes(limits, packed)
        self._readable = readable
        self._peek = peek
        self._left_out = left_out
        self._root = _Directory(0o755)
        self._has_root = False
        self._steps = 0
        self._fd = os.open(path, DIRECTORY)
        self._last: tuple[Sequence[str], int] | None = None

    def close(self) -> None:
        """Give the descriptors back."""
        self._forget()
        os.close(self._fd)

    def add(self, entry: ArchiveEntry) -> None:
        """Check one entry and write it; of several with one name the last counts."""
        try:
            self._add(entry)
        except Refused as e:
            self._leave_out(e)

    def _add(self, entry: ArchiveEntry) -> None:
        parts = self._parts(entry.name, f"entry {shown(entry.name)}")
        if entry.kind not in ("file", "dir", "symlink", "hardlink"):
            raise Refused(
                UNSAFE,
                f"entry {shown(entry.name)} is {entry.kind}, which is not supported. Pack the archive without it",
            )
        if not parts:
            if entry.kind != "dir":
                raise _broken_name(entry.name)
            self._has_root = True
            return
        directory, fd = self._parent(parts, entry)
        name = parts[-1]
        if entry.kind == "dir":
            self._add_directory(directory, fd, name, entry)
            return
        link = None if entry.kind == "file" else self._link(entry)
        if entry.kind == "hardlink" and isinstance(link, list) and link == parts:
            # A second name for itself.
            return
        self._clear(directory, fd, name, entry)
        if isinstance(link, str):
            directory.children[name] = link
        elif link is not None:
            self._add_hardlink(fd, name, link, entry)
            directory.children[name] = None
        else:
            self._write(fd, name, entry, depth=len(parts))
            directory.children[name] = None

    def leading(self, strip: str) -> str:
        """The name of the directory to drop, or ""."""
        if strip == "none":
            return ""
        if len(self._root.children) == 1 and not self._has_root:
            name, child = next(iter(self._root.children.items()))
            if isinstance(child, _Directory):
                return name
        if strip == "one":
            raise Refused(BROKEN, "the archive's entries do not lie below one directory")
        return ""

    def finish(self, top: str) -> None:
        """Make the links, then give the directories their modes. Refused for a link that leads outside `top`."""
        self._forget()
        self._finish([self._root], self._fd, [], 2 if top else 1)

    def _finish(self, above: list[_Directory], fd: int, path: list[str], floor: int) -> None:
        for name, child in above[-1].children.items():
            if isinstance(child, str):
                try:
                    self._check_link(above, child, "/".join([*path, name]), floor)
                except Refused as e:
                    self._leave_out(e)
                    continue
                os.symlink(_raw(child), _raw(name), dir_fd=fd)
            elif child is not None:
                below = os.open(_raw(name), DIRECTORY, dir_fd=fd)
                try:
                    self._finish([*above, child], below, [*path, name], floor)
                    # Its owner must be able to take it away again.
                    os.fchmod(below, child.mode | 0o700 | (0o555 if self._readable else 0))
                finally:
                    os.close(below)

    def _check_link(self, above: list[_Directory], target: str, name: str, floor: int) -> None:
        """Follow a link through the tree as the kernel would; the first `floor` of `above` may not be left.

        What is missing now may be a directory later, so `..` below it counts as well.
        """
        at: list[_Directory | None] = [*above]
        todo, hops = target.split("/")[::-1], 0
        while todo:
            part = todo.pop()
            self._steps += 1
            if part in ("", "."):
                continue
            if part == "..":
                if len(at) == floor:
                    raise Refused(
                        UNSAFE,
                        f"entry {shown(name)} is a symbolic link to {shown(target)}, which leads outside the archive. "
                        "Pack the archive without it",
                    )
                at.pop()
                continue
            here = at[-1]
            found = here.children.get(part) if here is not None else None
            if isinstance(found, str):
                hops += 1
                todo += found.split("/")[::-1]
            else:
                at.append(found)
            if hops > _HOPS or self._steps > _MAX_STEPS:
                raise Refused(
                    UNSAFE,
                    f"entry {shown(name)} is a symbolic link to {shown(target)}, which leads through too many other "
                    "links, or round in circles. Pack the archive without it",
                )

    def _leave_out(self, refused: Refused) -> None:
        """Go on without an unsafe entry, where that is wanted."""
        if self._left_out is None or refused.kind != UNSAFE:
            raise refused
        self._left_out.append(refused.message)

    def _find(self, parts: Sequence[str]) -> _Directory | str | None:
        node: _Directory | str | None = self._root
        for part in parts:
            if not isinstance(node, _Directory):
                return None
            node = node.children.get(part)
        return node

    def _parts(self, name: str, where: str) -> list[str]:
        """The name's components. Refused for whatever could be meant to reach outside, or cannot be a name."""
        if not name:
            raise Refused(
                BROKEN, f"{where} has no name: the archive is damaged. Pack and upload it again"
            )
        _check_text(name, where, self._limits)
        if name.startswith("/"):
            raise Refused(
                UNSAFE, f"{where} has an absolute name. Pack the archive with relative names"
            )
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise Refused(
                UNSAFE,
                f"{where} has `..` in its name, which leads outside its directory. Pack the archive without it",
            )
        if len(parts) > MAX_DEPTH or any(len(_raw(part)) > 255 for part in parts):
            raise Refused(
                TOO_LARGE,
                f"{where} has more than {MAX_DEPTH} directories or a part of more than 255 bytes in its name. "
                "Use shorter names",
            )
        return parts

    def _link(self, entry: ArchiveEntry) -> str | list[str]:
        """A symbolic link's target, checked as a text; or the components of the file that a hard link names."""
        where = f"entry {shown(entry.name)}"
        if entry.kind == "hardlink":
            parts = self._parts(
                entry.target, f"{where} is a hard link to {shown(entry.target)}, which"
            )
            found = self._find(parts)
            if isinstance(found, str):
                return found
            holder = self._find(parts[:-1])
            if (
                found is None
                and isinstance(holder, _Directory)
                and parts[-1:]
                and parts[-1] in holder.children
            ):
                return parts
            raise Refused(
                UNSAFE,
                f"{where} is a hard link to {shown(entry.target)}, which is no file that comes before it in the "
                "archive. Pack the archive without it",
            )
        if not entry.target:
            raise Refused(BROKEN, f"{where} is a symbolic link to nothing")
        _check_text(entry.target, f"{where} is a symbolic link whose target", self._limits)
        if entry.target.startswith("/"):
            raise Refused(
                UNSAFE,
                f"{where} is a symbolic link to the absolute path {shown(entry.target)}. "
                "Use a relative one that stays in the archive",
            )
        return entry.target

    def _parent(self, parts: list[str], entry: ArchiveEntry) -> tuple[_Directory, int]:
        """The directory that the entry goes into, made if there is none, and its descriptor."""
        above = parts[:-1]
        directory = self._root
        for index, part in enumerate(above):
            child = directory.children.get(part)
            if part in directory.children and not isinstance(child, _Directory):
                kind = "a symbolic link" if isinstance(child, str) else "a file"
                raise Refused(
                    UNSAFE,
                    f"entry {shown(entry.name)} lies below {shown('/'.join(above[: index + 1]))}, which is {kind}. "
                    "Pack the archive without one of them",
                )
            if child is None or isinstance(child, str):
                self._count(entry)
                child = directory.children[part] = _Directory(0o755)
                self._make(above[: index + 1])
            directory = child
        return directory, self._open(above)

    def _make(self, parts: list[str]) -> None:
        os.mkdir(_raw(parts[-1]), 0o700, dir_fd=self._open(parts[:-1]))

    def _open(self, parts: list[str]) -> int:
        """A directory's descriptor; the last one stays open, for the next entry is often its neighbour."""
        if self._last is not None and self._last[0] == parts:
            return self._last[1]
        fd = os.dup(self._fd)
        for part in parts:
            try:
                below = os.open(_raw(part), DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        self._forget()
        self._last = (parts, fd)
        return fd

    def _forget(self) -> None:
        if self._last is not None:
            os.close(self._last[1])
            self._last = None

    def _add_directory(
        self, directory: _Directory, fd: int, name: str, entry: ArchiveEntry
    ) -> None:
        known = directory.children.get(name)
        if not isinstance(known, _Directory):
            self._clear(directory, fd, name, entry)
            os.mkdir(_raw(name), 0o700, dir_fd=fd)
            known = directory.children[name] = _Directory(0)
        known.mode = entry.mode & 0o777

    def _add_hardlink(self, fd: int, name: str, parts: list[str], entry: ArchiveEntry) -> None:
        # `fd` is the one kept open; opening the other would close it.
        here = os.dup(fd)
        try:
            source = self._open(parts[:-1])
            os.link(
                _raw(parts[-1]),
                _raw(name),
                src_dir_fd=source,
                dst_dir_fd=here,
                follow_symlinks=False,
            )
            # Copying the tree makes them separate files.
            self._add_bytes(os.stat(_raw(name), dir_fd=here).st_size, entry)
        finally:
            os.close(here)

    def _clear(self, directory: _Directory, fd: int, name: str, entry: ArchiveEntry) -> None:
        """Count the entry, and take away what has its name."""
        self._count(entry)
        if name not in directory.children:
            return
        known = directory.children[name]
        if isinstance(known, _Directory):
            if known.children:
                raise Refused(
                    UNSAFE,
                    f"entry {shown(entry.name)} is in the archive as a directory with entries, and again as something "
                    "else. Pack the archive without one of them",
                )
            os.rmdir(_raw(name), dir_fd=fd)
        elif known is None:
            os.unlink(_raw(name), dir_fd=fd)
        del directory.children[name]

    def _write(self, fd: int, name: str, entry: ArchiveEntry, *, depth: int) -> None:
        # The root directory may still turn out to be one that lies below another.
        room = None if self._peek is None else self._peek if depth <= 2 else 0
        file = os.open(_raw(name), _FRESH, 0o600, dir_fd=fd)
        try:
            for piece in entry.data:
                self._add_bytes(len(piece), entry)
                rest = memoryview(piece)[:room]
                room = None if room is None else room - len(rest)
                while rest:
                    rest = rest[os.write(file, rest) :]
            os.fchmod(file, entry.mode & 0o777 | (0o444 if self._readable else 0))
            if entry.mtime is not None and 0 <= entry.mtime < 2**33:
                os.utime(file, (entry.mtime, entry.mtime))
        finally:
            os.close(file)

    def _add_bytes(self, size: int, entry: ArchiveEntry) -> None:
        self.bytes += size
        if self.bytes <= self._most_bytes:
            return
        if self.bytes > self._limits.bytes:
            why = f"{_size(self._limits.bytes)}"
            do = "Leave out what the build does not need"
        else:
            why = f"{self._limits.ratio} times its own size, as a decompression bomb does"
            do = "Leave out large files that hold nothing"
        raise Refused(
            TOO_LARGE,
            f"the archive unpacks to more than {why}; the limit is passed at entry {shown(entry.name)}. {do}",
        )

    def _count(self, entry: ArchiveEntry) -> None:
        self.entries += 1
        if self.entries > self._limits.entries:
            raise Refused(
                TOO_LARGE,
                f"the archive has more than {self._limits.entries} entries; the limit is passed at "
                f"{shown(entry.name)}. Leave out what the build does not need",
            )


def _broken_name(name: str) -> Refused:
    return Refused(BROKEN, f"entry {shown(name)} is the archive's own root and no directory")


def _check_text(text: str, where: str, limits: ArchiveLimits) -> None:
    if text.isascii() and text.isprintable() and len(text) <= limits.name:
        return
    if any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in text):
        raise Refused(
            UNSAFE, f"{where} holds a control character, such as a newline. Rename the file"
        )
    try:
        size = len(_raw(text))
    except UnicodeEncodeError:
        raise Refused(UNSAFE, f"{where} is not valid UTF-8. Rename the file") from None
    if size > limits.name:
        raise Refused(TOO_LARGE, f"{where} is longer than {limits.name} bytes. Use shorter names")


def _raw(text: str) -> bytes:
    """A name as the kernel takes it, whatever our locale is."""
    return text.encode("utf-8", "surrogateescape")


def _size(number: int) -> str:
    return f"{number // 1024 // 1024} MiB" if number >= 1024 * 1024 else f"{number} bytes"
