"""The resolver's server: accepts connections of the operator, and forks one limited child for each.

One thread, one poll loop, nothing of asyncio: a process that forks must not have state that a child would share. All
that a child needs is imported before the first fork, and frozen for the garbage collector, so that a fork costs some
milliseconds and shares its memory. The server itself reads nothing of a tenant's but the first packet of a connection,
which the operator writes.

Fair: each namespace has its own queue and at most `per_namespace` children.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import shutil
import signal
import socket
import tempfile
import time
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sentinel.resolver import child, usage, wire
from sentinel.resolver.limits import Limit, limit_of
from sentinel.resolver.messages import Hello, Note
from sentinel.settings import ResolverSettings

log = logging.getLogger(__name__)

LOOK = 0.25
"""Seconds between two looks at what children take that run longer than that."""
FULL = 0.9
"""Share of the container's memory at which the largest child is ended."""
HELLO_SECONDS = 10.0
GRACE = 0.05
"""Seconds that a child has to end by itself when its connection is closed; one that waits for a request does."""
MOST_CONNECTIONS = 2048


@dataclass(kw_only=True)
class Client:
    """A connection: first it waits for its hello, then for its turn, then it has a child."""

    connection: socket.socket
    since: float
    hello: Hello | None = None
    pid: int = 0
    pidfd: int = -1
    scratch: str = ""
    hit: Limit | None = None
    hung_up: float = 0.0


