"""The reference of the operator's processor time: which requests it takes from the audit log, and what it sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration
from tests.bench.bareclient import Client, Work, requests_of
from tests.bench.writing import OPERATOR

BUILDS = "/apis/sentinel.wercker.com/v1alpha1/namespaces/ci/builds"
PODS = "/api/v1/namespaces/ci/pods"
EVENTS = "/apis/events.k8s.io/v1/namespaces/ci/events"


def event(at: int, verb: str, resource: str, uri: str, **more: Any) -> dict[str, Any]:
    """An event of the audit log, as the API server writes it at level Metadata."""
    resource, _, subresource = resource.partition("/")
    return {
        "stage": more.pop("stage", "ResponseComplete"),
        "verb": verb,
        "user": {"username": more.pop("user", OPERATOR)},
        "objectRef": {
            "resource": resource,
            "subresource": subresource,
            "namespace": more.pop("namespace", "ci"),
        },
        "requestURI": uri,
        "requestReceivedTimestamp": f"2026-11-28T09:00:{at:02}.000000Z",
    }


def test_the_operators_requests_are_taken_in_the_order_of_their_arrival() -> None:
    log = [
        event(2, "update", "builds/status", f"{BUILDS}/b/status"),
        event(1, "create", "pods", f"{PODS}?fieldValidation=Strict"),
        event(3, "get", "pods/exec", f"{PODS}/p/exec?command=true"),
        event(4, "get", "pods", f"{PODS}/p", namespace="other"),
        event(5, "get", "pods", f"{PODS}/p", user="system:node:a"),
        event(6, "get", "pods/exec", f"{PODS}/p/exec", stage="ResponseStarted"),
    ]
    assert requests_of(log, namespace="ci") == [
        ("POST", "pods", f"{PODS}?fieldValidation=Strict"),
        ("PUT", "builds/status", f"{BUILDS}/b/status"),
        ("GET", "pods/exec", f"{PODS}/p/exec?command=true"),
    ]


Seen = list[tuple[str, str, Any]]


@pytest.fixture
def api() -> Iterator[tuple[ApiClient, Seen]]:
    """A client of a server that answers each request with an empty object, and the requests that it got."""
    seen: Seen = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append((self.command, self.path, json.loads(body or b"null")))
            self.send_response(409 if self.command == "PATCH" else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        configuration = Configuration()
        configuration.host = f"http://127.0.0.1:{server.server_port}"
        with ApiClient(configuration) as client:
            yield client, seen
        server.shutdown()
        thread.join()


def test_requests_are_sent_to_objects_of_its_own(api: tuple[ApiClient, Seen]) -> None:
    client, seen = api
    requests = [
        ("POST", "pods", PODS),
        ("PUT", "builds/status", f"{BUILDS}/b/status"),
        ("POST", "events", EVENTS),
        ("GET", "pods/log", f"{PODS}/p/log?container=box"),
        ("PATCH", "pods", f"{PODS}/p"),
        ("POST", "secrets", "/api/v1/namespaces/ci/secrets"),
        ("DELETE", "pods", f"{PODS}/p"),
    ]
    build = {"metadata": {"name": "ours"}, "status": {"phase": "Succeeded"}}
    pod = {"metadata": {"annotations": {"a": "b"}}, "spec": {"containers": []}}
    work = Work(
        kubeconfig="",
        rounds=1,
        requests=requests,
        build=build,
        event={"reason": "Started"},
        running="runs",
        pod=pod,
    )

    bare = Client(work, client)
    sent = bare.round()

    name = seen[0][2]["metadata"]["name"]
    assert seen[0] == ("POST", PODS, pod | {"metadata": {"annotations": {"a": "b"}, "name": name}})
    assert seen[1] == ("PUT", f"{BUILDS}/ours/status", build)
    assert seen[2][2]["reason"] == "Started"
    assert [path for _, path, _ in seen[3:]] == [
        f"{PODS}/runs/log?container=box",
        f"{PODS}/{name}",
        f"{PODS}/{name}",
    ]
    assert "POST secrets" not in sent
    assert sent["DELETE pods"] == 1
    assert bare.failed == {"PATCH pods 409": 1}
