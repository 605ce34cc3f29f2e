"""Which images a build may use, decided before a registry is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.engine.world import Server, run_of

from sentinel.api.reasons import Reason
from sentinel.config.model import Box
from sentinel.engine.images import check_images
from sentinel.engine.run import Run
from sentinel.errors import UserError
from sentinel.plan.model import ImageFacts
from sentinel.settings import Settings


def run_with(**images: Any) -> Run:
    run = run_of(Server())
    run.tools = replace(run.tools, settings=Settings(images=images))
    return run


async def test_images_of_registries_that_are_not_allowed_are_all_named() -> None:
    run = run_with(allowed_registries=["registry.example.com:5000"])
    boxes = [Box(id="evil.example.com/a"), Box(id="debian", tag="12")]

    with pytest.raises(UserError) as caught:
        await check_images(run, boxes, {})

    assert caught.value.reason is Reason.REGISTRY_NOT_ALLOWED
    assert caught.value.message.splitlines() == [
        "image 'evil.example.com/a' is on registry evil.example.com, which this operator does not allow; it allows "
        "registry.example.com:5000",
        "image 'debian:12' is on registry docker.io, which this operator does not allow; it allows "
        "registry.example.com:5000",
    ]


async def test_local_images_are_taken_by_name_and_no_registry_is_asked() -> None:
    boxes = [Box(id="app", tag="dev"), Box(id="registry.invalid/db:1")]

    assert await check_images(run_with(local=True), boxes, {}) == [
        ImageFacts(name="app:dev", reference="app:dev"),
        ImageFacts(name="registry.invalid/db:1", reference="registry.invalid/db:1"),
    ]
