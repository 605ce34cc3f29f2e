"""`sentinel diff` against a real registry."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Cluster, Sentinel, ended
from tests.unit.registry import server

from sentinel.image.dockerconfig import keychain_from_docker_config
from sentinel.image.manifest import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest_of
from sentinel.image.reference import parse_repository
from sentinel.registry import RegistryClient
from sentinel.registry.client import bytes_body


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server.registry(tmp_path_factory.mktemp("registry"), login=True) as address:
        yield address


def layer(packed: bool = True, **files: str) -> bytes:
    """A layer of these files; a name with `wh_` before it deletes one."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"work/{name.replace('wh_', '.wh.')}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(made.getvalue()) if packed else made.getvalue()


def push(host: str, *layers: bytes) -> str:
    """An image of these layers in the repository team/app; its digest."""
    repository = parse_repository(f"{host}/team/app")
    logins = keychain_from_docker_config(server.docker_config(host), source="test")
    config = b"{}"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": 2},
            "layers": [
                {"mediaType": OCI_LAYER, "digest": digest_of(each), "size": len(each)}
                for each in layers
            ],
        }
    ).encode()

    async def upload() -> None:
        async with RegistryClient(credentials=logins) as client:
            for blob in (config, *layers):
                await client.put_blob(
                    repository, digest=digest_of(blob), size=len(blob), body=bytes_body(blob)
                )
            await client.put_manifest(repository.tagged("x"), manifest, media_type=OCI_MANIFEST)

    asyncio.run(upload())
    return digest_of(manifest)


@pytest.fixture
def built(host: str, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Build of three steps, of which the last has no image."""
    base, first = layer(box="the box's"), layer(one="1", kept="k")
    second = layer(packed=False, wh_one="", two="2\n", kept="K")
    box, *images = (
        push(host, base),
        push(host, base, first),
        push(host, base, first, second),
    )
    failed = {"reason": "PushFailed", "message": "the registry\x1b[2J is away"}
    steps = [
        {"id": f"s-{number}", "name": "script", "image": image}
        for number, image in enumerate([*({"digest": each} for each in images), failed], 1)
    ]
    repository = f"{host}/team/app"
    cluster.build(
        status=ended(
            "Succeeded",
            "Passed",
            steps=steps,
            image={"repository": repository, "digest": images[1]},
            box={"image": f"{repository}:x", "digest": box},
        )
    )
    (tmp_path / "config.json").write_text(server.docker_config(host))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@pytest.mark.usefixtures("built")
def test_what_steps_changed_is_read_from_their_layers(sentinel: Sentinel) -> None:
    done = sentinel("diff", "hello", "1", "2")
    assert done.stdout.splitlines() == ["M /work/kept", "D /work/one", "A /work/two"], done.stderr
    whole = sentinel("diff", "hello", "0", "2").stdout.splitlines()
    assert whole == ["A /work/kept", "A /work/two"]
    back = sentinel("diff", "hello", "2", "1").stdout.splitlines()
    assert back == ["M /work/kept", "A /work/one", "D /work/two"]
    assert sentinel("diff", "hello", "2", "2").stdout == ""


@pytest.mark.usefixtures("built")
def test_a_step_without_an_image_says_why(sentinel: Sentinel) -> None:
    done = sentinel("diff", "hello", "1", "3")
    assert done.exit_code == 1
    assert "has no image of step 3: the registry\ufffd[2J is away" in done.stderr
    assert "has no image of step 9" in sentinel("diff", "hello", "1", "9").stderr


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("bound", "most", "message"),
    [
        ("MOST_LAYERS", 1, "the images have more than 1 layers"),
        ("MOST_PACKED", 10, "a layer of the images has "),
        # Of all layers together: the first one alone has 10 KiB, and so have the others.
        ("MOST_BYTES", 15_000, "the archive unpacks to more than it may"),
    ],
)
def test_what_is_read_of_a_registry_is_bounded(
    sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch, bound: str, most: int, message: str
) -> None:
    monkeypatch.setattr(f"sentinel.cli.diff.{bound}", most)
    done = sentinel("diff", "hello", "1", "2")
    assert (done.exit_code, message in done.stderr) == (1, True), done.stderr


@pytest.mark.usefixtures("built")
def test_a_registry_that_wants_a_login_is_named(
    sentinel: Sentinel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nothing"))
    done = sentinel("diff", "hello", "1", "2")
    assert done.exit_code == 1
    assert "registry denied pull of" in done.stderr
    given = sentinel("diff", "hello", "1", "2", "--docker-config", str(tmp_path / "config.json"))
    assert given.exit_code == 0
