"""Reports as receivers get them, across restarts of operator and reporter; a scheduler creates the Builds."""

from __future__ import annotations

import base64
import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from kubernetes import client
from tests.cluster.conftest import Builds
from tests.install import NAMESPACE, ROOT, install
from tests.kubectl import Kubectl, until
from tests.lab.state import Lab

TOKENS = "test-report-tokens"


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Receiver:
    """Everything that was POSTed; while `down`, it answers 503."""

    url: str = ""
    down: bool = False
    received: list[Received] = field(default_factory=list)

    def wercker(self, uid: str) -> list[str]:
        """The reports of a run in wercker's format, in the order they came, each id once."""
        found: dict[str, str] = {}
        for each in self.received:
            path = each.path.partition("?")[0]
            if not path.startswith("/wercker/") or each.body["runId"] != uid:
                continue
            words = [path.removeprefix("/wercker/"), each.body.get("stepSafeId", "")]
            words.append(each.body.get("result", ""))
            found.setdefault(each.headers["idempotency-key"], " ".join(filter(None, words)))
        return list(found.values())

    def events(self, uid: str) -> list[str]:
        """The types of a Build's CloudEvents."""
        found = {
            each.headers["ce-id"]: each.headers["ce-type"].removeprefix(
                "com.wercker.sentinel.build."
            )
            for each in self.received
            if each.path == "/events" and each.body["uid"] == uid
        }
        return list(found.values())

    def has_all(self, uid: str) -> bool:
        """Whether both have the last report of a run."""
        return "runcompleted" in self.wercker(uid) and "completed" in self.events(uid)

    def states(self, commit: str) -> list[str]:
        """The commit statuses of a commit; a repeated one counts once."""
        found = [
            each.body["state"]
            for each in self.received
            if each.path.startswith("/git/repos/") and each.path.endswith(f"/statuses/{commit}")
        ]
        return list(dict.fromkeys(found))


@pytest.fixture
def receiver(sentinel: Lab, kubectl: Kubectl) -> Iterator[Receiver]:
    """A receiver on this machine, and a release that reports to it in three ways."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            # Looked at once: what is answered with 200 must have been received.
            down = found.down
            if not down:
                headers = {key.lower(): value for key, value in self.headers.items()}
                found.received.append(Received(self.path, headers, body))
            self.send_response(503 if down else 200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer((sentinel.gateway, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://{sentinel.gateway}:{server.server_port}"
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": TOKENS, "namespace": NAMESPACE},
            "stringData": {"werckerAPI": "wercker-token", "cloudEvents": "bearer", "git": "gitea"},
        }
    )
    host = sentinel.git_url.partition("://")[2]
    try:
        install(
            sentinel,
            quiet=True,
            more={
                "reports.werckerAPI.url": f"{found.url}/wercker",
                "reports.cloudEvents.url": f"{found.url}/events",
                "reports.commitStatuses[0].host": host,
                "reports.commitStatuses[0].kind": "gitea",
                "reports.commitStatuses[0].api": f"{found.url}/git",
                "reports.commitStatuses[0].tokenKey": "git",
                "reports.commitStatuses[0].repositories[0]": "*",
                "reports.existingSecret": TOKENS,
                "reports.namespaceSecrets": "true",
            },
        )
        # A reporter is ready as a standby. It reports what ends after its first start, which it notes here.
        kubectl.wait_for(
            "configmap",
            "sentinel-reports-0",
            namespace=NAMESPACE,
            until=lambda raw: "since.wercker" in raw.get("data", {}),
        )
        yield found
    finally:
        server.shutdown()
        server.server_close()
        install(sentinel, quiet=True)
        for kind, name in (
            ("secret", TOKENS),
            ("lease", "sentinel-reporter"),
            *(("configmap", f"sentinel-reports-{n}") for n in range(8)),
        ):
            kubectl("delete", kind, name, "-n", NAMESPACE, "--ignore-not-found")


@pytest.fixture
def sample() -> ModuleType:
    """manifests/samples/wercker_api.py."""
    path = ROOT / "manifests/samples/wercker_api.py"
    spec = importlib.util.spec_from_file_location("wercker_api", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["wercker_api"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scheduler(builds: Builds, sample: ModuleType, tmp_path: Path) -> Iterator[Any]:
    """The sample's runs, with the rights of manifests/samples/wercker-api.yaml and no others."""
    kubectl, namespace = builds.kubectl, builds.namespace
    file = str(ROOT / "manifests/samples/wercker-api.yaml")
    kubectl("apply", "-n", namespace, "-f", file)
    token = kubectl("create", "token", "wercker-api", "-n", namespace).strip()
    view = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    cluster = view["clusters"][0]["cluster"]
    ca = tmp_path / "ca.crt"
    ca.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    settings = client.Configuration(host=cluster["server"])
    settings.ssl_ca_cert = str(ca)
    settings.api_key = {"authorization": f"Bearer {token}"}
    for verb in ("create", "get", "patch", "watch"):
        builds.await_rights("wercker-api", verb, "builds.sentinel.wercker.com")
    with client.ApiClient(settings) as api_client:
        yield sample.Runs(namespace, api_client=api_client)


