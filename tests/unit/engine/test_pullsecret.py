"""Logins of wercker.yml on their way into the Secret that the kubelet pulls with."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from tests.unit.engine.world import UID, Server, attempt_of, plan, run_of

from sentinel.api.reasons import Reason
from sentinel.config.model import Box
from sentinel.engine.finish import _drop_logins
from sentinel.engine.pullsecret import keep_logins, logins
from sentinel.engine.run import Run
from sentinel.errors import NotVerified, UserError
from sentinel.image.dockerconfig import Credential
from sentinel.kube.errors import AlreadyExists, Conflict, NotFound
from sentinel.network import Policy
from sentinel.plan.environment import user_variables
from sentinel.plan.images import WantedImages
from sentinel.registry.ecr import EcrKeys

NAME = "b-6f0d3a52-pull"
FOUND = {"quay.io/acme/app": Credential(username="ci", password="hidden")}


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
        metadata = {**body["metadata"], "uid": "u", "resourceVersion": "1"}
        self.held[body["metadata"]["name"]] = {**body, "metadata": metadata}

    async def replace(self, resource: Any, body: dict[str, Any]) -> Any:
        there = self.held[body["metadata"]["name"]]
        if body["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"]:
            raise Conflict("changed")
        self.held[body["metadata"]["name"]] = body

    async def delete(self, resource: Any, *, name: str, namespace: str, uid: str) -> None:
        if self.held[name]["metadata"]["uid"] == uid:
            del self.held[name]


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
        "quay.io/acme/app": Credential(username="ci", password="hid$den"),
        "docker.io/acme/db": Credential(username="ci", password="hid$den"),
    }


async def test_without_logins_nothing_is_read_or_written() -> None:
    run = run_with(Secrets(), envFrom=[{"secretRef": {"name": "not there"}}])
    wanted = WantedImages(box=Box(id="x", auth=(("registry", "quay.io"),)), services=())

    assert await logins(run, wanted) == {}
    attempt = attempt_of(run)
    await keep_logins(attempt, {})
    assert attempt.plan == plan()


async def test_the_secret_is_the_builds_own_and_goes_with_the_pod_that_used_it() -> None:
    secrets = Secrets()
    run = run_with(secrets)

    attempt = attempt_of(run)
    await keep_logins(attempt, FOUND)

    assert attempt.plan.image.pull_secrets == (NAME,)
    body = secrets.held[NAME]
    assert body["type"] == "kubernetes.io/dockerconfigjson"
    assert [owner["uid"] for owner in body["metadata"]["ownerReferences"]] == [UID]
    config = json.loads(base64.b64decode(body["data"][".dockerconfigjson"]))
    assert config["auths"]["quay.io/acme/app"]["password"] == "hidden"
    await _drop_logins(run.tools, run.id(1), {"spec": {"imagePullSecrets": [{"name": "other"}]}})
    assert secrets.held.keys() == {NAME}
    await _drop_logins(
        run.tools, run.id(1), {"spec": {"imagePullSecrets": [{"name": "other"}, {"name": NAME}]}}
    )
    assert secrets.held == {}


async def test_ours_of_before_a_restart_is_written_again() -> None:
    secrets = Secrets()
    run = run_with(secrets)
    await keep_logins(
        attempt_of(run), {"quay.io/acme/app": Credential(username="ci", password="old")}
    )

    await keep_logins(attempt_of(run), FOUND)

    config = base64.b64decode(secrets.held[NAME]["data"][".dockerconfigjson"])
    assert json.loads(config)["auths"]["quay.io/acme/app"]["password"] == "hidden"


def theirs(ours: dict[str, Any], how: str) -> dict[str, Any]:
    """What a tenant makes of the name: with our owner reference and labels, or our signature on other content."""
    if how == "copied":
        return {**ours, "data": {".dockerconfigjson": base64.b64encode(b"{}").decode()}}
    metadata = {key: value for key, value in ours["metadata"].items() if key != "annotations"}
    return {**ours, "metadata": metadata}


@pytest.mark.parametrize("how", ["unsigned", "copied"])
async def test_a_secret_of_that_name_with_another_owner_is_left_alone(how: str) -> None:
    made = Secrets()
    await keep_logins(attempt_of(run_with(made)), FOUND)
    forged = theirs(made.held[NAME], how)
    secrets = Secrets({NAME: forged})
    run = run_with(secrets)

    with pytest.raises(NotVerified, match=f"Secret {NAME} is not the operator's") as caught:
        await keep_logins(attempt_of(run), FOUND)
    await _drop_logins(run.tools, run.id(1), {"spec": {"imagePullSecrets": [{"name": NAME}]}})

    assert caught.value.reason is Reason.NOT_VERIFIED
    assert secrets.held == {NAME: forged}


async def test_a_build_in_our_own_namespace_does_not_read_the_key_of_plans() -> None:
    key = {"name": "sentinel-plan-key", "key": "current"}
    env = [{"name": "K", "valueFrom": {"secretKeyRef": key}}]
    run = run_with(Secrets({"sentinel-plan-key": {"data": {"current": "aaaa"}}}), env=env)
    settings = run.tools.settings.model_copy(update={"pod_namespace": "ns"})
    run.tools = replace(run.tools, settings=settings)

    with pytest.raises(UserError, match="the operator's own key: no Build may use it"):
        await run.references.resolve(user_variables(run.build))


AMAZON = (
    ("aws-access-key", "AKIA"),
    ("aws-secret-key", "$SECRET"),
    ("aws-region", "eu-west-1"),
    ("aws-registry-id", "123456789012"),
)
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


async def test_amazons_keys_are_exchanged_for_a_login_of_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[EcrKeys] = []

    async def exchanged(keys: EcrKeys, *, policy: Policy, ca: str) -> Credential:
        asked.append(keys)
        return Credential(username="AWS", password="token")

    monkeypatch.setattr("sentinel.engine.pullsecret.ecr_login", exchanged)
    box = Box(id=f"{ECR}/team/app:1", auth=AMAZON)
    wanted = WantedImages(box=box, services=(), public={"SECRET": "s"})

    found = await logins(run_with(Secrets()), wanted)

    assert found == {f"{ECR}/team/app": Credential(username="AWS", password="token")}
    assert [each.secret_key for each in asked] == ["s"]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (Box(id=f"{ECR}/a", auth=AMAZON[:1], line=3), "on line 3 .* aws-secret-key and aws-region"),
        (
            Box(id="quay.io/a/b", auth=AMAZON),
            "the image is on quay.io, its login is for 123456789012",
        ),
    ],
)
async def test_amazons_keys_that_cannot_be_used(box: Box, message: str) -> None:
    wanted = WantedImages(box=box, services=(), public={"SECRET": "s"})
    with pytest.raises(UserError, match=message) as caught:
        await logins(run_with(Secrets()), wanted)

    assert caught.value.reason is Reason.IMAGE_AUTH_FAILED
