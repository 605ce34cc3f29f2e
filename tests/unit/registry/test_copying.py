"""Images copied between repositories of a real registry, and of two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.registry.makers import push_image, push_index
from tests.unit.registry.server import docker_config, registry

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.image.dockerconfig import keychain_from_docker_config
from sentinel.image.reference import parse_reference
from sentinel.registry.client import RegistryClient
from sentinel.registry.copying import copy_image


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("open")) as address:
        yield address


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("private"), login=True) as address:
        yield address


def client(address: str = "", **login: str) -> RegistryClient:
    if not address:
        return RegistryClient()
    config = docker_config(address, **login)
    return RegistryClient(credentials=keychain_from_docker_config(config, source="test"))


async def test_a_copy_is_the_same_image_under_each_tag(host: str, private: str) -> None:
    async with client() as reader, client(private) as writer:
        pushed = await push_image(reader, parse_reference(f"{host}/team/app:1"))
        source = parse_reference(f"{host}/team/app@{pushed['digest']}")
        for target, there in (
            (parse_reference(f"{host}/other/app"), reader),  # mounted
            (parse_reference(f"{private}/other/app"), writer),  # sent through
            (parse_reference(f"{private}/other/app"), writer),  # again
        ):
            await copy_image(source, target, tags=["one", "two"], reader=reader, client=there)

            found = [await there.resolve(target.tagged(tag)) for tag in ("one", "two")]
            assert found == [pushed["digest"]] * 2
            assert (await there.look_up(target.tagged("one"))).digest == pushed["digest"]


async def test_a_wrong_password_is_the_registry_s_refusal(host: str, private: str) -> None:
    async with client() as reader, client(private, password="wrong") as writer:
        pushed = await push_image(reader, parse_reference(f"{host}/team/app:1"))
        source = parse_reference(f"{host}/team/app@{pushed['digest']}")
        with pytest.raises(UserError, match="denied push to") as caught:
            await copy_image(
                source,
                parse_reference(f"{private}/team/app"),
                tags=["one"],
                reader=reader,
                client=writer,
            )

    assert caught.value.reason is Reason.IMAGE_AUTH_FAILED


async def test_an_index_is_not_copied(host: str) -> None:
    async with client() as reader:
        name = parse_reference(f"{host}/team/many:1")
        digest = await push_index(reader, name, [await push_image(reader, name)])
        with pytest.raises(UserError, match="it is an index"):
            await copy_image(
                name.pinned(digest),
                parse_reference(f"{host}/other/many"),
                tags=["one"],
                reader=reader,
                client=reader,
            )
