"""A git server over http, with git's own `git http-backend` behind it.

`/public/…` is read without asking, `/private/…` wants a name and password, and so does every
push. With a certificate it speaks https. Not a general web server: no pages, one name.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import os
import socket
import ssl
import subprocess
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO
from urllib.parse import unquote, urlsplit

CHUNK = 1 << 16
# Any commit may be fetched by its name, as the well-known git hosts allow, and part of a
# repository too. The directories may belong to the user who ran the lab.
SETTINGS = (
    ("safe.directory", "*"),
    ("uploadpack.allowAnySHA1InWant", "true"),
    ("uploadpack.allowFilter", "true"),
    ("http.receivepack", "true"),
)


class Handler(BaseHTTPRequestHandler):
    """One request: who may do it, then git's own program by the CGI rules (RFC 3875)."""

    protocol_version = "HTTP/1.1"
    # Head, body and terminator are written one by one: each would wait for the last one's acknowledgement.
    disable_nagle_algorithm = True
    root: str
    user: str
    password: str

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        private = not path.startswith("/public/")
        pushing = path.endswith("/git-receive-pack") or "git-receive-pack" in url.query
        known = self._knows()
        if (private or pushing) and not known:
            self._refuse()
            return
        environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "GIT_PROJECT_ROOT": self.root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": url.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": self.client_address[0],
            "GIT_CONFIG_COUNT": str(len(SETTINGS)),
        }
        for number, (name, value) in enumerate(SETTINGS):
            environ[f"GIT_CONFIG_KEY_{number}"] = name
            environ[f"GIT_CONFIG_VALUE_{number}"] = value
        if known:
            environ["REMOTE_USER"] = self.user
        # The body first, then the answer: git reads all it was sent before it speaks.
        body = self._body()
        backend = subprocess.Popen(
            ["git", "http-backend"],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert backend.stdin is not None
        assert backend.stdout is not None
        try:
            backend.stdin.write(body)
            backend.stdin.close()
        except BrokenPipeError:
            pass  # It has answered without reading: an error, which follows.
        try:
            self._answer(backend.stdout)
        finally:
            backend.stdout.close()
            backend.wait()

    def _knows(self) -> bool:
        """Whether the request carries the right name and password."""
        scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
        expected = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return scheme.lower() == "basic" and hmac.compare_digest(encoded.strip(), expected)

    def _refuse(self) -> None:
        self._body()
        text = b"Authentication required\n"
        self.send_response(HTTPStatus.UNAUTHORIZED)
        self.send_header("WWW-Authenticate", 'Basic realm="lab"')
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _body(self) -> bytes:
        """The whole request body, with a Content-Length or in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _answer(self, output: IO[bytes]) -> None:
        """Turn what a CGI program prints into an http answer."""
        status, headers = "200 OK", []
        while line := output.readline().decode().strip():
            name, _, value = line.partition(":")
            if name.lower() == "status":
                status = value.strip()
            else:
                headers.append((name, value.strip()))
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while part := output.read1(CHUNK):  # type: ignore[attr-defined]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")


class Server(ThreadingHTTPServer):
    """Many builds may ask at once."""

    request_queue_size = 128
    daemon_threads = True

    def use_tls(self, certificate: str, key: str) -> None:
        """Speak https from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # The handshake is made when the connection's own thread first reads: a silent client holds up nobody.
        self.socket: socket.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="The lab's git server.")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", required=True, help="directory of public/ and private/")
    parser.add_argument("--certificate", help="PEM file; with it the server speaks https")
    parser.add_argument("--key", help="PEM file of the certificate's key")
    options = parser.parse_args()
    Handler.root = options.root
    Handler.user = os.environ["LAB_GIT_USER"]
    Handler.password = os.environ["LAB_GIT_PASSWORD"]
    server = Server((options.address, options.port), Handler)
    if options.certificate:
        server.use_tls(options.certificate, options.key)
    server.serve_forever()


if __name__ == "__main__":
    main()
