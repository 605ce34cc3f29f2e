"""The client against a real registry, with and without a login, and against one that hands out tokens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from tests.unit.registry import server
from tests.unit.registry.makers import push_image, push_index

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, UserError
from sentinel.image.dockerconfig import NO_CREDENTIALS, Keychain, keychain_from_docker_config
from sentinel.image.manifest import ImageInfo, digest_of
from sentinel.image.reference import parse_reference
from sentinel.registry import Patience, RegistryClient
from sentinel.registry.client import bytes_body, file_body

QUICK = Patience(tries=3, pause=0.01, longest_pause=0.02)
RUN = {
    "Env": ["PATH=/bin", "EMPTY=", "WITH=a=b"],
    "Entrypoint": ["/entry"],
    "Cmd": ["serve", "--now"],
    "User": "1000:1000",
    "WorkingDir": "/data",
    "ExposedPorts": {"6379/tcp": {}, "53/udp": {}},
    "Labels": {"b": "2", "a": "1"},
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server.registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that wants a login."""
    with server.registry(tmp_path_factory.mktemp("closed"), login=True) as address:
        yield address


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with RegistryClient(patience=QUICK) as opened:
        yield opened


def knowing(host: str, *, password: str = server.PASSWORD) -> Keychain:
    return keychain_from_docker_config(
        server.docker_config(host, password=password), source="Secret team/push"
    )


async def test_an_image_is_looked_up_with_its_whole_config(
    client: RegistryClient, host: str
) -> None:
    name = parse_reference(f"{host}/team/box:1")
    pushed = await push_image(client, name, run=RUN)
    info = await client.look_up(name)
    assert info == ImageInfo(
        reference=parse_reference(f"{host}/team/box:1@{pushed['digest']}"),
        digest=pushed["digest"],
        manifest_digest=pushed["digest"],
        config_digest=info.config_digest,
        architecture="amd64",
        os="linux",
        env=(("PATH", "/bin"), ("EMPTY", ""), ("WITH", "a=b")),
        entrypoint=("/entry",),
        cmd=("serve", "--now"),
        user="1000:1000",
        working_dir="/data",
        ports=("53/udp", "6379/tcp"),
    )
    # Asked for by digest it is the same image, and known already.
    by_digest = await client.look_up(name.pinned(pushed["digest"]))
    assert by_digest.config_digest == info.config_digest


async def test_an_index_is_referenced_itself_and_described_by_platform(
    client: RegistryClient, host: str
) -> None:
    name = parse_reference(f"{host}/team/multi:1")
    arm = await push_image(client, name.tagged("arm"), run={"User": "arm"}, architecture="arm64")
    amd = await push_image(client, name.tagged("amd"), run={"User": "amd"})
    index = await push_index(client, name, [arm, amd])
    here = await client.look_up(name)
    there = await client.look_up(name, platform=("linux", "arm64"))
    assert (here.digest, here.manifest_digest, here.user) == (index, amd["digest"], "amd")
    assert (there.digest, there.manifest_digest, there.user) == (index, arm["digest"], "arm")
    with pytest.raises(
        UserError, match=r"not available for linux/s390x.*linux/amd64, linux/arm64"
    ) as no:
        await client.look_up(name, platform=("linux", "s390x"))
    assert no.value.reason is Reason.ARCHITECTURE_MISMATCH


async def test_an_image_of_one_platform_is_for_that_one_only(
    client: RegistryClient, host: str
) -> None:
    """It was accepted unchecked, and ended on the node as exec format error."""
    name = parse_reference(f"{host}/team/arm:1")
    await push_image(client, name, architecture="arm64")

    with pytest.raises(
        UserError,
        match=r"team/arm.* is not available for linux/amd64: it is available for linux/arm64",
    ) as caught:
        await client.look_up(name)

    assert caught.value.reason is Reason.ARCHITECTURE_MISMATCH
    assert (await client.look_up(name, platform=("linux", "arm64"))).architecture == "arm64"


@pytest.mark.parametrize("name", ["team/missing:1", "team/box2:missing"])
async def test_a_missing_image_is_the_users(client: RegistryClient, host: str, name: str) -> None:
    await push_image(client, parse_reference(f"{host}/team/box2:there"))
    with pytest.raises(UserError, match="Check name and tag") as caught:
        await client.look_up(parse_reference(f"{host}/{name}"))
    assert caught.value.reason is Reason.IMAGE_NOT_FOUND
    assert f"{host}/{name}" in caught.value.message
    assert "MANIFEST_UNKNOWN" in caught.value.message


