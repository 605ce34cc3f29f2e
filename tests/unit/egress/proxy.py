"""An HTTP proxy on loopback: CONNECT, and requests with absolute URLs. It resolves names itself, as a real one does."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP = frozenset({"connection", "proxy-connection", "proxy-authorization", "keep-alive"})


@dataclass(frozen=True)
class Asked:
    """A request: its method and the server that it is for, as host:port."""

    method: str
    server: str


class ProxyServer(ThreadingHTTPServer):
    """`names` has the loopback port of each host:port that it resolves. With `login` it asks for that one."""

    daemon_threads = True

    def __init__(self, *, login: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.names: dict[str, int] = {}
        self.asked: list[Asked] = []
        self.login = login
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def servers(self) -> set[str]:
        """Whom it was asked for."""
        return {each.server for each in self.asked}

    def handle_error(self, *_: Any) -> None:
        """Clients that break off are what some tests are about."""

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: ProxyServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_CONNECT(self) -> None:
        port = self._admitted(self.path)
        if port is None:
            return
        self.close_connection = True
        with socket.create_connection(("127.0.0.1", port), 60) as there:
            self.send_response(200, "Connection established")
            self.end_headers()
            self.wfile.flush()
            _pump(self.connection, there)

    def _forward(self) -> None:
        parts = urlsplit(self.path)
        port = self._admitted(f"{parts.hostname}:{parts.port or 80}")
        if port is None:
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
        there = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(there):
            path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
            there.request(self.command, path, body=body, headers=headers)
            answer = there.getresponse()
            content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {*_HOP, "transfer-encoding", "content-length"}:
                self.send_header(name, value)
        length = answer.headers.get("Content-Length", "0")
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _forward

    def _admitted(self, server: str) -> int | None:
        """The port of that server, or None once the request is answered."""
        self.server.asked.append(Asked(self.command, server))
        port = self.server.names.get(server)
        if self.server.login and self.headers.get("Proxy-Authorization") != self.server.login:
            self._refuse(407)
        elif port is None:
            self._refuse(502)
        else:
            return port
        return None

    def _refuse(self, status: int) -> None:
        self.close_connection = True
        self.send_response(status)
        if status == 407:
            self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()


def _pump(here: socket.socket, there: socket.socket) -> None:
    """Bytes both ways until one side has ended."""
    other = {here: there, there: here}
    while True:
        ready, _, _ = select.select([here, there], [], [], 60)
        if not ready:
            return
        for each in ready:
            try:
                data = each.recv(65536)
                if not data:
                    return
                other[each].sendall(data)
            except OSError:
                return
