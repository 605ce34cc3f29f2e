"""The user's terminal joined to a shell in the box: after a step that failed, and for internal/shell."""

from __future__ import annotations

import os
import select
import shutil
import socket
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from docker import errors

from sentinel.local.docker import Docker

_CHUNK = 16 * 1024
_LOOK_EVERY = 0.5
"""Seconds after which the terminal's size is looked at again."""

Size = tuple[int, int]


def is_interactive() -> bool:
    """Whether a person can type into what is run."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def shell_in_box(
    docker: Docker,
    box: str,
    command: Sequence[str],
    *,
    environment: Sequence[tuple[str, str]],
    directory: str,
) -> int:
    """Run `command` in the box at the user's terminal until it ends; its exit code. Blocking.

    Raises docker's APIError.
    """
    made = docker.api.exec_create(
        box,
        list(command),
        stdin=True,
        tty=True,
        environment=[f"{name}={value}" for name, value in environment],
        workdir=directory,
    )
    opened = docker.api.exec_start(made["Id"], tty=True, socket=True)

    def resize(size: Size) -> None:
        # An exec that has just ended has no terminal.
        with suppress(errors.APIError):
            docker.api.exec_resize(made["Id"], height=size[1], width=size[0])

    joined: Any = getattr(opened, "_sock", opened)
    joined.settimeout(None)
    try:
        with _raw(sys.stdin.fileno()):
            join(joined, sys.stdin.fileno(), sys.stdout.fileno(), resize=resize)
    finally:
        with suppress(OSError):
            opened.close()
    code = docker.api.exec_inspect(made["Id"])["ExitCode"]
    return int(code) if code is not None else 1


def join(
    joined: socket.socket, keyboard: int, screen: int, *, resize: Callable[[Size], None]
) -> None:
    """Copy between the socket and the terminal's descriptors until the socket ends."""
    size: Size | None = None
    listening = [joined.fileno(), keyboard]
    while True:
        columns, lines = shutil.get_terminal_size()
        now = (columns, lines)
        if now != size:
            size = now
            resize(size)
        ready, _, _ = select.select(listening, [], [], _LOOK_EVERY)
        if joined.fileno() in ready:
            data = joined.recv(_CHUNK)
            if not data:
                return
            _write(screen, data)
        if keyboard in ready:
            typed = os.read(keyboard, _CHUNK)
            if typed:
                joined.sendall(typed)
            else:
                listening.remove(keyboard)
                with suppress(OSError):
                    joined.shutdown(socket.SHUT_WR)


def _write(screen: int, data: bytes) -> None:
    while data:
        data = data[os.write(screen, data) :]


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Keys go to the box as they are pressed, Ctrl-C too."""
    before = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
