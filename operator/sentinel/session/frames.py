"""Frames on the wire: bytes in, JSON messages and log chunks out, whatever the chunks the bytes come in.

4 bytes big-endian length, 1 byte type, payload; types and limits in `operator/boxkit/README.md`. No I/O here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from struct import Struct
from typing import Any, TypeAlias

from sentinel.errors import ProtocolError

MAX_FRAME = 1024 * 1024
"""Bytes that a frame's length may count: its type and its payload."""

MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of one JSON message to a box, over all its parts."""

MAX_HEARD = 64 * 1024
"""Bytes of one JSON message from a box, which any process there can send: small whatever it is parsed to."""

MAX_ENVIRONMENT = 8 * 1024 * 1024
"""Bytes of the one kind that may be larger: an exported environment of 1 MiB, each byte escaped."""

MAX_ITEMS = 500_000
"""Commas and brackets of such a message: what is parsed from `[{},{},…` takes fifty times its bytes."""

_LENGTH = Struct(">I")
_LOG = Struct(">IQ")


@dataclass(frozen=True, kw_only=True)
class JsonFrame:
    """One JSON message: an object with a `type`."""

    message: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class LogFrame:
    """Bytes of a step's masked log, beginning at `offset` of its file."""

    ordinal: int
    offset: int
    data: bytes


Frame: TypeAlias = JsonFrame | LogFrame


class FrameDecoder:
    """Bytes in any pieces → frames. After a ProtocolError it must not be fed again: the connection is worthless.

    `largest` is in bytes of a JSON message, over all its parts; it may be changed between two messages.
    """

    def __init__(self, *, largest: int = MAX_HEARD) -> None:
        self.largest = largest
        self._buffer = bytearray()
        self._parts = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order. Raises ProtocolError."""
        self._buffer += data
        frames: list[Frame] = []
        at = 0
        while len(self._buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, at)
            if not 1 <= length <= MAX_FRAME:
                raise ProtocolError(f"a frame of {length} bytes; 1 to {MAX_FRAME} are allowed")
            end = at + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            kind = self._buffer[at + 4]
            frame = self._frame(kind, bytes(memoryview(self._buffer)[at + 5 : end]))
            if frame is not None:
                frames.append(frame)
            at = end
        del self._buffer[:at]
        return frames

    def _frame(self, kind: int, payload: bytes) -> Frame | None:
        match kind:
            case 0x4C:  # L
                if len(payload) < _LOG.size:
                    raise ProtocolError(f"a log frame of {len(payload)} bytes has no header")
                ordinal, offset = _LOG.unpack_from(payload)
                return LogFrame(ordinal=ordinal, offset=offset, data=payload[_LOG.size :])
            case 0x4A | 0x50:  # J, P
                if len(self._parts) + len(payload) > self.largest:
                    raise ProtocolError(f"a message of more than {self.largest} bytes")
                self._parts += payload
                if kind == 0x50:
                    return None
                text = bytes(self._parts)
                self._parts.clear()
                return JsonFrame(message=_parse(text))
            case _:
                raise ProtocolError(f"a frame of unknown type {kind:#04x}")


def _parse(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_HEARD and sum(text.count(c) for c in (b",", b"[", b"{")) > MAX_ITEMS:
        raise ProtocolError(f"a message of more than {MAX_ITEMS} items")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a message that is not JSON: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ProtocolError("a message that is not an object with a `type`")
    return message


def encode_json(message: dict[str, Any]) -> bytes:
    """One message as frames: a single `J`, or `P` parts before it where it is too long for one."""
    text = json.dumps(message, separators=(",", ":")).encode()
    if len(text) > MAX_MESSAGE:
        raise ProtocolError(f"a message of {len(text)} bytes; {MAX_MESSAGE} are allowed")
    room = MAX_FRAME - 1
    pieces = [text[at : at + room] for at in range(0, len(text), room)]
    frames = [_frame(b"P", piece) for piece in pieces[:-1]]
    return b"".join([*frames, _frame(b"J", pieces[-1])])


def encode_log(ordinal: int, offset: int, data: bytes) -> bytes:
    """A log frame. Only boxkit sends them; here for tests and tools."""
    return _frame(b"L", _LOG.pack(ordinal, offset) + data)


def _frame(kind: bytes, payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload) + 1) + kind + payload
