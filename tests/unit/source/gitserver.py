"""A smart-http git server on loopback: git's own http-backend behind Python's http.server.

Paths: /open/<repo> to everybody, /private/<repo> with basic auth, /bearer/<repo> with TOKEN, /moved/<repo> redirects to
`redirect_to`, /flaky/<repo> answers 503 for the first `failures` requests, /broken/<repo> always, /slow/<repo> never
answers. With certificates it speaks https, as localhost. An `old` one gives only commits that a ref points at.
`requests` notes (path, Authorization header or "").
"""

from __future__ import annotations

import base64
import contextlib
import os
import ssl
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.lab.tls import Certificates

USER, PASSWORD, TOKEN = "builder", "s3cr3t/p%ss", "t0k3n.of-ours"


class GitServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, root: Path, host: str = "127.0.0.1", tls: Certificates | None = None
    ) -> None:
        super().__init__((host, 0), _Handler)
        self.tls = tls
        self.connections = 0
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.root = root
        self.failures = 0
        self.redirect_to = ""
        self.config: dict[str, str] = {}
        self.old = False
        self.requests: list[tuple[str, str]] = []
        self.stopping = threading.Event()
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        # A client that does not trust us hangs up in the middle of the handshake.
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            super().finish_request(request, client_address)

    @property
    def url(self) -> str:
        if self.tls:
            return f"https://localhost:{self.server_address[1]}"
        return f"http://{self.server_address[0]}:{self.server_address[1]}"  # type: ignore[str-bytes-safe]

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment: else Nagle waits 40 ms for an ACK
    server: GitServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            body = b""
            while size := int(self.rfile.readline().strip(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._serve(body)

    def _serve(self, body: bytes) -> None:
        self.server.requests.append((self.path, self.headers.get("Authorization", "")))
        kind, _, rest = self.path.lstrip("/").partition("/")
        if kind == "moved":
            return self._answer(302, b"", {"Location": f"{self.server.redirect_to}/{rest}"})
        if kind == "slow":
            self.server.stopping.wait(30)
            self.close_connection = True
            return None
        if kind == "broken" or (kind == "flaky" and self.server.failures > 0):
            self.server.failures -= 1
            return self._answer(503, b"down for maintenance\n")
        if kind == "forbidden":
            return self._answer(403, b"no\n")
        if kind == "bearer" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, b"", {"WWW-Authenticate": 'Bearer realm="git"'})
        if kind == "private":
            token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {token}":
                return self._answer(401, b"", {"WWW-Authenticate": 'Basic realm="git"'})
        self._cgi(rest, body)
        return None

    def _cgi(self, rest: str, body: bytes) -> None:
        path, _, query = rest.partition("?")
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{path}",
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": "" if self.server.old else self.headers.get("Git-Protocol", ""),
        }
        config = {"safe.directory": "*"} | self.server.config
        env["GIT_CONFIG_COUNT"] = str(len(config))
        for index, (name, value) in enumerate(config.items()):
            env[f"GIT_CONFIG_KEY_{index}"] = name
            env[f"GIT_CONFIG_VALUE_{index}"] = value
        done = subprocess.run(
            ["git", "http-backend"], env=env, input=body, check=False, capture_output=True
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200").split()[0])
        self._answer(status, content, headers)

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def git(*arguments: str, cwd: Path) -> str:
    """Run git as the author of test repositories; its stripped output."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.com",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.com",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "protocol.file.allow",
        "GIT_CONFIG_VALUE_0": "always",
    }
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, env=env, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_repository(root: Path, name: str, *, filters: bool = True) -> dict[str, str]:
    """A bare repository root/name with two commits, branches, tags and a pull request; name → commit id."""
    work = root.parent / f"work-{name}"
    work.mkdir()
    git("init", "-q", "-b", "main", cwd=work)
    (work / "wercker.yml").write_text("box: debian\n")
    (work / "deep" / "er").mkdir(parents=True)
    (work / "deep" / "er" / "file").write_text("x" * 1000)
    (work / "run.sh").write_text("#!/bin/sh\n")
    (work / "run.sh").chmod(0o755)
    (work / "link.yml").symlink_to("wercker.yml")
    git("add", ".", cwd=work)
    git("commit", "-q", "-m", "First subject\n\nand a body", cwd=work)
    first = git("rev-parse", "HEAD", cwd=work)
    git("tag", "light", cwd=work)
    git("tag", "-a", "v1.0", "-m", "annotated", cwd=work)
    (work / "wercker.yml").write_text("box: busybox\n")
    git("commit", "-q", "-am", "Second subject", cwd=work)
    second = git("rev-parse", "HEAD", cwd=work)
    git("branch", "feature/one", first, cwd=work)
    git("update-ref", "refs/pull/7/head", first, cwd=work)
    git("branch", "twice", first, cwd=work)
    git("update-ref", "refs/tags/twice", second, cwd=work)
    git("checkout", "-q", "--detach", cwd=work)
    (work / "wercker.yml").write_text("box: gone\n")
    git("commit", "-q", "-am", "Unreachable", cwd=work)
    lost = git("rev-parse", "HEAD", cwd=work)
    git("update-ref", "refs/hidden/lost", lost, cwd=work)
    git("checkout", "-q", "main", cwd=work)
    bare = root / name
    git("clone", "-q", "--mirror", str(work), str(bare), cwd=root)
    if filters:
        git("config", "uploadpack.allowFilter", "true", cwd=bare)
    return {"first": first, "second": second, "lost": lost}


class Maker:
    """Makes commits that no honest git would, and serves them from a bare repository."""

    def __init__(self, bare: Path) -> None:
        self.bare = bare
        bare.mkdir()
        git("init", "-q", "--bare", "-b", "main", cwd=bare)

    def blob(self, content: str | bytes) -> str:
        return self._object("blob", content.encode() if isinstance(content, str) else content)

    def tree(self, *entries: tuple[str, str, str]) -> str:
        """A tree of (mode, name, id), in just that order, whatever the names are."""
        lines = (
            f"{mode} {name}".encode() + b"\0" + bytes.fromhex(object_id)
            for mode, name, object_id in entries
        )
        return self._object("tree", b"".join(lines))

    def commit(self, tree: str) -> str:
        """A commit of the tree, which becomes main."""
        commit = git("commit-tree", tree, "-m", "made", cwd=self.bare)
        git("update-ref", "refs/heads/main", commit, cwd=self.bare)
        return commit

    def files(self, files: Mapping[str, str], *, links: Mapping[str, str] | None = None) -> str:
        """A commit with these files in the root, and `links` of path → commit to other repositories."""
        entries = [("100644", name, self.blob(text)) for name, text in files.items()]
        entries += [("160000", path, commit) for path, commit in (links or {}).items()]
        return self.commit(self.tree(*sorted(entries, key=lambda entry: entry[1])))

    def _object(self, kind: str, data: bytes) -> str:
        made = subprocess.run(
            ["git", "hash-object", "-w", "--literally", "-t", kind, "--stdin"],
            input=data,
            cwd=self.bare,
            check=True,
            capture_output=True,
        )
        return made.stdout.decode().strip()
