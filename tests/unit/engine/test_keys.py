"""The Secret with the key that plans are signed with."""

from __future__ import annotations

import asyncio
import base64
import logging
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from sentinel.engine.keys import load_keys, load_store_key
from sentinel.errors import UserError
from sentinel.kube.client import Kube
from sentinel.kube.errors import AlreadyExists, Forbidden, NotFound
from sentinel.plan.seal import PlanKeys


@dataclass
class Secrets:
    """The API server's Secrets, each request a moment late: two operators meet."""

    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: int = 0

    async def get(self, resource: Any, *, namespace: str, name: str) -> dict[str, Any]:
        found = self.held.get(f"{namespace}/{name}")
        await asyncio.sleep(0)
        if found is None:
            raise NotFound("no such Secret")
        return found

    async def create(self, resource: Any, body: dict[str, Any], *, namespace: str) -> Any:
        await asyncio.sleep(0)
        key = f"{namespace}/{body['metadata']['name']}"
        if key in self.held:
            raise AlreadyExists("there")
        self.created += 1
        self.held[key] = body
        return body


def load(secrets: Secrets) -> Any:
    return load_keys(cast(Kube, secrets), namespace="sentinel", name="key")


def held(**data: bytes) -> Secrets:
    encoded = {name: base64.b64encode(value).decode() for name, value in data.items()}
    metadata = {"namespace": "sentinel", "name": "key"}
    return Secrets({"sentinel/key": {"metadata": metadata, "data": encoded}})


async def test_operators_that_start_at_once_agree_on_one_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = Secrets()

    one, two, three = await asyncio.gather(load(secrets), load(secrets), load(secrets))

    assert one == two == three == await load(secrets)
    assert secrets.created == 1
    text = secrets.held["sentinel/key"]["data"]["current"]
    assert base64.b64decode(text) == one.current
    assert len(one.current) == 32
    assert text not in caplog.text
    assert one.current.hex() not in caplog.text


async def test_two_keys_are_read_while_one_is_rotated() -> None:
    keys = await load(held(current=b"n" * 32, previous=b"o" * 32))

    assert keys == PlanKeys(b"n" * 32, b"o" * 32)


@pytest.mark.parametrize(
    "data", [{}, {"current": b"short"}, {"current": b"n" * 32, "previous": b"short"}]
)
async def test_a_secret_without_a_usable_key_ends_the_operator_with_what_to_do(
    data: dict[str, bytes],
) -> None:
    with pytest.raises(UserError, match="Secret sentinel/key must hold 32 random bytes") as caught:
        await load(held(**data))

    assert "short" not in str(caught.value)


async def test_what_is_not_base64_is_not_quoted() -> None:
    secrets = held(current=b"n" * 32)
    secrets.held["sentinel/key"]["data"]["current"] = "hidden!"

    with pytest.raises(UserError) as caught:
        await load(secrets)

    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_missing_right_is_reported() -> None:
    class Denied(Secrets):
        async def get(self, resource: Any, *, namespace: str, name: str) -> dict[str, Any]:
            raise Forbidden("get secrets sentinel/key: denied")

    with pytest.raises(Forbidden):
        await load(Denied())


async def test_the_key_of_a_directory_store_is_made_once_and_is_text() -> None:
    secrets = Secrets()
    kube = cast(Kube, secrets)
    one, two = await asyncio.gather(
        *(load_store_key(kube, namespace="sentinel", name="key") for _ in range(2))
    )
    assert (one == two, len(one), secrets.created) == (True, 64, 1)
    assert base64.b64decode(secrets.held["sentinel/key"]["data"]["current"]).decode() == one


@pytest.mark.parametrize(
    "key", [b"short", b"\xff" * 40, b"two\nlines" * 8], ids=["short", "bytes", "lines"]
)
async def test_a_key_of_a_store_that_cannot_be_used_is_named(key: bytes) -> None:
    with pytest.raises(UserError, match="Secret sentinel/key must hold 32 printable characters"):
        await load_store_key(cast(Kube, held(current=key)), namespace="sentinel", name="key")