YML = """box: {box}
build:
  steps:
    - script:
        name: first
        code: |
          echo "hello from $WERCKER_RUN_ID"
          test "$HOW" != fail
    - script:
        name: second
        code: |
          echo begun > /tmp/begun
          test "$HOW" != wait || sleep 600
          echo done > "$WERCKER_OUTPUT_DIR/out"
  after-steps:
    - script:
        name: tell
        code: echo "$WERCKER_RESULT"
"""
SETUP = "setup environment"


def golden(first: str, second: str, third: str, *, how: str, after_ran: bool) -> list[str]:
    """What wercker-api gets of a build that ends so."""
    before = [
        "runstarted",
        f"runstepstarted {SETUP}",
        "runsourcefetched",
        "runconfigparsed passed",
        f"runsteplogs {SETUP}",
        f"runstepfinished {SETUP} passed",
        "runstepsadded",
        "runenvironmentset",
        f"runstepstarted {first}",
        f"runsteplogs {first}",
    ]
    words = (f"runstepstarted {third}", f"runsteplogs {third}", f"runstepfinished {third} passed")
    after = [*words] if after_ran else []
    if how == "fail":
        return [
            *before,
            f"runstepfinished {first} failed",
            "runfinished failed",
            *after,
            "runcompleted",
        ]
    running = [f"runstepfinished {first} passed", f"runstepstarted {second}"]
    if how == "wait":
        ended = [f"runstepfinished {second} failed", "runfinished failed"]
        return [*before, *running, *ended, *after, "runcompleted"]
    ended = [
        f"runstepfinished {second} passed",
        "runstepstarted store",
        "runstepfinished store passed",
        "runfinished passed",
    ]
    return [*before, *running, *ended, *after, "runcompleted"]


def only_pod(builds: Builds, component: str) -> str:
    """The name of a component's pod, once those before it are gone."""
    names: list[str] = []

    def alone() -> bool:
        selector = f"app.kubernetes.io/component={component}"
        pods = builds.kubectl.list("pods", namespace=NAMESPACE, selector=selector)
        names[:] = [each["metadata"]["name"] for each in pods]
        return len(names) == 1

    until(alone, what=f"one pod of the {component}")
    return names[0]


