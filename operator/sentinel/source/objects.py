"""Reading git objects: `git cat-file --batch` spoken over pipes, and trees and commits taken apart."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sentinel.source.failure import Deadline

_TICK = 0.1


@dataclass(frozen=True, kw_only=True)
class Object:
    """An object: its id, kind (commit, tree, blob, tag) and bytes; `size` alone where that is more than asked for."""

    id: str
    kind: str
    size: int
    data: bytes = b""


@dataclass(frozen=True, kw_only=True)
class TreeEntry:
    """A line of a tree: mode as git writes it, name, and the object's id."""

    mode: str
    name: str
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
    """A running `git cat-file --batch`, asked for objects by any name git understands. Ended at the deadline."""

    def __init__(
        self, *, cwd: str, env: Mapping[str, str], deadline: Deadline, memory: int
    ) -> None:
        bounded = ["prlimit", f"--data={memory}"] if memory else []
        self._deadline = deadline
        self._done = threading.Event()
        self._process = subprocess.Popen(
            [*bounded, "git", "cat-file", "--batch"],
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._watch = threading.Thread(target=self._run, name="cat-file watch", daemon=True)
        self._watch.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._done.set()
        self._watch.join()
        self._kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()

    def read(self, name: str, *, most: int, cut: bool = False) -> Object | None:
        """The object, without its bytes where those are more than `most`; then nothing more can be read.

        With `cut` such an object has its first `most` bytes, and reading can go on.

        None where it is missing, or git ended. TimeoutError or CalledOff at the deadline.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 - for mypy
        assert stdout is not None  # noqa: S101
        try:
            stdin.write(name.encode() + b"\n")
            stdin.flush()
            header = stdout.readline(10_000).decode("utf-8", "replace").split()
            if len(header) != 3 or not header[2].isdigit():
                self._deadline.left()
                return None
            size = int(header[2])
            data = stdout.read(size + 1) if size <= most else b""
            if cut and size > most:
                data = stdout.read(most + 1)
                rest = size - most
                while rest > 0 and (part := stdout.read(min(rest, 1024 * 1024))):
                    rest -= len(part)
        except BrokenPipeError:
            data, header, size = b"", ["", "", ""], 0
        self._deadline.left()
        if not header[0] or (size <= most and len(data) <= size):
            return None
        return Object(id=header[0], kind=header[1], size=size, data=data[:-1])

    def _run(self) -> None:
        while not self._done.wait(_TICK):
            if self._deadline.over:
                self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)


def entries(data: bytes) -> Iterator[TreeEntry]:
    """The lines of a tree object: `<mode> <name>\\0<20 bytes>` again and again."""
    position = 0
    while position < len(data):
        end = data.index(b"\0", position)
        mode, _, name = data[position:end].partition(b" ")
        yield TreeEntry(
            mode=mode.decode(),
            name=name.decode("utf-8", "replace"),
            id=data[end + 1 : end + 21].hex(),
        )
        position = end + 21


def pick(data: bytes, names: Iterable[str]) -> dict[str, TreeEntry]:
    """Those entries of a tree that are called so."""
    wanted = set(names)
    return {entry.name: entry for entry in entries(data) if entry.name in wanted}


def subject(commit: bytes) -> str:
    """The first line of a commit's message."""
    message = commit.partition(b"\n\n")[2].lstrip(b"\n")
    return message.partition(b"\n")[0].decode("utf-8", "replace").strip()
