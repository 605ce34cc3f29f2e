"""A box that could not be pushed is refused before its pod exists."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.engine.test_pullsecret import Secrets, run_with

from sentinel.api.reasons import Reason
from sentinel.engine.pushing import check_pushing
from sentinel.engine.run import Run
from sentinel.errors import UserError
from sentinel.plan.model import PlanSource
from sentinel.settings import Settings
from sentinel.settings.images import ImageSettings

SOURCE = PlanSource(url="https://git.example.com/acme/hello.git", commit="c" * 40)
PREFIX = "r.example.com/builds"


def pushing(image: dict[str, Any], *, prefix: str = PREFIX, logins: tuple[str, ...] = ()) -> Run:
    config = {"auths": {host: {"username": "ci", "password": "x"} for host in logins}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()}
    run = run_with(Secrets({"push": {"metadata": {"name": "push"}, "data": data}}), image=image)
    run.tools = replace(run.tools, settings=Settings(images=ImageSettings(prefix=prefix)))
    return run


@pytest.mark.parametrize(
    "image",
    [
        {},
        {"repository": "r.example.com/builds/ns/Other"},
        {"repository": "r.example.com/somebody/else", "commit": "never"},
        {"repository": "elsewhere.example.com/app", "pushSecretRef": {"name": "push"}},
    ],
)
async def test_what_may_be_pushed_passes(image: dict[str, Any]) -> None:
    await check_pushing(pushing(image, logins=("elsewhere.example.com",)), SOURCE)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"repository": "r.example.com/builds/ns/app:v1"}, "without a tag or digest"),
        ({"repository": "r.example.com/builds/ns/app@sha256:" + "0" * 64}, "without a tag or dig"),
        ({"repository": "https://r.example.com/builds/ns/app"}, "leave https:// away"),
        ({"repository": "r.example.com/builds/ns/.x"}, "is not a valid repository"),
        ({"repository": "r.example.com/builds/ns/c++"}, "is not a valid repository"),
        ({"repository": "r.example.com/builds/ns/a b"}, "is not a valid repository"),
        ({"repository": "r.example.com/builds/ns/app/"}, "is not a valid repository"),
        (
            {"repository": "r.example.com/builds/other/app"},
            "may not push to r.example.com/builds/o",
        ),
        ({"repository": "elsewhere.example.com/app"}, "may not push to elsewhere.example.com/app"),
    ],
)
async def test_what_may_not_is_refused_by_the_field(image: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=r"spec\.image\.repository") as caught:
        await check_pushing(pushing(image), SOURCE)

    assert (message in caught.value.message, caught.value.reason) == (True, Reason.INVALID_SPEC)


async def test_another_registry_wants_a_login_for_it_and_not_just_a_secret() -> None:
    image = {"repository": "elsewhere.example.com/app", "pushSecretRef": {"name": "push"}}

    with pytest.raises(UserError, match=r"has no login for elsewhere\.example\.com/app") as caught:
        await check_pushing(pushing(image, logins=("r.example.com",)), SOURCE)

    assert caught.value.reason is Reason.IMAGE_AUTH_FAILED


async def test_a_prefix_that_is_not_a_name_is_the_operator_s() -> None:
    with pytest.raises(UserError, match=r"images\.prefix of the operator's settings"):
        await check_pushing(pushing({}, prefix="https://r.example.com"), SOURCE)
