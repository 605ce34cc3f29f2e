"""Registries that a tenant runs: what they claim is checked, and what they send is bounded in bytes and time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, SentinelError, UserError
from sentinel.image.dockerconfig import keychain_from_docker_config
from sentinel.image.manifest import (
    CONFIGURED_LIMIT,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    ImageInfo,
    choose_platform,
    digest_of,
    image_info,
    matches,
    parse_descriptor,
    parse_manifest,
)
from sentinel.image.reference import parse_reference
from sentinel.network import Denied, Policy
from sentinel.registry import Patience, RegistryClient
from sentinel.registry.answers import registry_words
from sentinel.registry.auth import parse_challenges, parse_token
from sentinel.registry.client import bytes_body
from sentinel.registry.transport import Transport, is_loopback
from sentinel.settings import Settings
from sentinel.settings.images import ImageSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

QUICK = Patience(tries=2, pause=0.01, longest_pause=0.02)
STRICT = replace(QUICK, read_seconds=1.0)
"""For registries that are too slow."""


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A registry of one function; gives host:port."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def image(**run: Any) -> tuple[bytes, bytes]:
    """Config and manifest of an image without layers."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": run}).encode()
    pointer = {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)}
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": pointer, "layers": []}
    return config, json.dumps(manifest).encode()


async def test_a_digest_that_a_registry_merely_claims_gives_nothing_of_another_repository() -> None:
    config, manifest = image(Env=["DB_PASSWORD=hunter2"])

    async def private(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Basic dTpw":
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        body = config if "/blobs/" in request.path else manifest
        return web.Response(body=body, headers={"Docker-Content-Digest": digest_of(manifest)})

    async def claiming(request: web.Request) -> web.Response:
        claimed = {"Docker-Content-Digest": digest_of(manifest)}
        return web.Response(status=200 if request.method == "HEAD" else 404, headers=claimed)

    async with serving(private) as theirs, serving(claiming) as own:
        login = {"auths": {theirs: {"username": "u", "password": "p"}}}
        keychain = keychain_from_docker_config(json.dumps(login), source="test")
        async with RegistryClient(credentials=keychain) as client:
            known = await client.look_up(parse_reference(f"{theirs}/team/private:1"))
            again = await client.look_up(parse_reference(f"{theirs}/team/private:1"))
        assert known.env == again.env == (("DB_PASSWORD", "hunter2"),)
        async with RegistryClient() as client:
            with pytest.raises(UserError, match="not found"):
                await client.look_up(parse_reference(f"{own}/x/y:1"))


@pytest.mark.parametrize(
    "claimed", ["sha512:../../../api/v1/x", "sha256:short", "latest", "x" * 8000]
)
async def test_a_digest_that_is_none_is_not_used(claimed: str) -> None:
    config, manifest = image(User="me")
    asked = []

    async def odd(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        body = config if "/blobs/" in request.path else manifest
        return web.Response(body=body, headers={"Docker-Content-Digest": claimed})

    async with serving(odd) as host, RegistryClient(patience=QUICK) as client:
        info = await client.look_up(parse_reference(f"{host}/x/y:1"))
    assert (info.digest, info.user) == (digest_of(manifest), "me")
    assert {path.rpartition("/")[2] for path in asked} == {
        "1",
        digest_of(manifest),
        digest_of(config),
    }


@pytest.mark.parametrize("digest", ["../../../token", "sha256:" + "g" * 64, "", 7])
def test_descriptors_have_digests_and_not_paths(digest: object) -> None:
    with pytest.raises(UserError, match="no valid type, digest or size"):
        parse_descriptor({"mediaType": "x", "digest": digest, "size": 1}, what="it")


def test_content_is_compared_by_the_digests_own_algorithm() -> None:
    sha512 = (
        "sha512:ee26b0dd4af7e749aa1a8ee3c10ae9923f618980772e473f8819a5d4940e0db2"
        "7ac185f8a0e1d5f84f88bc887fd67b143732c304cc5fa9ad8e6f57f50028a8ff"
    )
    assert matches(b"test", sha512)
    assert matches(b"test", digest_of(b"test"))
    assert not matches(b"other", sha512)
    assert not matches(b"test", "md5:098f6bcd4621d373cade4e832627b4f6")


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("localhost:5000", True),
        ("127.0.0.1", True),
        ("127.1.2.3:5000", True),
        ("[::1]:5000", True),
        ("127.attacker.example", False),
        ("127.0.0.1.attacker.example:80", False),
        ("localhost.attacker.example", False),
        ("registry.lab:5000", True),
        ("registry.lab:5001", False),
        ("listed", True),
    ],
)
def test_only_loopback_and_listed_registries_speak_plain_http(host: str, plain: bool) -> None:
    transport = Transport(
        credentials=keychain_from_docker_config("{}", source="test"),
        insecure=["registry.lab:5000", "listed"],
    )
    reference = replace(parse_reference("x/y"), registry=host)
    assert transport.is_insecure(reference) is plain
    assert transport.base_url(reference).startswith("http://" if plain else "https://")