async def test_a_closed_registry_lets_in_who_knows_the_password(closed: str) -> None:
    name = parse_reference(f"{closed}/team/box:1")
    async with RegistryClient(credentials=knowing(closed), patience=QUICK) as insider:
        pushed = await push_image(insider, name)
        assert (await insider.look_up(name)).digest == pushed["digest"]


@pytest.mark.parametrize("wrong", [True, False], ids=["wrong password", "no password"])
async def test_a_closed_registry_keeps_others_out(closed: str, wrong: bool) -> None:
    name = parse_reference(f"{closed}/team/box:1")
    keychain = knowing(closed, password="guess") if wrong else NO_CREDENTIALS
    async with RegistryClient(credentials=keychain, patience=QUICK) as outsider:
        with pytest.raises(UserError, match=r"denied pull of .*UNAUTHORIZED") as read:
            await outsider.look_up(name)
        with pytest.raises(UserError, match="denied push to") as write:
            await outsider.put_blob(name, digest=digest_of(b"x"), size=1, body=bytes_body(b"x"))
    assert [error.value.reason for error in (read, write)] == [Reason.IMAGE_AUTH_FAILED] * 2


async def test_a_blob_is_mounted_from_a_repository_beside(
    client: RegistryClient, host: str
) -> None:
    source, target = (parse_reference(f"{host}/mount/{name}") for name in ("from", "to"))
    blob = b"a layer"
    digest = digest_of(blob)
    await client.put_blob(source, digest=digest, size=len(blob), body=bytes_body(blob))
    assert not await client.has_blob(target, digest)
    assert await client.mount_blob(target, digest, source=source)
    assert await client.has_blob(target, digest)
    assert not await client.mount_blob(target, digest_of(b"nowhere"), source=source)


async def test_a_file_is_uploaded_and_read_back(
    client: RegistryClient, host: str, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 20_000
    path = tmp_path / "layer"
    path.write_bytes(content)
    name = parse_reference(f"{host}/team/blob")
    digest = digest_of(content)
    await client.put_blob(name, digest=digest, size=len(content), body=file_body(path, part=70_000))
    assert b"".join([part async for part in client.stream_blob(name, digest)]) == content


async def test_a_blob_that_is_not_its_digest_is_refused(client: RegistryClient, host: str) -> None:
    name = parse_reference(f"{host}/team/blob")
    with pytest.raises(UserError, match="DIGEST_INVALID") as caught:
        await client.put_blob(name, digest=digest_of(b"x"), size=1, body=bytes_body(b"y"))
    assert caught.value.reason is Reason.PUSH_FAILED


async def test_a_body_that_breaks_is_sent_again_from_its_start(
    client: RegistryClient, host: str
) -> None:
    name = parse_reference(f"{host}/team/broken")
    content = b"0123456789" * 1000
    tries = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal tries
        tries += 1
        yield content[:5000]
        if tries < 3:
            raise OSError("the wire was cut")
        yield content[5000:]

    await client.put_blob(name, digest=digest_of(content), size=len(content), body=body)
    assert (tries, await client.has_blob(name, digest_of(content))) == (3, True)


async def test_a_manifest_without_its_blobs_is_refused(client: RegistryClient, host: str) -> None:
    lost = {"mediaType": "application/octet-stream", "digest": digest_of(b"lost"), "size": 4}
    media_type = "application/vnd.oci.image.manifest.v1+json"
    content = json.dumps(
        {"schemaVersion": 2, "mediaType": media_type, "config": lost, "layers": [lost]}
    ).encode()
    with pytest.raises(UserError, match="MANIFEST_BLOB_UNKNOWN"):
        await client.put_manifest(
            parse_reference(f"{host}/team/lost:1"), content, media_type=media_type
        )


async def test_a_registry_that_does_not_exist_is_the_clusters(client: RegistryClient) -> None:
    with pytest.raises(InfrastructureError) as caught:
        await client.look_up(parse_reference("127.0.0.1:1/box:1"))
    assert caught.value.reason is Reason.REGISTRY_UNAVAILABLE
    assert "127.0.0.1:1/box:1" in caught.value.message


class TokenRegistry:
    """A registry that wants bearer tokens, and fails `outage` times before it answers."""

    def __init__(self) -> None:
        self.outage = 0
        self.asked: list[tuple[str, list[str]]] = []
        self.config = b'{"os":"linux","architecture":"amd64","config":{"User":"me"}}'
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "digest": digest_of(self.config),
                    "size": len(self.config),
                },
                "layers": [],
            }
        ).encode()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/token", self.token)
        app.router.add_get("/v2/{rest:.*}", self.serve)
        app.router.add_get("/elsewhere", self.elsewhere)
        return app

    async def elsewhere(self, request: web.Request) -> web.Response:
        return web.Response(
            status=400 if "Authorization" in request.headers else 200, body=self.config
        )

    async def token(self, request: web.Request) -> web.Response:
        user = request.headers.get("Authorization", "")
        self.asked.append((user, request.query.getall("scope", [])))
        if "wrong" in request.query["service"]:
            return web.json_response({"errors": [{"code": "DENIED", "message": "no"}]}, status=401)
        return web.json_response({"token": f"for-{request.query['scope']}", "expires_in": 300})

    async def serve(self, request: web.Request) -> web.Response:
        if self.outage:
            self.outage -= 1
            return web.Response(status=503, headers={"Retry-After": "0"})
        repository = request.match_info["rest"].split("/manifests/")[0].split("/blobs/")[0]
        if request.headers.get("Authorization") != f"Bearer for-repository:{repository}:pull":
            realm = f"http://{request.host}/token"
            offer = f'Bearer realm="{realm}",service="{repository}",scope="ignored,too"'
            return web.Response(status=401, headers={"WWW-Authenticate": offer})
        if "/blobs/" in request.path:
            # A registry in the cloud sends us on, to a host that must not see the token.
            return web.Response(
                status=307, headers={"Location": f"http://localhost:{request.url.port}/elsewhere"}
            )
        return web.Response(
            body=self.manifest, headers={"Docker-Content-Digest": digest_of(self.manifest)}
        )


