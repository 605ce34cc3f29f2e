"""What the bare `kubernetes` client takes for a build's requests: the reference for the operator's processor time.

The requests are those that the audit log has of one build. A process of its own sends them again, with `ApiClient`
and nothing around it: no watches, no YAML, no git, no journal, only the requests, one after the other, and their
answers read as JSON. What it cannot send again is named in `left_out`.

`python -m tests.bench.bareclient` is that process: a `Work` on stdin as JSON, a `Took` on stdout.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from kubernetes import config
from kubernetes.client import ApiClient
from kubernetes.stream import ws_client

from sentinel.kube.resources import EVENTS, PODS
from tests.bench.world import World, bare
from tests.bench.writing import OPERATOR, settle
from tests.install import ROOT
from tests.lab import audit

METHODS = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}
JSON = "application/json"
Requests = list[tuple[str, str, str]]
"""Method, kind (`builds/status`) and URI, in the order in which they were sent."""


@dataclass(frozen=True)
class Work:
    """What is sent, and on which objects: a finished Build, a pod that runs, and one that each round creates."""

    kubeconfig: str
    rounds: int
    requests: Requests
    build: dict[str, Any]
    event: dict[str, Any]
    running: str
    pod: dict[str, Any]


@dataclass
class Took:
    """Milliseconds of processor time a round; requests by kind a round; how many failed in all rounds."""

    ms: float
    requests: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)


async def work(here: World, url: str, *, rounds: int, **spec: Any) -> Work:
    """The requests of one build of that project, which runs for it, and objects to send them to."""
    template = await here.template(url, **spec)
    begin = audit.end(here.lab.audit_log)
    made = await here.build(url, **spec)
    await settle(here, made)
    build, _ = await made.finished()
    log = audit.events(here.lab.audit_log, begin=begin, holding=here.namespace)
    events, _ = await here.kube.list(EVENTS, namespace=here.namespace)
    event = next(e for e in events if (e.get("regarding") or {}).get("name") == made.name)
    running = bare(template, fetch=False)
    running["metadata"]["name"] = f"bare-{uuid.uuid4().hex[:8]}"
    box = next(each for each in running["spec"]["containers"] if each["name"] == "box")
    box["command"] = ["sleep", "3600"]
    await here.kube.create(PODS, running, namespace=here.namespace)
    await here.until_pod(
        running["metadata"]["name"], lambda raw: raw["status"].get("phase") == "Running"
    )
    # Never scheduled: what the node would do for it is not the client's work.
    pod = bare(template, fetch=True)
    pod["metadata"]["annotations"] = template["metadata"].get("annotations", {})
    pod["spec"]["schedulingGates"] = [{"name": "bench.example.com/never"}]
    return Work(
        kubeconfig=here.lab.kubeconfig,
        rounds=rounds,
        requests=requests_of(log, namespace=here.namespace),
        build=build,
        event=event,
        running=running["metadata"]["name"],
        pod=pod,
    )


def requests_of(log: Iterable[dict[str, Any]], *, namespace: str) -> Requests:
    """What the operator sent to that namespace, in the order of its arrival."""
    found = []
    for event in log:
        target = event.get("objectRef") or {}
        if event["stage"] != "ResponseComplete" or event["user"]["username"] != OPERATOR:
            continue
        if target.get("namespace") != namespace:
            continue
        kind = "/".join(x for x in (target.get("resource"), target.get("subresource")) if x)
        method = METHODS.get(event["verb"], event["verb"])
        found.append((event["requestReceivedTimestamp"], (method, kind, event["requestURI"])))
    return [each for _, each in sorted(found)]


async def send(given: Work) -> Took:
    """Have a process of its own do the work. Raises RuntimeError if it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.bench.bareclient"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(json.dumps(asdict(given)).encode())
    if process.returncode:
        raise RuntimeError(f"the bare client ended with {process.returncode}")
    return Took(**json.loads(out))


class Client:
    """The bare client, and the objects to which it sends."""

    def __init__(self, given: Work, api: ApiClient) -> None:
        self._given, self._api = given, api
        self._pod = ""
        self.failed: dict[str, int] = {}

    def round(self) -> dict[str, int]:
        """Send each request once. How many of each kind were sent; those missing cannot be sent again."""
        self._pod = f"bare-{uuid.uuid4().hex[:8]}"
        sent: dict[str, int] = {}
        for method, kind, uri in self._given.requests:
            what = f"{method} {kind}"
            body = self._body(method, kind)
            if body is None and method not in ("GET", "DELETE"):
                continue
            status = self._exec(uri) if kind == "pods/exec" else self._send(method, kind, uri, body)
            sent[what] = sent.get(what, 0) + 1
            if status >= 400:
                self.failed[f"{what} {status}"] = self.failed.get(f"{what} {status}", 0) + 1
        return sent

    def _body(self, method: str, kind: str) -> Any:
        given = self._given
        match method, kind:
            case "POST", "pods/exec":
                return {}
            case "POST", "pods":
                return given.pod | {"metadata": {**given.pod["metadata"], "name": self._pod}}
            case "POST", "events":
                metadata = {"name": f"bare.{uuid.uuid4().hex[:16]}"}
                return given.event | {"metadata": metadata}
            case "PUT", "builds" | "builds/status":
                return given.build
            case "PATCH", _:
                return {"metadata": {"labels": {"bench.example.com/patched": "true"}}}
            case "DELETE", _:
                return {"gracePeriodSeconds": 0}
        return None

    def _send(self, method: str, kind: str, uri: str, body: Any) -> int:
        pod = self._given.running if kind == "pods/log" else self._pod
        uri = re.sub(r"/builds/[^/?]+", f"/builds/{self._given.build['metadata']['name']}", uri)
        uri = re.sub(r"/pods/[^/?]+", f"/pods/{pod}", uri)
        patch = "application/merge-patch+json"
        headers = {"Accept": JSON, "Content-Type": patch if method == "PATCH" else JSON}
        url = self._api.configuration.host + uri
        answer = self._api.call_api(method, url, header_params=headers, body=body)
        data = answer.read()
        if kind != "pods/log":
            json.loads(data)
        return int(answer.status)

    def _exec(self, uri: str) -> int:
        place = re.sub(r"/pods/[^/?]+", f"/pods/{self._given.running}", uri.partition("?")[0])
        url = f"{self._api.configuration.host}{place}?container=box&command=true&stdin=true&stdout=true&stderr=true"
        return int(ws_client.websocket_call(self._api.configuration, "GET", url).status)


def main() -> None:
    given = Work(**json.load(sys.stdin))
    config.load_kube_config(given.kubeconfig)
    client = Client(given, ApiClient())
    sent = client.round()  # connections, and what Python imports on first use
    client.failed.clear()
    before = time.process_time()
    for _ in range(given.rounds):
        client.round()
    ms = (time.process_time() - before) * 1000 / given.rounds
    wanted = {f"{method} {kind}" for method, kind, _ in given.requests}
    took = Took(
        ms=round(ms, 1), requests=sent, left_out=sorted(wanted - set(sent)), failed=client.failed
    )
    json.dump(asdict(took), sys.stdout)


if __name__ == "__main__":
    main()
