"""Every client of ours behind a proxy with a login, to servers of a private authority; and what is checked then."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.egress.conftest import PASSWORD, Authority
from tests.unit.egress.proxy import Asked, ProxyServer
from tests.unit.registry.makers import push_image
from tests.unit.registry.server import registry
from tests.unit.registry.test_ecr import KEYS, Amazon
from tests.unit.source.archives import Made, tar
from tests.unit.source.gitserver import GitServer, make_repository
from tests.unit.source.webserver import WebServer, body
from tests.unit.store.s3server import Server as S3Server
from tests.unit.store.s3server import settings as s3_settings

from sentinel.clock import SystemClock
from sentinel.errors import InfrastructureError, SentinelError, UserError
from sentinel.image.reference import parse_reference
from sentinel.network import Policy
from sentinel.registry import Patience, RegistryClient
from sentinel.registry.ecr import ecr_login
from sentinel.reports.post import Post
from sentinel.reports.sender import NotSent, Sender
from sentinel.resolver.messages import FactsRequest, ImageWanted
from sentinel.resolver.work import work
from sentinel.source.archive import inspect
from sentinel.source.failure import Deadline
from sentinel.source.git import Resolved, resolve
from sentinel.steps.web import Web
from sentinel.store.s3 import S3Store

QUICK = Patience(tries=1, connect_seconds=60, read_seconds=60)
ANY = Policy.make()
"""What the tests' servers need where a proxy connects to them: no name of theirs has an address here."""


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("git") / "served"
    root.mkdir()
    return root, dict(make_repository(root, "project.git"))


@pytest.fixture
def git(served: tuple[Path, dict[str, Any]], authority: Authority) -> Iterator[GitServer]:
    server = GitServer(served[0], tls=authority.made)
    yield server
    server.stop()


@pytest.fixture
def web(authority: Authority) -> Iterator[WebServer]:
    server = WebServer(authority.context())
    yield server
    server.close()


def read(url: str, scratch: Path, policy: Policy = ANY, *, ca: str = "") -> Resolved:
    return resolve(
        url=url,
        ref="main",
        credentials=None,
        paths=["wercker.yml"],
        cache_dir=scratch / "git",
        deadline=Deadline(60),
        ca=ca,
        policy=policy,
    )


def look(url: str, scratch: Path, policy: Policy = ANY, *, ca: str = "") -> Any:
    return inspect(
        url=url,
        sha256="",
        credentials=None,
        paths=(),
        cache_dir=scratch / "archive",
        deadline=Deadline(60),
        ca=ca,
        policy=policy,
    )


@asynccontextmanager
async def reporter(
    policy: Policy = ANY, *, ca: str = ""
) -> AsyncIterator[Callable[[str], Awaitable[int]]]:
    async with Sender(policy, clock=SystemClock(), timeout=60, ca=ca) as sender:

        async def send(url: str) -> int:
            return (await sender.send(Post(url=url, body=b"{}", headers={}), secret=True)).status

        yield send


def test_git(
    git: GitServer,
    proxy: ProxyServer,
    authority: Authority,
    served: tuple[Path, dict[str, Any]],
    scratch: Path,
) -> None:
    proxy.names["git.corp.example:443"] = git.server_address[1]
    found = read("https://git.corp.example/open/project.git", scratch, ca=authority.pem)
    assert found.commit == served[1]["second"]
    assert proxy.servers() == {"git.corp.example:443"}


def test_git_by_plain_http(
    proxy: ProxyServer, served: tuple[Path, dict[str, Any]], scratch: Path
) -> None:
    server = GitServer(served[0])
    proxy.names["git.corp.example:80"] = server.server_address[1]
    try:
        found = read("http://git.corp.example/open/project.git", scratch)
    finally:
        server.stop()
    assert found.commit == served[1]["second"]
    assert proxy.servers() == {"git.corp.example:80"}


def test_an_archive(
    web: WebServer, proxy: ProxyServer, authority: Authority, scratch: Path
) -> None:
    proxy.names["files.corp.example:443"] = web.port
    web.answers["/a.tar"] = body(tar(Made(name="wercker.yml")))
    assert look("https://files.corp.example/a.tar", scratch, ca=authority.pem).digest
    assert proxy.asked == [Asked("CONNECT", "files.corp.example:443")]


