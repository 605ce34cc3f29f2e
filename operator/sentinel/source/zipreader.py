"""Reading zip by Python's `zipfile`, with the bounds that it lacks. Nothing is checked of names: `unpack` does that."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import BinaryIO
from zipfile import ZipFile, ZipInfo

from sentinel.source.packed import (
    BROKEN,
    CHUNK,
    TOO_LARGE,
    ArchiveEntry,
    ArchiveLimits,
    Refused,
    shown,
    truncated,
)

_STORED, _DEFLATED = 0, 8
_DOS, _UNIX = 0, 3
_HEADER = b"PK\1\2"
"""Each entry of the central directory begins with it."""


class _Guarded:
    """The archive's file as zipfile sees it. It reads the whole central directory at once: then we count first."""

    def __init__(self, file: BinaryIO, limits: ArchiveLimits) -> None:
        self._file = file
        self._limits = limits
        self.tell = file.tell
        self.seek = file.seek
        self.seekable = file.seekable
        self.close = file.close

    def read(self, size: int = -1) -> bytes:
        # 46 bytes for each entry, its name, and as much again for what else is noted.
        most = max(self._limits.entries * (46 + 2 * min(self._limits.name, 256)), 1024 * 1024)
        if size > most:
            raise _too_many(self._limits)
        data = self._file.read(size)
        if len(data) > CHUNK and data.count(_HEADER) > self._limits.entries:
            raise _too_many(self._limits)
        return data


def _too_many(limits: ArchiveLimits) -> Refused:
    return Refused(
        TOO_LARGE,
        f"the archive has more than {limits.entries} entries. Leave out what the build does not need",
    )


def read_zip(file: BinaryIO, *, limits: ArchiveLimits) -> Iterator[ArchiveEntry]:
    """The entries in the order of the central directory. Refused where it is damaged or holds what we cannot read."""
    import zipfile  # noqa: PLC0415 - slow to import, and rare

    try:
        with zipfile.ZipFile(_Guarded(file, limits)) as archive:
            for info in archive.infolist():
                yield _entry(archive, info, limits)
    except EOFError:
        raise truncated() from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OverflowError) as e:
        raise _damaged(e) from None
    except OSError as e:
        # A seek to where no file can be.
        if e.errno is None or e.errno in (22, 75):
            raise _damaged(e) from None
        raise


def _damaged(error: Exception) -> Refused:
    said = "".join(c if c.isprintable() else " " for c in str(error))
    return Refused(
        BROKEN, f"the archive is not a readable zip file ({said[:200]}). Pack and upload it again"
    )


def _entry(archive: ZipFile, info: ZipInfo, limits: ArchiveLimits) -> ArchiveEntry:
    # `filename` is cut at a NUL; what we check must be what the archive says.
    name = info.orig_filename
    if info.create_system == _DOS:
        name = name.replace("\\", "/")
    if info.flag_bits & 0x1:
        raise Refused(
            BROKEN, f"entry {shown(name)} is encrypted: pack the archive without a password"
        )
    if info.compress_type not in (_STORED, _DEFLATED):
        raise Refused(
            BROKEN,
            f"entry {shown(name)} is compressed by method {info.compress_type}, which is not supported: "
            "pack the archive with deflate",
        )
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    kind, target = _kind(name, mode), ""
    if kind == "symlink":
        target = _read(archive, info, limits.name + 1).decode("utf-8", "surrogateescape")
    return ArchiveEntry(
        name=name,
        kind=kind,
        mode=mode & 0o7777 or (0o755 if kind == "dir" else 0o644),
        mtime=_mtime(info),
        target=target,
        data=_content(archive, info) if kind == "file" else (),
    )


def _kind(name: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "symlink"
    if name.endswith("/") or stat.S_ISDIR(mode):
        return "dir"
    if stat.S_IFMT(mode) in (0, stat.S_IFREG):
        return "file"
    return "a FIFO" if stat.S_ISFIFO(mode) else "a device"


def _content(archive: ZipFile, info: ZipInfo) -> Iterator[bytes]:
    import zipfile  # noqa: PLC0415
    import zlib  # noqa: PLC0415

    try:
        with archive.open(info) as content:
            while piece := content.read(CHUNK):
                yield piece
    except EOFError:
        raise truncated() from None
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError) as error:
        raise _damaged(error) from None


def _read(archive: ZipFile, info: ZipInfo, most: int) -> bytes:
    text = b""
    for piece in _content(archive, info):
        text += piece
        if len(text) >= most:
            break
    return text[:most]


def _mtime(info: ZipInfo) -> float | None:
    """Zip has no time zone; we say UTC, as the box does."""
    import calendar  # noqa: PLC0415

    try:
        return float(calendar.timegm((*info.date_time, 0, 0, 0)))
    except (ValueError, OverflowError):
        return None