@pytest.mark.timeout(1200)
def test_reports_of_runs_across_restarts(
    builds: Builds, scheduler: Any, sample: ModuleType, receiver: Receiver
) -> None:
    # A receiver that the namespace itself names, and that cannot be used: an event, and nothing else.
    builds.secret("sentinel-reports", **{"werckerAPI.url": "file:///etc/passwd"})
    url = builds.project(YML.format(box=f"{builds.lab.registry}/box/debian:12"))
    commit = ""

    def spec(how: str) -> dict[str, Any]:
        return {
            "pipeline": "build",
            "source": {"git": {"url": url, "ref": "main"}},
            "env": [{"name": "HOW", "value": how}],
            "image": {"commit": "never"},
        }

    uids = {how: scheduler.start(f"58F1{how}", spec(how)) for how in ("pass", "fail", "wait")}
    # The same run once more is the same Build; another one under its id is refused.
    assert scheduler.start("58F1pass", spec("pass")) == uids["pass"]
    with pytest.raises(sample.OtherRun):
        scheduler.start("58F1pass", {**spec("pass"), "pipeline": "deploy"})

    assert scheduler.wait("58F1pass", seconds=300).result == "passed"
    failed = scheduler.wait("58F1fail", seconds=300)
    assert (failed.result, failed.phase, failed.reason) == ("failed", "Failed", "ExitCode")
    commit = failed.commit
    until(lambda: "runcompleted" in receiver.wercker(uids["pass"]), what="all reports of a run")

    planned = builds.kubectl.wait_for(
        "build",
        "run-58f1wait",
        namespace=builds.namespace,
        until=lambda raw: raw.get("status", {}).get("steps"),
    )
    second = planned["status"]["steps"][1]["id"]
    until(
        lambda: f"runstepstarted {second}" in receiver.wercker(uids["wait"]),
        what="the report that the second step began",
        timeout=300,
    )

    # The receiver, the operator and the reporter go away while a run is under way.
    receiver.down = True
    # Their end is waited for: the run is cancelled, and its end counted and reported, by those that come after them.
    parts = "app.kubernetes.io/component in (operator,reporter)"
    builds.kubectl("delete", "pod", "-n", NAMESPACE, "-l", parts, "--timeout=200s", timeout=210)
    scheduler.cancel("58F1wait")
    cancelled = scheduler.wait("58F1wait", seconds=300)
    assert (cancelled.result, cancelled.reason) == ("aborted", "Cancelled")
    receiver.down = False

    for how, uid in uids.items():
        # A receiver that was down is tried again after a pause that grew as long as it was down.
        until(partial(receiver.has_all, uid), what=f"all reports of run {how}", timeout=400)
        steps = builds.get(f"run-58f1{how}")["status"]["steps"]
        ids = [each["id"] for each in steps]
        # Whether after-steps follow a cancel is not what this is about.
        after_ran = how != "wait" or bool(steps[2].get("startTime"))
        found = receiver.wercker(uid)
        # Whether a step that was stopped printed something is its own business.
        assert [each for each in found if each != f"runsteplogs {ids[1]}"] == golden(
            *ids, how=how, after_ran=after_ran
        )
        assert receiver.events(uid)[0] == "started"
    due = {"pending", "success", "failure", "error"}
    until(lambda: due <= set(receiver.states(commit)), what=f"commit statuses {due}", timeout=400)

    def misconfigured() -> bool:
        events = builds.kubectl.list("events.events.k8s.io", namespace=builds.namespace)
        return any(
            each["reason"] == "ReportsMisconfigured" and "passwd" not in each["note"]
            for each in events
        )

    until(misconfigured, what="an event on the Secret that cannot be used")
    for component, series in (
        ("operator", 'sentinel_builds_finished_total{phase="Cancelled",reason="Cancelled"}'),
        ("operator", 'sentinel_api_requests_total{code="200",method="GET"}'),
        ("reporter", 'sentinel_reports_total{receiver="wercker",result="taken"}'),
    ):
        name = only_pod(builds, component)
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics"
        assert series in builds.kubectl("get", "--raw", path)

    usage = builds.get("run-58f1wait")["status"]["usage"]
    assert usage["runSeconds"] > 0
    assert usage["peakMemoryBytes"] > 0
    assert usage["cpuSeconds"] > 0

    tokens = {each.path.partition("?")[2] for each in receiver.received if "/wercker/" in each.path}
    assert tokens == {"wercker_token=wercker-token"}
    log = next(
        each.body["logs"]
        for each in receiver.received
        if each.path.startswith("/wercker/runsteplogs") and each.body["runId"] == uids["pass"]
        if each.body["stepSafeId"] != SETUP
    )
    assert f"hello from {uids['pass']}".encode() in base64.b64decode(log)
