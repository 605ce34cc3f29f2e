"""The Secret with the key that plans are signed with."""

from __future__ import annotations

import asyncio
import base64
import logging
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from sentinel.engine.keys import load_keys
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


async def test_what_is_no_base64_is_not_quoted() -> None:
    secrets = held(current=b"n" * 32)
    secrets.held["sentinel/key"]["data"]["current"] = "hidden!"

    with pytest.raises(UserError) as caught:
        await load(secrets)

    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_right_that_is_missing_is_said() -> None:
    class Denied(Secrets):
        async def get(self, resource: Any, *, namespace: str, name: str) -> dict[str, Any]:
            raise Forbidden("get secrets sentinel/key: denied")

    with pytest.raises(Forbidden):
        await load(Denied())