class Server:
    """Serves on `listener` until SIGTERM, or until the descriptor `lifeline` (-1: none) is closed at its other end."""

    def __init__(
        self, listener: socket.socket, *, settings: ResolverSettings, lifeline: int = -1
    ) -> None:
        self._listener = listener
        self._settings = settings
        self._lifeline = lifeline
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._running: dict[int, Client] = {}
        self._waiting: OrderedDict[str, deque[Client]] = OrderedDict()
        self._removals: set[int] = set()
        self._look_at = 0.0
        self._baseline = 0
        self._stop = False
        self._scratch = Path(settings.scratch or tempfile.gettempdir())

    def run(self) -> None:
        """Serve until stopped; all children are gone then."""
        child.adopt_orphans()
        self._clear_scratch()
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        wake, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes)
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._epoll.register(wake, select.EPOLLIN)
        if self._lifeline >= 0:
            self._epoll.register(self._lifeline, select.EPOLLIN)
        gc.collect()
        gc.freeze()
        me = usage.processes().get(os.getpid())
        self._baseline = me.memory if me else 0
        log.info("resolver ready: at most %s Builds at once", self._settings.at_once)
        try:
            while not self._stop:
                for number, events in self._epoll.poll(self._timeout()):
                    self._on_event(number, events, wake)
                self._look()
                self._start_waiting()
        finally:
            for client in [*self._running.values()]:
                self._kill(client)

    def _on_signal(self, number: int, _: object) -> None:
        self._stop = True

    def _timeout(self) -> float:
        if any(each.hung_up for each in self._running.values()):
            return GRACE
        return LOOK if self._running or self._clients else 60.0

    def _on_event(self, number: int, events: int, wake: int) -> None:
        if number == self._listener.fileno():
            self._accept()
        elif number == self._lifeline:
            if not os.read(number, 4096):
                self._stop = True
        elif number == wake:
            os.read(wake, 4096)
        elif number in self._running:
            self._ended(self._running[number])
        elif number in self._clients:
            self._on_client(self._clients[number], events)

    # --- connections ---

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            log.error("a connection was not accepted: %s", error)
            return
        if len(self._clients) >= MOST_CONNECTIONS:
            connection.close()
            return
        self._clients[connection.fileno()] = Client(connection=connection, since=time.monotonic())
        self._epoll.register(connection.fileno(), select.EPOLLIN | select.EPOLLRDHUP)

    def _on_client(self, client: Client, events: int) -> None:
        if client.hello is None and events & select.EPOLLIN:
            try:
                packet = client.connection.recv(wire.HELLO_LIMIT, socket.MSG_DONTWAIT)
                client.hello = Hello.model_validate_json(packet)
            except (OSError, ValidationError):
                self._drop(client)
                return
            # From now on only its end is of interest: the rest is for the child to read.
            self._epoll.modify(client.connection.fileno(), select.EPOLLRDHUP)
            self._waiting.setdefault(client.hello.namespace, deque()).append(client)
        elif events & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR):
            client.hung_up = time.monotonic()
            self._drop(client)

    def _drop(self, client: Client) -> None:
        if self._clients.pop(client.connection.fileno(), None) is None:
            return
        self._epoll.unregister(client.connection.fileno())
        client.connection.close()
        if client.hello is not None and not client.pid:
            queue = self._waiting.get(client.hello.namespace)
            if queue is not None:
                with suppress(ValueError):
                    queue.remove(client)
                if not queue:
                    del self._waiting[client.hello.namespace]

    # --- children ---

    def _start_waiting(self) -> None:
        """Start whose turn it is: one of each namespace after the other, as far as the limits allow."""
        busy: dict[str, int] = {}
        for client in self._running.values():
            assert client.hello is not None  # noqa: S101
            busy[client.hello.namespace] = busy.get(client.hello.namespace, 0) + 1
        while len(self._running) < self._settings.at_once:
            namespace = next(
                (
                    each
                    for each in self._waiting
                    if busy.get(each, 0) < self._settings.per_namespace
                ),
                None,
            )
            if namespace is None:
                return
            queue = self._waiting[namespace]
            client = queue.popleft()
            if queue:
                self._waiting.move_to_end(namespace)
            else:
                del self._waiting[namespace]
            busy[namespace] = busy.get(namespace, 0) + 1
            self._fork(client)

    def _fork(self, client: Client) -> None:
        try:
            client.scratch = tempfile.mkdtemp(prefix="build-", dir=self._scratch)
            parent = os.getpid()
            pid = os.fork()
        except OSError as error:
            log.error("no child for a Build: %s", error)
            self._note(client, Note(detail=f"no process could be started: {error.strerror}"))
            self._drop(client)
            return
        if pid == 0:
            signal.set_wakeup_fd(-1)
            child.run(client.connection, client.scratch, self._settings, parent)
        client.pid = pid
        client.pidfd = os.pidfd_open(pid)
        client.since = time.monotonic()
        self._running[client.pidfd] = client
        self._epoll.register(client.pidfd, select.EPOLLIN)

    def _kill(self, client: Client, limit: Limit | None = None) -> None:
        """End a child and all that it started."""
        if client.hit is None:
            client.hit = limit
        for pid in usage.tree(usage.processes(), client.pid).pids or (client.pid,):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _ended(self, client: Client) -> None:
        """A child has ended: report how, and remove what it left."""
        del self._running[client.pidfd]
        self._epoll.unregister(client.pidfd)
        os.close(client.pidfd)
        _, status, used = os.wait4(client.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        limit = client.hit or limit_of(code)
        if limit is None and code < 0 and self._is_much(used.ru_maxrss * 1024):
            limit = Limit.MEMORY
        if code != 0:
            self._end_orphans()
            self._remove(client.scratch)
        self._reap()
        if client.hung_up:
            return
        if limit is not None:
            log.info("Build %s ended at its limit of %s", _name(client), limit)
            self._note(client, Note(limit=limit))
        elif code != 0:
            detail = f"signal {-code}" if code < 0 else f"exit code {code}"
            log.error("the child of Build %s ended with %s", _name(client), detail)
            self._note(client, Note(detail=detail))
        self._drop(client)

    def _is_much(self, memory: int) -> bool:
        """Whether a process that crashed was near its limit of memory: libraries abort where there is no more."""
        return memory - self._baseline > (self._settings.memory_mib << 20) // 2

    def _note(self, client: Client, note: Note) -> None:
        with suppress(OSError):
            client.connection.send(wire.NOTE + note.model_dump_json().encode(), socket.MSG_DONTWAIT)

    def _end_orphans(self) -> None:
        """Kill what children left behind: it is ours now, and of no Build that is still running."""
        ours = {client.pid for client in self._running.values()} | self._removals
        me = os.getpid()
        # What is killed may have started something meanwhile. One that waits for a disk does not die at once.
        for _ in range(5):
            known = usage.processes()
            orphans = [each.pid for each in known.values() if each.parent == me]
            doomed = {
                pid
                for orphan in orphans
                if orphan not in ours
                for pid in usage.tree(known, orphan).pids
            }
            for pid in doomed:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not doomed:
                break

    def _reap(self) -> None:
        """Take the exit codes of everything that is not a Build's child."""
        ours = {client.pid for client in self._running.values()}
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in ours:
                return
            os.waitpid(found.si_pid, 0)
            self._removals.discard(found.si_pid)

    # --- what only a look from outside shows ---

    def _look(self) -> None:
        now = time.monotonic()
        for client in [each for each in self._clients.values() if each.hello is None]:
            if now - client.since > HELLO_SECONDS:
                self._drop(client)
        for client in self._running.values():
            if client.hung_up and now - client.hung_up > GRACE:
                self._kill(client)
        old = [each for each in self._running.values() if now - each.since >= LOOK]
        if old and now >= self._look_at:
            self._measure(old, now)
            # Looking at many files takes time that others need: a tenth of it at most.
            self._look_at = time.monotonic() + max(LOOK, 10 * (time.monotonic() - now))

    def _measure(self, clients: list[Client], now: float) -> None:
        """End children that take more than one Build, or all together, may."""
        known = usage.processes()
        settings = self._settings
        memories: list[tuple[int, Client]] = []
        disks: list[tuple[int, Client]] = []
        for client in clients:
            tree = usage.tree(known, client.pid)
            memory = max(tree.memory - self._baseline, 0)
            disk = usage.disk(client.scratch, most=settings.disk_mib << 20)
            memories.append((memory, client))
            disks.append((disk, client))
            passed = {
                Limit.WALL: now - client.since > settings.wall_seconds,
                Limit.CPU: tree.cpu > settings.cpu_seconds,
                Limit.MEMORY: memory > settings.memory_mib << 20,
                Limit.DISK: disk > settings.disk_mib << 20,
                Limit.PROCESSES: len(tree.pids) > settings.processes,
            }
            limit = next((limit for limit, holds in passed.items() if holds), None)
            if limit is not None:
                self._kill(client, limit)
        if sum(size for size, _ in disks) > settings.scratch_mib << 20:
            self._kill_largest(disks, Limit.DISK)
        container = usage.container_memory()
        if container is not None and container[0] > FULL * container[1]:
            self._kill_largest(memories, Limit.MEMORY)
        self._reap()

    def _kill_largest(self, taken: list[tuple[int, Client]], limit: Limit) -> None:
        _, client = max(taken, key=lambda each: each[0])
        log.warning(
            "the resolver is short of %s: ending Build %s, the largest", limit, _name(client)
        )
        self._kill(client, limit)

    # --- scratch ---

    def _clear_scratch(self) -> None:
        """Remove what a resolver that was killed left behind."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        if self._settings.scratch:
            for left in self._scratch.glob("build-*"):
                shutil.rmtree(left, ignore_errors=True)

    def _remove(self, directory: str) -> None:
        """Remove a directory without waiting for it: a tenant chose how many files are in it."""
        if not Path(directory).exists():
            return
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            os.closerange(3, 65536)
            try:
                shutil.rmtree(directory, ignore_errors=True)
            finally:
                os._exit(0)
        self._removals.add(pid)


def _name(client: Client) -> str:
    return f"{client.hello.namespace}/{client.hello.build}" if client.hello else "?"
