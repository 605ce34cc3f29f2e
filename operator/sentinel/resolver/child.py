"""One child: a process that is limited, answers the requests of one connection, and ends.

It is forked from the server (`server.py`) with everything imported. What it inherits is taken away first: descriptors,
environment, the parent's directory. It ends with its connection, with its parent, or at a limit.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import resource
import shutil
import signal
import socket
import threading
import traceback
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from sentinel.resolver import wire
from sentinel.resolver.limits import EXIT_CODES, KEPT, Limit
from sentinel.resolver.messages import Request
from sentinel.resolver.work import Done, work
from sentinel.settings import ResolverSettings

log = logging.getLogger(__name__)

CRASHED = 70

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)
_requests: TypeAdapter[Any] = TypeAdapter(Request)


def adopt_orphans() -> None:
    """Make this process the parent of whatever its descendants leave behind."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(connection: socket.socket, scratch: str, settings: ResolverSettings, parent: int) -> None:
    """Be the child: never returns. `scratch` is its own empty directory, `parent` the server's pid."""
    code = CRASHED
    try:
        _confine(connection, scratch, settings, parent)
        code = _serve(connection, Path(scratch), settings)
    except BaseException as error:
        code = _code_of(error)
    try:
        os.chdir("/")
        shutil.rmtree(scratch, ignore_errors=True)
    finally:
        os._exit(code)


def _confine(
    connection: socket.socket, scratch: str, settings: ResolverSettings, parent: int
) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(CRASHED)
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    own = connection.fileno()
    os.closerange(3, own)
    os.closerange(own + 1, 65536)
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(kept, TMPDIR=scratch, HOME="/nonexistent")
    os.chdir(scratch)
    with suppress(OSError):
        # The kernel takes a child before the server, where it has to choose.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    # A thread's stack counts as memory, 8 MiB by default, however little of it is used.
    threading.stack_size(1024 * 1024)
    memory = _data_bytes() + settings.memory_mib * 1024 * 1024
    # git is given limits of its own by `prlimit`, which may not raise a hard one.
    _limit(resource.RLIMIT_DATA, memory, hard=False)
    # The hard one ends a process without saying why.
    _limit(resource.RLIMIT_CPU, settings.cpu_seconds, hard=False)
    _limit(resource.RLIMIT_FSIZE, settings.disk_mib * 1024 * 1024)
    _limit(resource.RLIMIT_NOFILE, settings.files)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(which: int, most: int, *, hard: bool = True) -> None:
    top = resource.getrlimit(which)[1]
    if top != resource.RLIM_INFINITY:
        most = min(most, top)
    resource.setrlimit(which, (most, most if hard else top))


def _data_bytes() -> int:
    """What counts against RLIMIT_DATA already: a fork has its parent's memory, mostly shared."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    line = next(line for line in status.splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024


def _serve(connection: socket.socket, scratch: Path, settings: ResolverSettings) -> int:
    """Answer request after request until the operator closes the connection; the exit code."""
    while True:
        try:
            text = wire.receive_document(connection, limit=wire.REQUEST_LIMIT)
        except (wire.Closed, ConnectionError):
            return 0
        try:
            done = work(_requests.validate_json(text), scratch, _run)
        except MemoryError:
            # Cleaning up takes memory, and without it the interpreter aborts.
            os._exit(EXIT_CODES[Limit.MEMORY])
        document = done.answer.model_dump_json().encode()
        if len(document) > settings.answer_kib * 1024:
            return EXIT_CODES[Limit.ANSWER]
        wire.send_document(connection, document)
        for path in done.files:
            wire.send_file(connection, str(path))


def _run(work: Coroutine[Any, Any, Done]) -> Done:
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(_on_loop_error)
        try:
            return runner.run(work)
        except MemoryError:
            os._exit(EXIT_CODES[Limit.MEMORY])


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, BaseException) and (code := _code_of(error, quiet=True)) != CRASHED:
        os._exit(code)
    loop.default_exception_handler(context)


def _code_of(error: BaseException, *, quiet: bool = False) -> int:
    """The exit code that names the limit behind an error; what is none is our mistake, and logged."""
    for each in _causes(error):
        if isinstance(each, MemoryError):
            return EXIT_CODES[Limit.MEMORY]
        if isinstance(each, OSError):
            if each.errno in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT):
                return EXIT_CODES[Limit.DISK]
            if each.errno in (errno.EMFILE, errno.ENFILE):
                return EXIT_CODES[Limit.FILES]
            if each.errno == errno.ENOMEM:
                return EXIT_CODES[Limit.MEMORY]
            if each.errno in (errno.EPIPE, errno.ECONNRESET):
                return 0
    if not quiet:
        # Where, and not what: an error's text may quote a tenant, or a Secret.
        frames = "".join(traceback.format_tb(error.__traceback__)[-8:])
        log.error("resolving a Build failed: %s\n%s", type(error).__name__, frames)
    return CRASHED


def _causes(error: BaseException) -> list[BaseException]:
    """The error, those that it wraps, and those that it came from."""
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo and len(found) < 100:
        each = todo.pop()
        if each is None or any(each is known for known in found):
            continue
        found.append(each)
        todo += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            todo += each.exceptions
    return found