@pytest.mark.parametrize("host", ["", "127", "0x7f.1", "127.0.0.1.", "::ffff:10.0.0.1"])
def test_what_only_looks_like_loopback_is_not(host: str) -> None:
    assert not is_loopback(host)


ONLY_ONE = Policy.make(allowed=["127.0.0.1/32"])


async def test_registries_do_not_lead_to_addresses_of_the_cluster() -> None:
    """Every hop is checked: the registry itself, a redirect to either kind of address, and a token server."""

    async def leading(request: web.Request) -> web.Response:
        port = request.url.port
        if "/redirect/" in request.path:
            return web.Response(status=307, headers={"Location": f"http://127.0.0.2:{port}/x"})
        if "/name/" in request.path:
            return web.Response(status=307, headers={"Location": f"http://[::1]:{port}/x"})
        if "/wide/" in request.path:
            # aiohttp connects to 127.0.0.2.
            return web.Response(
                status=307,
                headers={"Location": f"http://１２７。0.0.2:{port}/x"},  # noqa: RUF001
            )
        if "/token/" in request.path:
            realm = f'Bearer realm="http://127.0.0.2:{port}/token"'
            return web.Response(status=401, headers={"WWW-Authenticate": realm})
        return web.Response(body=image()[1])

    async with (
        serving(leading) as host,
        RegistryClient(patience=QUICK, policy=ONLY_ONE) as client,
        RegistryClient(patience=QUICK, policy=Policy.make(denied=["10.96.0.0/12"])) as strict,
    ):
        await client.get_image_manifest(parse_reference(f"{host}/plain/x:1"))
        for path in ("redirect", "name", "wide", "token"):
            with pytest.raises(UserError, match=r"denied: .* is a loopback address") as caught:
                await client.get_image_manifest(parse_reference(f"{host}/{path}/x:1"))
            assert caught.value.reason is Reason.REGISTRY_NOT_ALLOWED
            with pytest.raises(UserError, match="is a loopback address"):
                async for _ in client.stream_blob(parse_reference(f"{host}/{path}/x"), "sha256:0"):
                    pass
        for registry in (host, "10.96.0.1:443", "169.254.169.254", "[::1]:5000"):
            with pytest.raises(UserError, match=r"network\.allowed"):
                await strict.get_image_manifest(parse_reference(f"{registry}/x:1"))