def test_a_step_registry(web: WebServer, proxy: ProxyServer, authority: Authority) -> None:
    proxy.names["steps.corp.example:443"] = web.port
    web.answers["/index.json"] = body(b'{"steps": []}')
    asker = Web(home="https://steps.corp.example", ca=authority.pem, policy=ANY)
    answer = asker.get_json(
        "https://steps.corp.example/index.json", limit=1000, deadline=Deadline(60)
    )
    assert answer == (200, {"steps": []})
    assert proxy.servers() == {"steps.corp.example:443"}


async def test_a_registry_to_push_and_to_look_up(
    proxy: ProxyServer, authority: Authority, tmp_path: Path
) -> None:
    """The agent pushes with this client; the resolver's child looks up as it is asked to."""
    made = authority.made
    with registry(tmp_path / "registry", tls=(made.certificate, made.key)) as host:
        proxy.names["registry.corp.example:443"] = int(host.partition(":")[2])
        name = parse_reference("registry.corp.example/team/box:1")
        async with RegistryClient(policy=ANY, patience=QUICK, ca=authority.pem) as client:
            pushed = await push_image(client, name)
        request = FactsRequest(images=(ImageWanted(name=str(name)),), registries_ca=authority.pem)
        done = await asyncio.to_thread(work, request, tmp_path, asyncio.run)
    assert done.answer.failure is None
    assert done.answer.facts is not None
    assert done.answer.facts.images[0].digest == pushed["digest"]
    assert {each.method for each in proxy.asked} == {"CONNECT"}


async def test_a_registry_that_speaks_plain_http(proxy: ProxyServer, tmp_path: Path) -> None:
    with registry(tmp_path / "registry") as host:
        proxy.names["registry.corp.example:5000"] = int(host.partition(":")[2])
        name = parse_reference("registry.corp.example:5000/team/box:1")
        insecure = ["registry.corp.example:5000"]
        async with RegistryClient(policy=ANY, patience=QUICK, insecure=insecure) as client:
            pushed = await push_image(client, name)
            assert await client.resolve(name) == pushed["digest"]
    assert {"HEAD", "POST", "PUT"} <= {each.method for each in proxy.asked}


async def test_the_store(proxy: ProxyServer, authority: Authority) -> None:
    server = S3Server()
    server.socket = authority.context().wrap_socket(server.socket, server_side=True)
    proxy.names["s3.corp.example:443"] = server.server_port
    known = {"endpoint": "https://s3.corp.example", "ca": authority.pem}
    store = S3Store.connect(s3_settings(server.server_port).model_copy(update=known))
    try:
        await store.put("key", b"content")
        assert await store.get("key") == b"content"
    finally:
        store.close()
        server.shutdown()
        server.server_close()
    assert proxy.servers() == {"s3.corp.example:443"}


async def test_a_receiver_of_reports(proxy: ProxyServer, authority: Authority) -> None:
    server = WebServer(authority.context())
    proxy.names["hooks.corp.example:443"] = server.port
    try:
        async with reporter(ca=authority.pem) as send:
            # Python's server knows no POST: that it answers is enough.
            assert await send("https://hooks.corp.example/hook") == 501
    finally:
        server.close()
    assert proxy.asked == [Asked("CONNECT", "hooks.corp.example:443")]


async def test_an_authority_is_added_and_none_is_trusted_unasked(
    git: GitServer, web: WebServer, proxy: ProxyServer, scratch: Path, tmp_path: Path
) -> None:
    """A proxy that ends TLS itself is found out, unless its authority is given."""
    proxy.names["git.corp.example:443"] = git.server_address[1]
    for host in ("files", "registry", "hooks"):
        proxy.names[f"{host}.corp.example:443"] = web.port
    with pytest.raises(SentinelError, match="is not trusted"):
        read("https://git.corp.example/open/project.git", scratch)
    with pytest.raises(SentinelError, match="is not trusted"):
        look("https://files.corp.example/a.tar", scratch)
    async with RegistryClient(policy=ANY, patience=QUICK) as client:
        with pytest.raises(InfrastructureError, match=r"not trusted .*chart's value ca"):
            await client.resolve(parse_reference("registry.corp.example/team/box:1"))
    async with reporter() as send:
        with pytest.raises(NotSent, match="not trusted"):
            await send("https://hooks.corp.example/hook")
    assert web.asked == []


