"""An S3 server that answers what a test has it answer. Signatures are not checked; the real protocol: tests/cluster."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from sentinel.settings import StoreSettings


class Server(ThreadingHTTPServer):
    """Objects of one bucket, by path-style URLs; `refusal` is (status, S3 error code) for every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}
        self.written: dict[str, datetime] = {}
        """When, of objects that were not written now."""
        self.refusal: tuple[int, str] | None = None
        self.refuse_deletes = False
        self.headers: list[dict[str, str]] = []
        self.thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self.thread.start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def handle_expect_100(self) -> bool:
        # What is written is buffered, and the client waits for this before it sends the body.
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def handle_any(self) -> None:
        self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        key = parts.path.removeprefix("/bucket").lstrip("/")
        store = self.server.objects
        if self.server.refusal:
            self.answer(*self.server.refusal)
        elif self.command == "DELETE" and self.server.refuse_deletes:
            self.answer(403, "AccessDenied")
        elif self.command == "PUT" and self.headers.get("If-None-Match") and key in store:
            self.answer(412, "PreconditionFailed")
        elif self.command == "PUT":
            store[key] = body
            self.server.digests[key] = self.headers.get("x-amz-meta-sha256", "")
            self.answer(200)
        elif self.command == "DELETE":
            store.pop(key, None)
            self.answer(204)
        elif not key and self.command == "GET":
            self.answer(200, content=self.listing(parse_qs(parts.query)))
        elif not key or key in store:
            content = store.get(key, b"")
            first, _, last = (
                self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            )
            part = content[int(first) : int(last) + 1 if last else None]
            status = 206 if "Range" in self.headers else 200
            self.answer(status, content=part, digest=self.server.digests.get(key, ""))
        else:
            self.answer(404, "NoSuchKey")

    do_GET = do_PUT = do_HEAD = do_DELETE = handle_any

    def listing(self, query: dict[str, list[str]]) -> bytes:
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        names = sorted(k for k in self.server.objects if k.startswith(prefix) and k > after)
        page, rest = names[:2], names[2:]
        rows = "".join(
            f'<Contents><Key>{k}</Key><Size>{len(self.server.objects[k])}</Size><ETag>"e"</ETag>'
            f"<LastModified>{self.server.written.get(k, datetime.now(UTC)).isoformat()}</LastModified></Contents>"
            for k in page
        )
        more = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if rest else ""
        truncated = "true" if rest else "false"
        return (
            f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{rows}</ListBucketResult>"
        ).encode()

    def answer(self, status: int, code: str = "", content: bytes = b"", digest: str = "") -> None:
        if code:
            content = f"<Error><Code>{code}</Code><Message>because</Message></Error>".encode()
        self.send_response(status)
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", formatdate(usegmt=True))
        if digest:
            self.send_header("x-amz-meta-sha256", digest)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content)


def settings(port: int) -> StoreSettings:
    return StoreSettings(
        bucket="bucket",
        endpoint=f"http://127.0.0.1:{port}",
        access_key_id=SecretStr("access"),
        secret_access_key=SecretStr("very-secret"),
        url_seconds=600,
    )
