"""Reading tar, forwards and distrustfully: POSIX (ustar, pax), GNU's long names, and what came before them.

Not Python's `tarfile`: the releases we run on read headers of any declared size into memory, recurse once per header,
and search them in quadratic time (CVE-2024-6232), so an archive of a few kilobytes can stop an operator. Here headers
are bounded, nothing recurses, and each byte is looked at once. Nothing is checked of names: `unpack` does that.
"""

from __future__ import annotations

from collections.abc import Iterator

from sentinel.source.packed import (
    BROKEN,
    TOO_LARGE,
    UNSAFE,
    ArchiveEntry,
    Refused,
    Stream,
    shown,
    truncated,
)

BLOCK = 512
MAX_HEADER = 1024 * 1024
"""Bytes of one pax header; those of real archives have some hundred, with extended attributes some thousand."""

_DATA = {b"0": "file", b"\0": "file", b"7": "file"}
_BARE = {b"1": "hardlink", b"2": "symlink", b"5": "dir"}
_SPECIAL = {b"3": "a device", b"4": "a device", b"6": "a FIFO"}
_SPARSE = b"GNU.sparse."
_USED = (b"path", b"linkpath", b"size", b"mtime", _SPARSE)
_NAMES = {b"L": b"path", b"K": b"linkpath"}


def is_tar(block: bytes) -> bool:
    """Whether a tar could begin with these 512 bytes: its checksum is right, or it is an empty one's end."""
    return len(block) == BLOCK and (not block.strip(b"\0") or _checksum_holds(block))


def read_tar(stream: Stream, *, max_name: int) -> Iterator[ArchiveEntry]:
    """The entries in order. Refused where it is no tar, damaged, cut off, or a name is longer than `max_name`."""
    said: dict[bytes, bytes] = {}
    begun = False
    while True:
        block = stream.read(BLOCK)
        if not block and begun and stream.compressed and not said:
            # Some writers leave the end mark out; gzip and zstd then vouch for the end.
            return
        if len(block) < BLOCK:
            raise truncated()
        if not block.strip(b"\0"):
            stream.drain()
            return
        if not _checksum_holds(block):
            if not begun:
                raise Refused(
                    BROKEN,
                    "the compressed data is not a tar archive: pack the project with tar or zip",
                )
            raise Refused(
                BROKEN,
                "the archive is damaged: an entry's header has a wrong checksum. Pack and upload it again",
            )
        begun = True
        kind, size = block[156:157], _number(block[124:136])
        if kind in b"xXgLK":
            text = _header(stream, size, max_name if kind in _NAMES else MAX_HEADER)
            if kind in _NAMES:
                said[_NAMES[kind]] = text.split(b"\0", 1)[0]
            elif kind != b"g":
                # Git's global header has nothing but the commit as a comment.
                said |= _records(text)
            continue
        if b"size" in said:
            size = _decimal(said[b"size"])
        yield from _entry(stream, block, kind, size, said)
        said = {}


def _entry(
    stream: Stream, block: bytes, kind: bytes, size: int, said: dict[bytes, bytes]
) -> Iterator[ArchiveEntry]:
    name = _text(said.get(b"path") or _name(block))
    if kind == b"S" or _SPARSE in said:
        raise Refused(
            UNSAFE,
            f"entry {shown(name)} is stored as a sparse file, which is not supported: pack it without --sparse",
        )
    if kind == b"V":
        # The name of a tape.
        _skip(stream, size)
        return
    data = stream.take(0)
    if kind in _DATA:
        data = stream.take(size)
        # Before 1988 a directory was a file whose name ends in a slash.
        what = "dir" if name.endswith("/") else "file"
    elif kind in _BARE:
        what = _BARE[kind]
    elif kind in _SPECIAL:
        what = _SPECIAL[kind]
    else:
        raise Refused(BROKEN, f"entry {shown(name)} is of an unknown tar entry type: {kind!r}")
    target = said.get(b"linkpath") or block[157:257].split(b"\0", 1)[0]
    yield ArchiveEntry(
        name=name,
        kind=what,
        mode=_number(block[100:108]),
        mtime=_mtime(block, said),
        target=_text(target) if what in ("symlink", "hardlink") else "",
        data=data if what == "file" else (),
    )
    for _ in data:
        pass
    if kind in _DATA and size % BLOCK:
        _skip(stream, BLOCK - size % BLOCK, pad=False)


def _name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _header(stream: Stream, size: int, most: int) -> bytes:
    if size > most + 1:
        raise Refused(
            TOO_LARGE,
            f"the archive has a header or name of {size} bytes, more than {most}: give files shorter names",
        )
    text = stream.read(size)
    if len(text) < size:
        raise truncated()
    _skip(stream, -size % BLOCK, pad=False)
    return text


def _skip(stream: Stream, size: int, *, pad: bool = True) -> None:
    for _ in stream.take(size + (-size % BLOCK if pad else 0)):
        pass


def _records(text: bytes) -> dict[bytes, bytes]:
    """The records `length key=value\\n` of a pax header."""
    result = {}
    at = 0
    # Some writers pad with zeros.
    end = len(text.rstrip(b"\0"))
    while at < end:
        space = text.find(b" ", at, at + 10)
        length = _decimal(text[at:space]) if space > at else 0
        record = text[space + 1 : at + length] if length else b""
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n") or at + length > len(text):
            raise Refused(
                BROKEN,
                "the archive is damaged: a pax header is malformed. Pack and upload it again",
            )
        if key.startswith(_SPARSE):
            key = _SPARSE
        # What we do not use is not kept: headers can be many.
        if key in _USED:
            result[key] = value[:-1]
        at += length
    return result


def _checksum_holds(block: bytes) -> bool:
    try:
        declared = _number(block[148:156])
    except Refused:
        return False
    unsigned = sum(block[:148]) + 256 + sum(block[156:])
    if declared == unsigned:
        return True
    # Old Sun tars added up signed bytes.
    high = sum(1 for byte in block[:148] + block[156:] if byte > 127)
    return declared == unsigned - 256 * high


def _number(field: bytes) -> int:
    """A header's number: octal digits, or after a first byte 0x80 big-endian."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    if digits.strip(b"01234567"):
        raise Refused(
            BROKEN,
            "the archive is damaged: invalid number in a tar header. Pack and upload it again",
        )
    return int(digits or b"0", 8)


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 19:
        raise Refused(
            BROKEN,
            "the archive is damaged: invalid number in a pax header. Pack and upload it again",
        )
    return int(digits)


def _mtime(block: bytes, said: dict[bytes, bytes]) -> float | None:
    try:
        return float(said[b"mtime"]) if b"mtime" in said else float(_number(block[136:148]))
    except (Refused, ValueError, OverflowError):
        # Before 1970, or nonsense: no reason to refuse a file.
        return None