@pytest.mark.parametrize("target", ["https://[", "https://x:99999/", "https://a\\\\@b/"])
async def test_a_redirect_to_what_is_not_a_url_is_the_registrys_fault(target: str) -> None:
    async def leading(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": target})

    async with (
        serving(leading) as host,
        RegistryClient(patience=QUICK, policy=Policy.make(allowed=["127.0.0.0/8"])) as client,
    ):
        with pytest.raises(SentinelError) as caught:
            await client.look_up(parse_reference(f"{host}/a:b"))
    assert caught.value.reason is Reason.REGISTRY_UNAVAILABLE


def test_registries_that_the_settings_name_may_be_in_the_cluster() -> None:
    settings = Settings(
        images=ImageSettings(
            prefix="registry.svc:5000/builds",
            allowed_registries=["mirror.svc"],
            allowed_repositories=["*/team/*", "other.svc/{namespace}/*"],
        )
    )
    policy = settings.registry_policy()
    for host, port in (("registry.svc", 5000), ("mirror.svc", 443), ("other.svc", 443)):
        policy.check("10.96.0.7", host=host, port=port)
    with pytest.raises(Denied):
        policy.check("10.96.0.7", host="tenant.example", port=443)


async def test_many_long_authentication_headers_cost_nothing() -> None:
    """e4: each of 120 headers of one long word cost a quadratic search in the operator's loop."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        offer = b"WWW-Authenticate: Bearer " + b"a" * 7900 + b"\r\n"
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n" + offer * 120 + b"\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, RegistryClient(patience=QUICK) as client:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(InfrastructureError) as caught:
            await client.look_up(parse_reference(f"{host}/x:1"))
    assert caught.value.reason is Reason.REGISTRY_UNAVAILABLE


def test_challenges_are_read_within_bounds() -> None:
    good = 'Bearer realm="https://auth.example/token",service="r"'
    assert parse_challenges(["Bearer " + "a" * 7900, good])[0].service == "r"
    assert parse_challenges(["Basic"] * 8 + [good])[0].scheme == "basic"
    for hostile in ("a" * 4000, '="' * 2000, "a=" * 2000, "a " * 2000, 'a="' + "\\" * 4000):
        assert parse_challenges([f"Bearer {hostile}"])[0].realm == ""


def test_a_token_lives_a_day_at_most() -> None:
    token = parse_token({"token": "t", "expires_in": 10**400}, now=0.0)
    assert token is not None
    assert token.usable_until <= 86400


async def trickle(request: web.Request) -> web.StreamResponse:
    """A byte now and then: never silent, and never done."""
    response = web.StreamResponse(headers={"Content-Type": OCI_MANIFEST})
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


async def test_a_registry_that_trickles_is_given_up() -> None:
    async with serving(trickle) as host, RegistryClient(patience=STRICT) as client:
        with pytest.raises(InfrastructureError, match=r"slower than 32 KiB/s, or silent for 1 s"):
            await client.get_image_manifest(parse_reference(f"{host}/x:1"))
        with pytest.raises(TimeoutError, match="slower than"):
            async for _ in client.stream_blob(parse_reference(f"{host}/x:1"), digest_of(b"")):
                pass


async def test_an_upload_that_is_taken_too_slowly_is_given_up() -> None:
    taken = 0

    async def slow(request: web.Request) -> web.Response:
        nonlocal taken
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": "/upload"})
        while await request.content.read(1):
            taken += 1
            await asyncio.sleep(0.02)
        return web.Response(status=201)

    content = bytes(8 << 20)
    async with serving(slow) as host, RegistryClient(patience=STRICT) as client:
        with pytest.raises(InfrastructureError, match="slower than"):
            await client.put_blob(
                parse_reference(f"{host}/x"),
                digest=digest_of(content),
                size=len(content),
                body=bytes_body(content),
            )
    assert 0 < taken < len(content)


async def test_a_consumer_may_take_its_time() -> None:
    """Only the registry's own time counts: a layer that is copied waits for the registry it goes to."""
    content = bytes(3 << 20)
    patience = replace(QUICK, read_seconds=3.0)  # less, and a busy machine is too slow itself

    async def quick(request: web.Request) -> web.Response:
        return web.Response(body=content)

    async with serving(quick) as host, RegistryClient(patience=patience) as client:
        got = 0
        async for part in client.stream_blob(parse_reference(f"{host}/x"), digest_of(content)):
            got += len(part)
            if got == len(part):
                await asyncio.sleep(1.5 * patience.read_seconds)
    assert got == len(content)


def facts(config: dict[str, Any]) -> ImageInfo:
    content, manifest = json.dumps({"config": config}).encode(), image()[1]
    reference = parse_reference("registry.lab/x:1").pinned(digest_of(manifest))
    return image_info(content, reference=reference, manifest=parse_manifest(manifest, what="it"))


def test_an_image_keeps_only_what_is_needed_and_that_is_bounded() -> None:
    large = facts({"Labels": {"text": "x" * 4_000_000}, "Env": ["A=1"], "ExposedPorts": ["80/tcp"]})
    assert (large.configured_bytes, large.env, large.ports) == (2, (("A", "1"),), ())
    with pytest.raises(UserError, match=f"{CONFIGURED_LIMIT} at most") as caught:
        facts({"Env": ["A=" + "x" * CONFIGURED_LIMIT]})
    assert caught.value.reason is Reason.IMAGE_NOT_FOUND


def test_messages_are_short_and_without_control_characters() -> None:
    errors = [{"code": "X\x1b[2J", "message": "y" * 1000}] * 1000
    words = registry_words(json.dumps({"errors": errors}).encode())
    assert words.startswith("X [2J: yyy")
    assert len(words) == 300
    entries = [
        {"platform": {"os": "linux", "architecture": f"\x1b{n}" + "z" * 999}} for n in range(999)
    ]
    with pytest.raises(UserError) as caught:
        choose_platform(
            {"mediaType": OCI_INDEX, "manifests": entries}, platform=("linux", "amd64"), what="it"
        )
    assert len(caught.value.message) < 1000
    assert caught.value.message.isprintable()
    assert "and 983 more" in caught.value.message
