"""Packets between operator and resolver: JSON documents and files, over a Unix socket of type SOCK_SEQPACKET.

Each packet is one byte of kind and at most PART bytes. The type keeps packets whole: what the server sends after a
child was killed in the middle of its answer can always be read. A document ends with END, a file with FILE_END; NOTE is
the server's own and the last of a connection.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

PART = 64 * 1024
"""Bytes of one packet, besides its kind."""

MORE, END, FILE, FILE_END, NOTE = b"J", b"E", b"F", b"G", b"X"

REQUEST_LIMIT = 8 * 1024 * 1024
"""Bytes of a request: a Build is at most 1.5 MiB, and so are its Secrets."""

HELLO_LIMIT = 4096


class Closed(Exception):
    """The other side closed the connection."""


class TooLarge(Exception):
    """A document or file is larger than its limit."""


def listen(path: str) -> socket.socket:
    """A listening socket at `path`, in place of whatever an earlier process left there."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    fresh = f"{path}.{os.getpid()}"
    listener.bind(fresh)
    listener.listen(1024)
    # Only a socket that accepts connections ever appears under the name.
    os.replace(fresh, path)  # noqa: PTH105
    return listener


def packets(document: bytes) -> Iterator[bytes]:
    """A document, cut into packets."""
    last = max(len(document) - 1, 0) // PART * PART
    for start in range(0, last, PART):
        yield MORE + document[start : start + PART]
    yield END + document[last:]


def send_document(connection: socket.socket, document: bytes) -> None:
    """Send a document; blocking."""
    for packet in packets(document):
        connection.send(packet)


def receive_document(connection: socket.socket, *, limit: int) -> bytes:
    """The next document; blocking. Raises Closed, TooLarge."""
    parts: list[bytes] = []
    size = 0
    while True:
        packet = connection.recv(PART + 1)
        if not packet:
            raise Closed
        parts.append(packet[1:])
        size += len(packet) - 1
        if size > limit:
            raise TooLarge
        if packet[:1] == END:
            return b"".join(parts)


def send_file(connection: socket.socket, path: str) -> None:
    """Send a file; blocking."""
    with open(path, "rb") as file:  # noqa: PTH123
        while part := file.read(PART):
            connection.send(FILE + part)
    connection.send(FILE_END)


async def connect(path: str) -> socket.socket:
    """A connection to the server at `path`. Raises OSError."""
    connection = socket.socket(
        socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    )
    try:
        await asyncio.get_running_loop().sock_connect(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection
