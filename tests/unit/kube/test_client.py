from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.unit.clocks import Hasty
from tests.unit.kube.server import Server, failure, kubeconfig, obj

from sentinel.errors import NotYet, UserError
from sentinel.kube import credentials, errors
from sentinel.kube.client import Kube
from sentinel.kube.resources import BUILDS, LEASES, NODES, PODS

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "ci"}}


async def test_get_sends_who_we_are(kube: Kube, server: Server) -> None:
    server.answers(obj(POD))
    assert await kube.get(PODS, name="a", namespace="ci") == POD
    headers = server.seen[0].headers
    assert (headers["Authorization"], headers["User-Agent"], headers["Accept-Encoding"]) == (
        "Bearer s3cret",
        "sentinel-test/1",
        "identity",
    )
    assert server.calls() == ["GET /api/v1/namespaces/ci/pods/a"]


async def test_an_error_says_what_was_asked_and_what_was_answered(
    kube: Kube, server: Server
) -> None:
    server.answers(failure(404, "NotFound", 'pods "a" not found'))
    with pytest.raises(errors.NotFound) as caught:
        await kube.get(PODS, name="a", namespace="ci")
    assert caught.value.message == 'get pods ci/a: pods "a" not found (HTTP 404 NotFound)'


async def test_list_reads_all_pages_and_fills_in_the_kind(kube: Kube, server: Server) -> None:
    def page(name: str, more: str) -> web.Response:
        return obj(
            {
                "kind": "PodList",
                "apiVersion": "v1",
                "metadata": {"resourceVersion": "7", "continue": more},
                "items": [{"metadata": {"name": name}}],
            }
        )

    server.answers(page("a", "next"), page("b", ""))
    items, version = await kube.list(PODS, namespace="ci", labels="x=y,!z", limit=1)
    assert version == "7"
    assert items == [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}},
    ]
    assert [seen.query for seen in server.seen] == [
        {"labelSelector": ["x=y,!z"], "limit": ["1"]},
        {"labelSelector": ["x=y,!z"], "limit": ["1"], "continue": ["next"]},
    ]


async def test_objects_can_be_read_page_by_page(kube: Kube, server: Server) -> None:
    def page(name: str, more: str) -> web.Response:
        items = [{"metadata": {"name": name}}]
        return obj({"kind": "PodList", "metadata": {"continue": more}, "items": items})

    server.answers(page("a", "next"), page("b", ""))
    found = [raw async for raw in kube.each(PODS, namespace="ci", labels="x=y", limit=1)]
    assert found == [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}},
    ]
    assert [seen.query for seen in server.seen] == [
        {"labelSelector": ["x=y"], "limit": ["1"]},
        {"labelSelector": ["x=y"], "limit": ["1"], "continue": ["next"]},
    ]


async def test_a_list_that_expires_between_pages_is_read_again_in_one(
    kube: Kube, server: Server
) -> None:
    def page(names: str, more: str) -> web.Response:
        items = [{"metadata": {"name": name}} for name in names]
        meta = {"resourceVersion": "9", "continue": more}
        return obj({"kind": "PodList", "metadata": meta, "items": items})

    server.answers(page("a", "next"), failure(410, "Expired", "too old"), page("ab", ""))
    items, _ = await kube.list(PODS, limit=1)
    assert [item["metadata"]["name"] for item in items] == ["a", "b"]
    assert server.seen[-1].query == {}


async def test_an_empty_list_may_have_no_items(kube: Kube, server: Server) -> None:
    server.answers(obj({"kind": "PodList", "metadata": {"resourceVersion": "3"}, "items": None}))
    assert await kube.list(PODS) == ([], "3")


async def test_create_takes_the_namespace_of_the_body(kube: Kube, server: Server) -> None:
    server.answers(obj(POD, status=201))
    assert await kube.create(PODS, POD) == POD
    assert (server.calls(), server.seen[0].body) == (["POST /api/v1/namespaces/ci/pods"], POD)


async def test_create_says_when_the_name_is_taken(kube: Kube, server: Server) -> None:
    server.answers(failure(409, "AlreadyExists", 'pods "a" already exists'))
    with pytest.raises(errors.AlreadyExists, match="create pods ci/a: "):
        await kube.create(PODS, POD)


async def test_replace_goes_to_the_subresource(kube: Kube, server: Server) -> None:
    body = {"metadata": {"name": "a", "namespace": "ci", "resourceVersion": "5"}}
    server.answers(failure(409, "Conflict", "the object has been modified"))
    with pytest.raises(errors.Conflict, match="replace builds/status ci/a: "):
        await kube.replace(BUILDS, body, subresource="status")
    assert server.calls() == [
        "PUT /apis/sentinel.wercker.com/v1alpha1/namespaces/ci/builds/a/status"
    ]


@pytest.mark.parametrize(
    ("kind", "content_type", "force"),
    [
        ("merge", "application/merge-patch+json", {}),
        ("json", "application/json-patch+json", {}),
        ("apply", "application/apply-patch+yaml", {"force": ["true"]}),
    ],
)
async def test_patch_kinds(
    kube: Kube, server: Server, kind: Any, content_type: str, force: dict[str, Any]
) -> None:
    server.answers(obj({}))
    await kube.patch(NODES, name="n", body={"a": 1}, kind=kind, subresource="status")
    seen = server.seen[0]
    assert (seen.method, seen.path, seen.body) == ("PATCH", "/api/v1/nodes/n/status", {"a": 1})
    assert seen.headers["Content-Type"] == content_type
    assert seen.query == {"fieldManager": ["sentinel"], **force}


async def test_delete_sends_its_preconditions(kube: Kube, server: Server) -> None:
    server.answers(obj({"kind": "Status", "status": "Success"}))
    await kube.delete(PODS, name="a", namespace="ci", uid="u1", grace_seconds=0)
    assert server.seen[0].body == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u1"},
        "gracePeriodSeconds": 0,
    }


@pytest.mark.parametrize(
    "answer",
    [
        (404, "NotFound", "not found"),
        (409, "Conflict", "Precondition failed: UID in precondition: u1, UID in object meta: u2"),
        (409, "Conflict", "the UID in the precondition (u1) does not match the UID in record (u2)"),
    ],
)
async def test_deleting_what_is_gone_is_a_success(
    kube: Kube, server: Server, answer: tuple[int, str, str]
) -> None:
    server.answers(failure(*answer))
    await kube.delete(PODS, name="a", namespace="ci", uid="u1")
    assert len(server.seen) == 1


async def test_a_conflict_of_another_kind_is_not_success(kube: Kube, server: Server) -> None:
    server.answers(failure(409, "Conflict", "the object has been modified"))
    with pytest.raises(errors.Conflict):
        await kube.delete(PODS, name="a", namespace="ci", uid="u1")


async def test_reads_are_tried_three_times_and_then_say_so(
    kube: Kube, server: Server, clock: Hasty
) -> None:
    server.answers(failure(503, "ServiceUnavailable", "starting"))
    with pytest.raises(errors.Unavailable, match="starting"):
        await kube.get(PODS, name="a", namespace="ci")
    assert (len(server.seen), len(clock.slept)) == (3, 2)


async def test_a_read_survives_one_bad_answer_and_waits_as_asked(
    kube: Kube, server: Server, clock: Hasty
) -> None:
    server.answers(
        failure(429, "TooManyRequests", "slow down", headers={"Retry-After": "2"}), obj(POD)
    )
    assert await kube.get(PODS, name="a", namespace="ci") == POD
    assert clock.slept == [2.0]


async def test_a_write_is_not_repeated_when_its_outcome_is_unknown(
    kube: Kube, server: Server
) -> None:
    server.answers(failure(500, "InternalError", "etcd: request timed out"))
    with pytest.raises(errors.Unavailable):
        await kube.create(PODS, POD)
    assert len(server.seen) == 1


async def test_a_write_is_repeated_when_the_server_turned_it_away_unread(
    kube: Kube, server: Server
) -> None:
    server.answers(failure(429, "TooManyRequests", "queue full"), obj(POD, status=201))
    assert await kube.create(PODS, POD) == POD


async def test_a_write_to_a_server_that_is_down_is_tried_again(
    server: Server, tmp_path: Path
) -> None:
    port = server.port
    await server.stop()
    server.answers(obj(POD, status=201))

    class Restarting(Hasty):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            await server.start(port)

    config = kubeconfig(tmp_path / "k", f"http://127.0.0.1:{port}", {"token": "t"})
    async with await Kube.connect(user_agent="t", kubeconfig=config, clock=Restarting()) as kube:
        assert await kube.create(PODS, POD) == POD


