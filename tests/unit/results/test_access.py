"""Who gets an answer: the API server's front proxy alone, for users whom a SubjectAccessReview allows it."""

from __future__ import annotations

import json

import aiohttp
import pytest
from tests.unit.results.conftest import BASE, LOG, OUTPUT, REQUEST_HEADER, Authority, World, build

from sentinel.errors import UserError
from sentinel.kube.errors import Unavailable
from sentinel.kube.resources import RESULTS
from sentinel.results.frontproxy import FrontProxy


async def test_a_forged_user_without_the_proxy_s_certificate_gets_no_connection(
    world: World, stranger: Authority
) -> None:
    for words in ({"anonymous": True}, {"client": stranger.client("front-proxy-client")}):
        with pytest.raises(aiohttp.ClientError):
            await world.get(LOG, user="ada", groups=("system:masters",), **words)  # type: ignore[arg-type]
    assert world.api.reviews == []


async def test_a_certificate_of_the_authority_with_another_name_is_refused(world: World) -> None:
    client = world.authority.client("kubelet")
    for path in (LOG, OUTPUT, BASE, "/apis"):
        code, body, _ = await world.get(path, client=client)
        assert (code, json.loads(body)["reason"]) == (401, "Unauthorized")
    assert world.api.reviews == []


async def test_a_request_without_a_user_is_refused(world: World) -> None:
    assert (await world.get(LOG, user=""))[0] == 401


async def test_the_cluster_s_rules_decide(world: World) -> None:
    code, _, _ = await world.get(
        LOG,
        groups=("dev", "ops"),
        headers={"X-Remote-Uid": "7", "X-Remote-Extra-Example.com%2fScope": "all"},
    )
    assert code == 200
    assert world.api.reviews == [
        {
            "user": "ada",
            "uid": "7",
            "groups": ["dev", "ops"],
            "extra": {"example.com/scope": ["all"]},
            "resourceAttributes": {
                "verb": "get",
                "group": RESULTS.group,
                "version": RESULTS.version,
                "resource": "builds",
                "subresource": "log",
                "namespace": "team",
                "name": "hello",
            },
        }
    ]
    world.api.grants.add(("ops", "team"))
    assert (await world.get(OUTPUT, user="bob", groups=("ops",)))[0] == 200
    assert world.api.reviews[-1]["resourceAttributes"]["subresource"] == "output"


async def test_a_user_of_another_namespace_learns_nothing(world: World) -> None:
    for path in (LOG, OUTPUT, LOG.replace("hello", "nothing")):
        code, body, _ = await world.get(path, user="eve")
        status = json.loads(body)
        assert (code, status["reason"]) == (403, "Forbidden")
        assert 'User "eve" cannot get resource "builds/' in status["message"]
    # Ada's right in her namespace is none in another.
    assert (await world.get(LOG.replace("team", "other")))[0] == 403


async def test_a_status_that_points_at_another_s_results_leads_nowhere(world: World) -> None:
    """Keys come from the namespace and the uid. A Build can only name its own attempts and applications."""
    world.api.add("builds", build(uid="uid-2"))
    assert (await world.get(LOG + "?step=compile"))[0] == 404
    far = "ci/other/project-artifacts/../../uid-1/1/"
    world.api.add("builds", build(uid="uid-2", results={"prefix": far}))
    assert (await world.get(LOG + "?step=compile"))[0] == 404
    assert world.store.reads == []


async def test_an_api_server_that_does_not_answer_is_a_503(world: World) -> None:
    world.api.fail("create", "review", Unavailable("create reviews: no answer"))
    code, body, _ = await world.get(LOG)
    assert (code, json.loads(body)["reason"]) == (503, "ServiceUnavailable")


async def test_one_namespace_cannot_take_all_answers(world: World) -> None:
    with world.slots.take("team"), world.slots.take("team"):
        code, body, headers = await world.get(LOG)
        assert (code, headers["Retry-After"]) == (429, "1")
        assert json.loads(body)["reason"] == "TooManyRequests"
        world.api.grants.add(("ada", "other"))
        assert (await world.get(LOG.replace("team", "other").replace("hello", "b")))[0] == 404
    assert (await world.get(LOG))[0] == 200


async def test_discovery_has_subresources_only(world: World) -> None:
    code, body, _ = await world.get(BASE, user="system:kube-aggregator")
    document = json.loads(body)
    assert (code, document["kind"], document["groupVersion"]) == (
        200,
        "APIResourceList",
        "results.sentinel.wercker.com/v1alpha1",
    )
    assert [(each["name"], each["verbs"]) for each in document["resources"]] == [
        ("builds/log", ["get"]),
        ("builds/output", ["get"]),
    ]
    _, body, _ = await world.get("/apis")
    assert [each["name"] for each in json.loads(body)["groups"]] == [RESULTS.group]
    code, body, _ = await world.get("/openapi/v2")
    assert (code, json.loads(body)["kind"]) == (404, "Status")


def test_a_cluster_whose_clients_would_pass_for_the_proxy_is_refused() -> None:
    same = {"requestheader-client-ca-file": "CA", "client-ca-file": "CA"}
    assert FrontProxy.read({**REQUEST_HEADER, **same}).names == ("front-proxy-client",)
    with pytest.raises(UserError, match="requestheader-allowed-names"):
        FrontProxy.read({**REQUEST_HEADER, **same, "requestheader-allowed-names": "[]"})
    with pytest.raises(UserError, match="--requestheader-client-ca-file"):
        FrontProxy.read({})
    with pytest.raises(UserError, match="not a JSON list"):
        FrontProxy.read({**REQUEST_HEADER, **same, "requestheader-group-headers": "X"})