async def test_no_proxy_is_the_same_for_all(
    web: WebServer,
    git: GitServer,
    proxy: ProxyServer,
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Direct connections, which the address rules check: nothing is asked of the proxy."""
    monkeypatch.setenv("no_proxy", ".corp.example")
    real = socket.getaddrinfo

    def resolve_all(host: Any, *args: Any, **more: Any) -> Any:
        name = "192.0.2.1" if str(host).endswith("corp.example") else host
        return real(name, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_all)
    policy = Policy.make(denied=["192.0.2.0/24"])
    await refused_everywhere(policy, scratch)
    assert proxy.asked == []


async def test_a_name_that_means_a_refused_address_here_is_not_given_to_the_proxy(
    proxy: ProxyServer, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolve_all(host: Any, *args: Any, **more: Any) -> Any:
        name = "10.96.0.10" if str(host).endswith("corp.example") else host
        return real(name, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_all)
    await refused_everywhere(Policy.make(denied=["10.96.0.0/12"]), scratch)
    assert proxy.asked == []


async def refused_everywhere(policy: Policy, scratch: Path) -> None:
    why = "an address of the cluster itself"
    with pytest.raises(UserError, match=why):
        read("https://git.corp.example/open/project.git", scratch, policy)
    with pytest.raises(UserError, match=why):
        look("https://files.corp.example/a.tar", scratch, policy)
    with pytest.raises(UserError, match=why):
        Web(policy=policy).get_json("https://x.corp.example/", limit=9, deadline=Deadline(60))
    async with RegistryClient(policy=policy, patience=QUICK) as client:
        with pytest.raises(UserError, match=why):
            await client.resolve(parse_reference("registry.corp.example/team/box:1"))
    async with reporter(policy) as send:
        with pytest.raises(NotSent, match=why):
            await send("https://hooks.corp.example/hook")


async def test_an_address_is_refused_behind_a_proxy_too(proxy: ProxyServer, scratch: Path) -> None:
    policy = Policy.make(denied=["10.96.0.0/12"])
    with pytest.raises(UserError, match="cluster itself"):
        read("https://10.96.0.1/open/project.git", scratch, policy)
    with pytest.raises(UserError, match="cluster itself"):
        look("https://10.96.0.1/a.tar", scratch, policy)
    async with RegistryClient(policy=policy, patience=QUICK) as client:
        with pytest.raises(UserError, match="cluster itself"):
            await client.resolve(parse_reference("10.96.0.1:5000/team/box:1"))
    async with reporter(policy) as send:
        with pytest.raises(NotSent, match="cluster itself"):
            await send("https://10.96.0.1/hook")
    assert proxy.asked == []


async def test_a_proxy_s_own_address_is_no_way_into_the_cluster(
    proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is on a refused address, and used; as a registry of a tenant's it is refused all the same."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with RegistryClient(policy=ANY, patience=QUICK) as client:
        with pytest.raises(UserError, match="loopback address"):
            await client.resolve(parse_reference(f"127.0.0.1:{proxy.server_port}/team/box:1"))
    assert proxy.asked == []


async def test_a_refused_login_is_reported_without_it(
    proxy: ProxyServer, scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.login = "Basic another"
    messages = []
    with pytest.raises(SentinelError, match="407") as from_git:
        read("https://git.corp.example/open/project.git", scratch)
    messages.append(from_git.value.message)
    with pytest.raises(SentinelError, match="the proxy answered with HTTP 407") as from_files:
        look("https://files.corp.example/a.tar", scratch)
    messages.append(from_files.value.message)
    async with RegistryClient(policy=ANY, patience=QUICK) as client:
        with pytest.raises(InfrastructureError, match="proxy denied the connection: HTTP 407") as e:
            await client.resolve(parse_reference("registry.corp.example/team/box:1"))
    messages.append(e.value.message)
    async with reporter() as send:
        with pytest.raises(NotSent, match="proxy denied the connection: HTTP 407") as unsent:
            await send("https://hooks.corp.example/hook")
    messages.append(str(unsent.value))
    store = S3Store.connect(
        s3_settings(1).model_copy(update={"endpoint": "https://s3.corp.example"})
    )
    with pytest.raises(InfrastructureError) as from_store:
        await store.check()
    store.close()
    messages.append(from_store.value.message)
    said = json.dumps([*messages, caplog.text])
    assert PASSWORD not in said and "p%40ss" not in said


async def test_a_login_of_amazon(proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with Amazon() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        proxy.names["ecr.corp.example:80"] = server.server_port
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", "http://ecr.corp.example")
        found = await ecr_login(KEYS, policy=ANY)
        server.shutdown()
        thread.join()
    assert found.username == "AWS"
    assert proxy.servers() == {"ecr.corp.example:80"}
