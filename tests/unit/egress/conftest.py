"""One proxy with a login, one authority of its own, and servers that only the two together reach."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.lab.tls import Certificates, certificates
from tests.unit.egress.proxy import ProxyServer

from sentinel.egress import Proxy
from sentinel.source.failure import Deadline

USER, PASSWORD = "ci", "p@ss/w0rd"


@dataclass(frozen=True)
class Authority:
    """`pem` is the authority's certificate, `made` a certificate of it for every server below corp.example."""

    pem: str
    made: Certificates

    def context(self) -> ssl.SSLContext:
        """What such a server serves with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.made.certificate, self.made.key)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = certificates(tmp_path_factory.mktemp("authority"), "*.corp.example")
    return Authority(made.authority.read_text(), made)


@pytest.fixture(autouse=True)
def no_proxies_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried again at once."""

    def rest(deadline: Deadline, seconds: float) -> None:
        deadline.left(seconds)

    monkeypatch.setattr(Deadline, "rest", rest)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProxyServer]:
    """The environment's proxy. Nothing else knows the names of `corp.example`."""
    login = Proxy(host="unused", port=1, username=USER, password=PASSWORD)
    server = ProxyServer(login=login.authorization)
    url = Proxy(host="127.0.0.1", port=server.server_port, username=USER, password=PASSWORD)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, url.full_url)
    yield server
    server.stop()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path
