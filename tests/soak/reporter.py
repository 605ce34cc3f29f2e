"""Builds beside a receiver of reports that is dead, slow, answers 500, or comes and goes, against builds without one.

Blocks of builds with and without the reporter take turns, so that a machine whose speed drifts does not decide the
ratio. At the end the receiver is well, and must have got every report of every build, in order; of the builds that ran
while there was no reporter as well.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.bench.figures import at_most, say
from tests.bench.world import World
from tests.install import NAMESPACE, install
from tests.kubectl import Kubectl
from tests.kubectl import until as wait
from tests.soak.ground import seconds_of, until

GOALS = at_most({"reporter.ratio": 1.05, "reporter.lost": 0.0, "reporter.disordered": 0.0})
MODES = ("dead", "slow", "500", "flapping")
DEPLOYMENT = "deployment/sentinel-reporter"
LEASE = "sentinel-reporter"
SELECTOR = "app.kubernetes.io/component=reporter"
TOKENS = "soak-report-tokens"
SLOW = 8.0
"""Seconds for one answer; the reporter waits for 10."""
EVENTS = (
    *("runstarted", "runstepstarted", "runsourcefetched", "runconfigparsed", "runsteplogs"),
    *("runstepfinished", "runstepsadded", "runenvironmentset"),
)
"""What the first reports of each run are. Then come those of the steps."""


@dataclass
class Receiver:
    """Keeps what it has answered with 200: by run, each report once, in the order in which they came."""

    namespace: str
    mode: str = "well"
    runs: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, path: str, key: str, body: dict[str, Any]) -> None:
        if body["namespace"] != self.namespace:
            return
        words = (path.partition("?")[0].rpartition("/")[2], body.get("stepSafeId", ""))
        with self._lock:
            self.runs.setdefault(body["runId"], {}).setdefault(key, " ".join(filter(None, words)))

    def fails(self) -> str:
        """What happens to the next request: nothing, or what its mode is."""
        mode = self.mode
        if mode == "flapping":
            mode = random.choice(("well", "500", "dead"))
        if mode != "well":
            with self._lock:
                self.refused[mode] = self.refused.get(mode, 0) + 1
        return mode


async def measure(here: World, *, count: int) -> dict[str, Any]:
    """`reporter`: medians in seconds and their ratio, and how many runs lost reports or got them in another order."""
    receiver = Receiver(here.namespace)
    with _served(here, receiver) as url:
        try:
            await asyncio.to_thread(_install, here, url)
            return await _measure(here, receiver, count=count)
        finally:
            await asyncio.to_thread(_remove, here)


async def _measure(here: World, receiver: Receiver, *, count: int) -> dict[str, Any]:
    url = here.project(["echo one", "echo two"])
    await seconds_of(here, url)
    alone: list[float] = []
    beside: dict[str, list[float]] = {mode: [] for mode in MODES}
    began = time.monotonic()
    for mode in MODES:
        await asyncio.to_thread(_scale, here, 0)
        alone += [await seconds_of(here, url) for _ in range(count)]
        receiver.mode = mode
        await asyncio.to_thread(_scale, here, 1)
        beside[mode] += [await seconds_of(here, url) for _ in range(count)]
        say(
            f"{mode}: {statistics.median(beside[mode]):.2f} s, alone {statistics.median(alone):.2f} s"
        )
    lasted = time.monotonic() - began
    receiver.mode = "well"
    # A reporter that has just started does not wait out the pause that its predecessor had come to.
    await asyncio.to_thread(_scale, here, 0)
    await asyncio.to_thread(_scale, here, 1)
    made = 1 + 2 * count * len(MODES)
    with_all = f"all reports of {made} runs"
    try:
        await until(lambda: len(_ended(receiver)) == made, seconds=300, what=with_all)
    except RuntimeError as e:
        say(str(e))
    due = _expected(receiver)
    wrong = [run for run in receiver.runs.values() if _shape(run) != due]
    lost = [run for run in wrong if sorted(_shape(run)) != sorted(due)]
    for each in wrong[:3]:
        say(f"wrong: {list(each.values())}")
    everything = [seconds for each in beside.values() for seconds in each]
    return {
        "reporter": {
            "builds_beside": len(everything),
            "builds_alone": len(alone),
            "seconds": round(lasted, 1),
            "alone_median_s": round(statistics.median(alone), 3),
            "beside_median_s": {m: round(statistics.median(v), 3) for m, v in beside.items()},
            "ratio": round(statistics.median(everything) / statistics.median(alone), 3),
            "failed_requests": dict(sorted(receiver.refused.items())),
            "runs": len(receiver.runs),
            "lost": made - len(receiver.runs) + len(lost),
            "disordered": len(wrong) - len(lost),
        }
    }


def _ended(receiver: Receiver) -> list[str]:
    return [uid for uid, run in list(receiver.runs.items()) if "runcompleted" in run.values()]


def _shape(run: dict[str, str]) -> list[str]:
    """The reports of a run, with its steps numbered as they first appear."""
    numbers: dict[str, int] = {}
    shape = []
    for each in run.values():
        path, _, step = each.partition(" ")
        shape.append(f"{path} {numbers.setdefault(step, len(numbers))}" if step else path)
    return shape


def _expected(receiver: Receiver) -> list[str]:
    """The sequence that most runs have; its beginning must be the documented one."""
    shapes = [tuple(_shape(run)) for run in receiver.runs.values()]
    due = statistics.mode(shapes)
    first = tuple(each.partition(" ")[0] for each in due[: len(EVENTS)])
    if first != EVENTS or due[-1] != "runcompleted":
        raise RuntimeError(f"reports came as {due}")
    return list(due)


@contextmanager
def _served(here: World, receiver: Receiver) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            how = receiver.fails()
            if how == "dead":
                self.close_connection = True
                self.connection.close()
                return
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if how == "slow":
                time.sleep(SLOW)
            if how != "500":
                receiver.take(self.path, self.headers["Idempotency-Key"], body)
            self.send_response(500 if how == "500" else 200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer((here.lab.gateway, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{here.lab.gateway}:{server.server_port}/wercker"
    finally:
        server.shutdown()
        server.server_close()


def _install(here: World, url: str) -> None:
    Kubectl(here.lab).apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": TOKENS, "namespace": NAMESPACE},
            "stringData": {"werckerAPI": "token"},
        }
    )
    more = {"reports.werckerAPI.url": url, "reports.existingSecret": TOKENS}
    install(here.lab, quiet=True, more=more)
    _until_it_leads(Kubectl(here.lab))


def _until_it_leads(kubectl: Kubectl) -> None:
    """Wait for the reporter to hold its Lease, and to have noted when it first began: it is ready before."""

    def leads() -> bool:
        lease = kubectl.get("lease", LEASE, namespace=NAMESPACE) or {"spec": {}}
        pods = kubectl.list("pods", namespace=NAMESPACE, selector=SELECTOR)
        began = kubectl.get("configmap", "sentinel-reports-0", namespace=NAMESPACE) or {}
        holder = lease["spec"].get("holderIdentity")
        return "since.wercker" in began.get("data", {}) and [
            each["metadata"]["name"] for each in pods
        ] == [holder]

    wait(leads, what="the reporter leads", timeout=110)


def _remove(here: World) -> None:
    """Install without a reporter, and delete what a reporter leaves for its successor."""
    install(here.lab, quiet=True)
    kept = [("lease", LEASE), ("secret", TOKENS)]
    kept += [("configmap", f"sentinel-reports-{n}") for n in range(8)]
    for kind, name in kept:
        Kubectl(here.lab)("delete", kind, name, "-n", NAMESPACE, "--ignore-not-found")


def _scale(here: World, replicas: int) -> None:
    kubectl = Kubectl(here.lab)
    kubectl("scale", DEPLOYMENT, "-n", NAMESPACE, f"--replicas={replicas}")
    if replicas:
        # What starting it costs is not what it costs a build.
        kubectl("rollout", "status", DEPLOYMENT, "-n", NAMESPACE, "--timeout=110s")
        _until_it_leads(kubectl)
    else:
        pods = ("pods", "-n", NAMESPACE, "-l", SELECTOR)
        kubectl("wait", *pods, "--for=delete", "--timeout=110s")
