from __future__ import annotations

import copy
import hashlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.unit.fakeapi import FakeApi, Json

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError
from sentinel.kube.resources import RESULTS, SUBJECT_ACCESS_REVIEWS, Resource
from sentinel.results.app import serve
from sentinel.results.certificate import make_certificate
from sentinel.results.frontproxy import FrontProxy
from sentinel.results.server import ResultsServer
from sentinel.results.slots import Slots
from sentinel.store.objects import ObjectInfo

PREFIX = "ci/team/project-artifacts/app/uid-1/1/"
BASE = f"/apis/{RESULTS.group}/{RESULTS.version}"
LOG = f"{BASE}/namespaces/team/builds/hello/log"
OUTPUT = f"{BASE}/namespaces/team/builds/hello/output"
REQUEST_HEADER = {
    "requestheader-allowed-names": '["front-proxy-client"]',
    "requestheader-username-headers": '["X-Remote-User"]',
    "requestheader-uid-headers": '["X-Remote-Uid"]',
    "requestheader-group-headers": '["X-Remote-Group"]',
    "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
}


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and client certificates of it."""

    directory: Path

    @classmethod
    def make(cls, directory: Path) -> Authority:
        directory.mkdir()
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "2", "-subj", "/CN=front-proxy-ca"),
            *("-keyout", directory / "ca.key", "-out", directory / "ca.crt"),
        )
        return cls(directory)

    @property
    def pem(self) -> str:
        return (self.directory / "ca.crt").read_text()

    def client(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of a client of that common name."""
        certificate, key, request = (
            self.directory / f"{name}.{end}" for end in ("crt", "key", "csr")
        )
        if certificate.exists():
            return certificate, key
        openssl(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", key, "-out", request),
        )
        openssl(
            *("x509", "-req", "-in", request, "-days", "2", "-out", certificate),
            *("-CA", self.directory / "ca.crt", "-CAkey", self.directory / "ca.key"),
            "-CAcreateserial",
        )
        return certificate, key


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The front proxy's."""
    return Authority.make(tmp_path_factory.mktemp("proxy") / "ca")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another one."""
    return Authority.make(tmp_path_factory.mktemp("stranger") / "ca")


class Api(FakeApi):
    """The API server; `grants` has (user or group, namespace) that may read results, `reviews` what was asked."""

    def __init__(self) -> None:
        super().__init__(builds=[])
        self.grants: set[tuple[str, str]] = set()
        self.reviews: list[Json] = []

    async def create(self, resource: Resource, body: Json, *, namespace: str | None = None) -> Json:
        if resource != SUBJECT_ACCESS_REVIEWS:
            return await super().create(resource, body, namespace=namespace)
        self._answer("create", "review")
        self.reviews.append(copy.deepcopy(body["spec"]))
        place = body["spec"]["resourceAttributes"]["namespace"]
        names = {body["spec"]["user"], *body["spec"]["groups"]}
        return {"status": {"allowed": any((name, place) in self.grants for name in names)}}


class MemoryStore:
    """Objects in memory; `down` makes every call fail; `signed` are sums that differ from the bytes' own."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.signed: dict[str, str] = {}
        self.down = False
        self.reads: list[tuple[str, int, int]] = []

    def _up(self) -> None:
        if self.down:
            raise InfrastructureError(
                "bucket 'ci' at https://secret.internal: no", reason=Reason.STORE_FAILED
            )

    async def head(self, key: str) -> ObjectInfo | None:
        self._up()
        if (data := self.objects.get(key)) is None:
            return None
        digest = self.signed.get(key, hashlib.sha256(data).hexdigest())
        return ObjectInfo(key=key, size=len(data), etag="e", sha256=digest)

    async def read(self, key: str, *, start: int, length: int) -> bytes:
        self._up()
        self.reads.append((key, start, length))
        return self.objects[key][start : start + length]


@dataclass
class World:
    """A results server on loopback with real TLS, and what stands around it."""

    api: Api
    store: MemoryStore
    authority: Authority
    url: str
    slots: Slots

    async def get(
        self,
        path: str,
        *,
        user: str = "ada",
        groups: tuple[str, ...] = (),
        headers: dict[str, str] | None = None,
        client: tuple[Path, Path] | None = None,
        anonymous: bool = False,
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an answer, asked for as the API server does it unless the test says otherwise."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if not anonymous:
            context.load_cert_chain(*(client or self.authority.client("front-proxy-client")))
        sent = [("X-Remote-User", user)] if user else []
        sent += [("X-Remote-Group", group) for group in groups]
        sent += list((headers or {}).items())
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get(self.url + path, headers=sent) as answer,
        ):
            return answer.status, await answer.read(), dict(answer.headers)


def build(name: str = "hello", *, uid: str = "uid-1", **status: Any) -> Json:
    """A finished Build of two steps."""
    steps = [
        {
            "id": f"{step}-{number}",
            "name": "script",
            "displayName": step,
            "state": "Passed",
            "startTime": "2026-11-28T10:00:00Z",
            "completionTime": f"2026-11-28T10:0{number}:00Z",
        }
        for number, step in enumerate(("compile", "test"), start=1)
    ]
    return {
        "metadata": {"name": name, "namespace": "team", "uid": uid},
        "spec": {},
        "status": {
            "steps": steps,
            "results": {"prefix": PREFIX},
            "conditions": [{"type": "Finished", "status": "True", "reason": "Completed"}],
            **status,
        },
    }


@pytest.fixture
async def world(authority: Authority, tmp_path: Path) -> AsyncIterator[World]:
    """A server with the finished Build team/hello, which ada may read."""
    api, store = Api(), MemoryStore()
    api.add("builds", build())
    api.grants.add(("ada", "team"))
    store.objects = {
        f"{PREFIX}step/compile-1/log.txt": b"one\ntwo\nthree",
        f"{PREFIX}step/test-2/log.txt": b"fine\n",
        f"{PREFIX}output.tar": bytes(range(256)) * 8,
    }
    proxy = FrontProxy.read({**REQUEST_HEADER, "requestheader-client-ca-file": authority.pem})
    slots = Slots(total=4, share=2)
    server = ResultsServer(
        kube=api,  # type: ignore[arg-type]
        store=store,
        store_prefix="ci",
        proxy=proxy,
        slots=slots,
    )
    certificate, key = (await make_certificate("results.sentinel-system.svc")).write(tmp_path)
    context = proxy.context(certificate=certificate, key=key)
    async with serve(server.application(), context, port=0, host="127.0.0.1") as port:
        yield World(api, store, authority, f"https://127.0.0.1:{port}", slots)
