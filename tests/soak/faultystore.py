"""An S3 server that does what stores do on bad days: in front of another one, or with objects of its own in memory.

Signatures are checked by the server behind it, which gets every request as it was sent; the one in memory checks when
URLs expire, by a clock that may differ from ours.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

Kind = Literal["down", "silent", "slow", "status", "cut", "unanswered", "unconditional"]
PIECE = 64 * 1024
MOST_SKEW = timedelta(minutes=15)
"""Between the clocks of client and server; S3's own limit."""


@dataclass(kw_only=True)
class Fault:
    """What happens to requests: `down` breaks connections, `silent` never answers, `slow` reads `rate` bytes a second,
    `status` answers with that and `code`, `cut` breaks a PUT after half of its body, `unanswered` breaks the connection
    after the request was carried out, `unconditional` answers 501 to a conditional PUT.

    `times` of them, of those for which `only` holds (method and path); 0 is all of them. `struck` counts them.
    """

    kind: Kind
    status: int = 0
    code: str = ""
    rate: int = 0
    times: int = 0
    only: Callable[[str, str], bool] = lambda method, path: True
    struck: int = 0


@dataclass(kw_only=True)
class FaultyStore:
    """`with` it. `faults` may be changed at any time: the first of them that a request meets strikes it.

    `behind` is host:port of the S3 server behind it; "": `objects` has what was stored, by key (in any bucket).
    `ahead` is how far the clock of the server in memory is ahead of ours.
    """

    behind: str = ""
    host: str = "127.0.0.1"
    faults: list[Fault] = field(default_factory=list)
    ahead: timedelta = timedelta()
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._server = _Server((self.host, 0), _Handler)
        self._server.store = self
        self._lock = threading.Lock()
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self._server.server_port}"

    def strike(self, method: str, path: str) -> Fault | None:
        """The fault of a request, which is counted."""
        with self._lock:
            # A copy: others add and remove meanwhile, and a fault that the loop skips is a request that passes.
            for fault in list(self.faults):
                if fault.only(method, path) and not 0 < fault.times <= fault.struck:
                    fault.struck += 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    store: FaultyStore

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off, and a store behind that is not there: not worth a word."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def handle_any(self) -> None:
        fault = self.server.store.strike(self.command, urlsplit(self.path).path)
        kind = fault.kind if fault is not None else ""
        length = int(self.headers.get("Content-Length") or 0)
        if kind == "down":
            self._break()
        elif kind == "cut" and self.command == "PUT":
            self.rfile.read(length // 2)
            self._break()
        elif kind == "silent":
            self._read(length)
            self.connection.settimeout(600)
            self.rfile.read(1)  # until the client has had enough
            self.close_connection = True
        elif kind == "status" and fault is not None:
            self._read(length)
            self._refuse(fault.status, fault.code)
        elif kind == "unconditional" and "If-None-Match" in self.headers:
            self._read(length)
            self._refuse(501, "NotImplemented")
        else:
            body = self._read(length, rate=fault.rate if fault is not None else 0)
            status, headers, content = self._carry_out(body)
            if kind == "unanswered" and self.command == "PUT":
                self._break()
            else:
                self._answer(status, headers, content)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any

    def _read(self, length: int, *, rate: int = 0) -> bytes:
        pieces = []
        while length > 0:
            piece = self.rfile.read(min(length, rate // 10 or PIECE))
            if not piece:
                raise ConnectionError("the client broke off")
            if rate:
                time.sleep(len(piece) / rate)
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def _break(self) -> None:
        """End the connection as a host that goes down does: with a reset, whatever is on its way."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, {}, _error(code))

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(content)

    def _carry_out(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if not self.server.store.behind:
            return self._keep(body)
        connection = http.client.HTTPConnection(self.server.store.behind, timeout=120)
        try:
            # The Host header is part of the signature: it stays that of this server.
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders()
            with suppress(
                OSError
            ):  # it may have answered, and closed, before it had all of the body
                connection.send(body)
            answer = connection.getresponse()
            content = answer.read()
            dropped = ("connection", "transfer-encoding", "content-length", "date", "server")
            headers = {n: v for n, v in answer.getheaders() if n.lower() not in dropped}
            headers["Content-Length"] = answer.headers.get("Content-Length") or str(len(content))
            return answer.status, headers, content
        finally:
            connection.close()

    def _keep(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Answer from memory."""
        store, parts = self.server.store, urlsplit(self.path)
        if wrong := self._wrong_time(parse_qs(parts.query)):
            return 403, {}, _error(wrong)
        key = parts.path.lstrip("/").partition("/")[2]
        with store._lock:
            known = store.objects.get(key)
            if self.command == "PUT":
                if known is not None and self.headers.get("If-None-Match") == "*":
                    return 412, {}, _error("PreconditionFailed")
                meta = {n: v for n, v in self.headers.items() if n.lower().startswith("x-amz-meta")}
                store.objects[key] = body, meta
                return 200, {"ETag": '"e"'}, b""
            if self.command == "DELETE":
                store.objects.pop(key, None)
                return 204, {}, b""
        if known is None:
            return 404, {}, _error("NoSuchKey")
        return 200, {"ETag": '"e"', "Content-Length": str(len(known[0])), **known[1]}, known[0]

    def _wrong_time(self, query: dict[str, list[str]]) -> str:
        """What S3 answers to a request of another time, or nothing."""
        text = query.get("X-Amz-Date", [self.headers.get("X-Amz-Date") or ""])[0]
        signed = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        now = datetime.now(UTC) + self.server.store.ahead
        if "X-Amz-Expires" not in query:
            return "RequestTimeTooSkewed" if abs(now - signed) > MOST_SKEW else ""
        until = signed + timedelta(seconds=int(query["X-Amz-Expires"][0]))
        return "AccessDenied" if now > until or signed - now > MOST_SKEW else ""


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
