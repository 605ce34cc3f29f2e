"""Logins of wercker.yml on their way into the Secret that the kubelet pulls with."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from tests.unit.engine.world import UID, Server, plan, run_of

from sentinel.config.model import Box
from sentinel.engine.pullsecret import drop_logins, keep_logins, logins
from sentinel.engine.run import Run
from sentinel.errors import UserError
from sentinel.kube.errors import AlreadyExists, NotFound
from sentinel.plan.images import WantedImages
from sentinel.plan.logins import Login

NAME = "b-6f0d3a52-pull"
FOUND = {"quay.io/acme/app": Login(username="ci", password="hidden")}


@dataclass
class Secrets:
    """The API server's Secrets of one namespace."""

    held: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def get(self, resource: Any, *, name: str, namespace: str | None = None) -> Any:
        if name not in self.held:
            raise NotFound(f"no {resource.plural} {name}")
        return self.held[name]

    async def create(self, resource: Any, body: dict[str, Any], **_: Any) -> Any:
        if body["metadata"]["name"] in self.held:
            raise AlreadyExists("there")
        self.held[body["metadata"]["name"]] = body

    async def replace(self, resource: Any, body: dict[str, Any]) -> Any:
        self.held[body["metadata"]["name"]] = body

    async def delete(self, resource: Any, *, name: str, namespace: str) -> None:
        self.held.pop(name, None)


def run_with(secrets: Secrets, **spec: Any) -> Run:
    run = run_of(Server(), **spec)
    run.tools = replace(run.tools, kube=cast(Any, secrets))
    return run


async def test_values_come_from_secrets_and_each_login_is_for_its_repository() -> None:
    data = {"token": base64.b64encode(b"hid$den").decode()}
    secret = {"secretKeyRef": {"name": "tokens", "key": "token"}}
    run = run_with(Secrets({"tokens": {"data": data}}), env=[{"name": "T", "valueFrom": secret}])
    said = (("username", "$WHO"), ("password", "$T"))
    wanted = WantedImages(
        box=Box(id="quay.io/acme/app", tag="1", auth=said),
        services=(Box(id="redis"), Box(id="acme/db:2", auth=said)),
        public={"WHO": "ci"},
    )

    assert await logins(run, wanted) == {
        "quay.io/acme/app": Login(username="ci", password="hid$den"),
        "docker.io/acme/db": Login(username="ci", password="hid$den"),
    }


async def test_without_logins_nothing_is_read_or_written() -> None:
    run = run_with(Secrets(), envFrom=[{"secretRef": {"name": "not there"}}])
    wanted = WantedImages(box=Box(id="x", auth=(("registry", "quay.io"),)), services=())

    assert await logins(run, wanted) == {}
    assert await keep_logins(run, plan(), {}) == plan()


async def test_the_secret_is_the_builds_own_and_goes_with_the_pod_that_used_it() -> None:
    secrets = Secrets()
    run = run_with(secrets)

    made = await keep_logins(run, plan(), FOUND)

    assert made.image.pull_secrets == (NAME,)
    body = secrets.held[NAME]
    assert body["type"] == "kubernetes.io/dockerconfigjson"
    assert [owner["uid"] for owner in body["metadata"]["ownerReferences"]] == [UID]
    config = json.loads(base64.b64decode(body["data"][".dockerconfigjson"]))
    assert config["auths"]["quay.io/acme/app"]["password"] == "hidden"
    await drop_logins(run, {"spec": {"imagePullSecrets": [{"name": "other"}]}})
    assert secrets.held.keys() == {NAME}
    await drop_logins(run, {"spec": {"imagePullSecrets": [{"name": "other"}, {"name": NAME}]}})
    assert secrets.held == {}


async def test_ours_of_before_a_restart_is_written_again() -> None:
    secrets = Secrets()
    run = run_with(secrets)
    await keep_logins(run, plan(), {"quay.io/acme/app": Login(username="ci", password="old")})

    await keep_logins(run, plan(), FOUND)

    config = base64.b64decode(secrets.held[NAME]["data"][".dockerconfigjson"])
    assert json.loads(config)["auths"]["quay.io/acme/app"]["password"] == "hidden"


async def test_somebody_elses_secret_of_that_name_is_left_alone() -> None:
    theirs = {"metadata": {"name": NAME}}
    secrets = Secrets({NAME: theirs})

    with pytest.raises(UserError, match=f"a Secret {NAME} exists that is not this Build's"):
        await keep_logins(run_with(secrets), plan(), FOUND)

    assert secrets.held == {NAME: theirs}