async def test_a_connection_that_breaks_within_an_answer_is_unavailable(
    kube: Kube, server: Server
) -> None:
    async def torn(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"kind":')
        assert request.transport is not None
        request.transport.close()
        return response

    server.answers(torn, obj(POD))
    assert await kube.get(PODS, name="a", namespace="ci") == POD
    server.answers(torn)
    with pytest.raises(errors.Unavailable, match="create pods ci/a: no answer from http://127"):
        await kube.create(PODS, POD)


async def test_an_answer_that_is_not_json_is_unavailable(kube: Kube, server: Server) -> None:
    server.answers(web.Response(text="<html>login</html>"))
    with pytest.raises(errors.Unavailable, match="is not JSON: b'<html>login"):
        await kube.get(PODS, name="a", namespace="ci")


async def test_a_token_that_the_server_refuses_is_read_again(
    server: Server, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    config = kubeconfig(tmp_path / "k", server.url, {"tokenFile": str(token)})

    async def guard(request: web.Request) -> web.Response:
        if request.headers["Authorization"] == "Bearer new":
            return obj(POD, status=201)
        token.write_text("new")
        return failure(401, "Unauthorized", "Unauthorized")

    server.handler = guard
    async with await Kube.connect(user_agent="t", kubeconfig=config, clock=Hasty()) as kube:
        assert await kube.create(PODS, POD) == POD
        assert [seen.headers["Authorization"] for seen in server.seen] == [
            "Bearer old",
            "Bearer new",
        ]
        server.answers(failure(401, "Unauthorized", "Unauthorized"))
        with pytest.raises(errors.Forbidden):
            await kube.create(PODS, POD)
        assert len(server.seen) == 4


async def test_a_token_file_is_looked_at_every_minute(server: Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    clock = Hasty()
    config = kubeconfig(tmp_path / "k", server.url, {"tokenFile": str(token)})
    server.answers(obj(POD))
    async with await Kube.connect(user_agent="t", kubeconfig=config, clock=clock) as kube:
        token.write_text("second")
        await kube.get(PODS, name="a", namespace="ci")
        clock.elapsed = 61
        await kube.get(PODS, name="a", namespace="ci")
    assert [seen.headers["Authorization"] for seen in server.seen] == [
        "Bearer first",
        "Bearer second",
    ]


async def test_in_a_pod_the_service_account_is_used_and_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("one\n")
    ca.write_text("a certificate")
    monkeypatch.setattr(credentials, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(credentials, "SERVICE_CERT_FILENAME", str(ca))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    loaded = await credentials.load(kubeconfig=None, clock=Hasty())
    assert loaded.server == "https://[fd00::1]:443"
    assert await loaded.authorization() == "bearer one"
    token.write_text("two")
    await loaded.renew()
    assert await loaded.authorization() == "bearer two"
    assert loaded.namespace == "default"
    (tmp_path / "namespace").write_text("pods-own")
    assert loaded.namespace == "pods-own"


async def test_the_namespace_is_that_of_the_context(kube: Kube, tmp_path: Path) -> None:
    assert kube.namespace == "default"
    config = kubeconfig(tmp_path / "other", "http://127.0.0.1:1", {}, namespace="team")
    async with await Kube.connect(user_agent="t", kubeconfig=config) as other:
        assert other.namespace == "team"


async def test_without_credentials_the_error_has_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(tmp_path / "no"), str(tmp_path / "no2")]))
    with pytest.raises(UserError, match=r"no kubeconfig at .*no2: set KUBECONFIG"):
        await Kube.connect(user_agent="t")


async def test_a_broken_kubeconfig_is_named(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("apiVersion: v1\nkind: Config\n")
    with pytest.raises(UserError, match=r"cannot read credentials from .*current-context"):
        await Kube.connect(user_agent="t", kubeconfig=str(tmp_path / "k"))


async def test_logs_are_bytes(kube: Kube, server: Server) -> None:
    server.answers(web.Response(body=b"\xff\x00line\n"))
    data = await kube.logs(namespace="ci", pod="a", container="box", tail_lines=5, limit_bytes=10)
    assert data == b"\xff\x00line\n"
    assert server.calls() == ["GET /api/v1/namespaces/ci/pods/a/log"]
    assert server.seen[0].query == {
        "container": ["box"],
        "tailLines": ["5"],
        "limitBytes": ["10"],
    }


async def test_logs_of_a_container_that_has_not_started_are_not_there_yet(
    kube: Kube, server: Server
) -> None:
    text = 'container "box" in pod "a" is waiting to start: PodInitializing'
    server.answers(failure(400, "BadRequest", text), failure(400, "BadRequest", text))
    with pytest.raises(NotYet, match="waiting to start"):
        await kube.logs(namespace="ci", pod="a", container="box")
    with pytest.raises(NotYet, match="waiting to start"):
        async for _ in kube.follow(namespace="ci", pod="a", container="box"):
            pass


async def test_an_error_of_logs_is_not_its_own_cause(kube: Kube, server: Server) -> None:
    for call in ("logs", "follow"):
        server.answers(failure(404, "NotFound", 'pods "a" not found'))
        with pytest.raises(errors.NotFound) as raised:
            if call == "logs":
                await kube.logs(namespace="ci", pod="a", container="box")
            async for _ in kube.follow(namespace="ci", pod="a", container="box"):
                pass
        assert raised.value.__cause__ is None, call


async def test_two_hundred_requests_at_once_do_not_wait_for_each_other(
    kube: Kube, server: Server
) -> None:
    here = 0
    all_here = asyncio.Event()

    async def meet(request: web.Request) -> web.Response:
        nonlocal here
        here += 1
        if here == 200:
            all_here.set()
        await all_here.wait()
        return obj(POD)

    server.handler = meet
    answers = await asyncio.gather(
        *(kube.get(LEASES, name="a", namespace="ci") for _ in range(200))
    )
    assert answers == [POD] * 200