@pytest.fixture
async def tokens() -> AsyncIterator[tuple[TokenRegistry, str]]:
    fake = TokenRegistry()
    runner = web.AppRunner(fake.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = runner.addresses[0]
    yield fake, f"127.0.0.1:{address[1]}"
    await runner.cleanup()


async def test_a_token_is_fetched_once_per_scope_and_sent_to_no_other_server(
    tokens: tuple[TokenRegistry, str],
) -> None:
    fake, host = tokens
    async with RegistryClient(credentials=knowing(host), patience=QUICK) as client:
        await client.look_up(parse_reference(f"{host}/a/one:1"))
        info = await client.look_up(parse_reference(f"{host}/a/one:1"))
        await client.look_up(parse_reference(f"{host}/a/two:1"))
    user = "Basic dGVzdGVyOm9wZW4gc2VzYW1l"
    assert info.user == "me"
    assert fake.asked == [(user, ["repository:a/one:pull"]), (user, ["repository:a/two:pull"])]


async def test_a_refused_token_is_the_users(tokens: tuple[TokenRegistry, str]) -> None:
    _, host = tokens
    async with RegistryClient(credentials=knowing(host), patience=QUICK) as client:
        with pytest.raises(UserError, match=r"denied the login of 'tester'.*DENIED: no") as caught:
            await client.look_up(parse_reference(f"{host}/a/wrong:1"))
    assert caught.value.reason is Reason.IMAGE_AUTH_FAILED
    assert server.PASSWORD not in caught.value.message


@pytest.mark.parametrize(("outage", "answers"), [(2, True), (3, False)])
async def test_an_outage_is_waited_out_for_a_while(
    tokens: tuple[TokenRegistry, str], outage: int, answers: bool
) -> None:
    fake, host = tokens
    fake.outage = outage
    async with RegistryClient(patience=QUICK) as client:
        if answers:
            assert (await client.look_up(parse_reference(f"{host}/a/one:1"))).user == "me"
        else:
            with pytest.raises(InfrastructureError, match="HTTP 503"):
                await client.look_up(parse_reference(f"{host}/a/one:1"))
