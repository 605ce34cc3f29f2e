"""The user's terminal joined to a shell in the box: after a step that failed, and for internal/shell."""

from __future__ import annotations

import os
import select
import shutil
import socket
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from docker import errors

from sentinel.local.docker import Docker

_CHUNK = 16 * 1024
_LOOK_EVERY = 0.5
"""Seconds after which the terminal's size is looked at again."""

CTRL_C = b"\x03"

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Left:
    """How a command at the terminal ended: its exit code, and whether Ctrl-C was pressed before."""

    code: int
    interrupted: bool


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
    stop: Callable[[], bool] = lambda: False,
) -> Left:
    """Run `command` in the box at the user's terminal until it ends. Blocking.

    It gets a Ctrl-C when `stop` says so, which is asked twice a second. Raises docker's APIError.
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
            keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
            interrupted = join(joined, keyboard, screen, resize=resize, stop=stop)
    finally:
        with suppress(OSError):
            opened.close()
    code = docker.api.exec_inspect(made["Id"])["ExitCode"]
    return Left(code=1 if code is None else int(code), interrupted=interrupted)


def join(
    joined: socket.socket,
    keyboard: int,
    screen: int,
    *,
    resize: Callable[[Size], None],
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Copy between the socket and the terminal's descriptors until the socket ends; whether Ctrl-C was pressed."""
    size: Size | None = None
    interrupted = stopping = False
    asked = time.monotonic()
    listening = [joined.fileno(), keyboard]
    while True:
        columns, lines = shutil.get_terminal_size()
        now = (columns, lines)
        if now != size:
            size = now
            resize(size)
        ready, _, _ = select.select(listening, [], [], _LOOK_EVERY)
        if not stopping and time.monotonic() - asked >= _LOOK_EVERY:
            asked, stopping = time.monotonic(), stop()
            if stopping:
                joined.sendall(CTRL_C)
        if joined.fileno() in ready:
            data = joined.recv(_CHUNK)
            if not data:
                return interrupted
            _write(screen, data)
        if keyboard in ready:
            typed = os.read(keyboard, _CHUNK)
            interrupted = interrupted or CTRL_C in typed
            if typed:
                joined.sendall(typed)
            else:
                listening.remove(keyboard)
                with suppress(OSError):
                    joined.shutdown(socket.SHUT_WR)


def _write(screen: int, data: bytes) -> None:
    while data:
        data = data[os.write(screen, data) :]


def wait_for_key(stop: Callable[[], bool]) -> bool:
    """Wait until `stop` says so, or Ctrl-C is pressed: whether it was. Blocking."""
    keyboard = sys.stdin.fileno()
    with _raw(keyboard):
        while not stop():
            ready, _, _ = select.select([keyboard], [], [], _LOOK_EVERY)
            if ready and CTRL_C in os.read(keyboard, _CHUNK):
                return True
    return False


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Keys go to the box as they are pressed, Ctrl-C too."""
    before = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
