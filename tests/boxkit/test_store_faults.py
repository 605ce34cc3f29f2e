"""What becomes of a build on a bad day of the object store: the end of one, by the real boxkit, engine and S3 client.

Only the API server is in memory. Two rules hold for each fault: a build is never green whose output is not in the
store as it was in the box, and a pod is not deleted before everything of it is in the store.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from sentinel.api.build import StepStatus
from sentinel.api.conditions import ConditionType, get_condition
from sentinel.clock import SystemClock
from sentinel.engine import finish
from sentinel.engine.run import Outcome
from sentinel.engine.uploads import Uploads
from sentinel.plan.model import Plan
from sentinel.session.messages import AttemptLimits
from sentinel.settings import StoreSettings
from sentinel.store.s3 import ObjectStore
from tests.boxkit.conftest import Box, Start, script
from tests.soak.faultystore import Fault, FaultyStore
from tests.unit.engine.world import UID, Server, attempt_of, plan, run_of, status_of

LOG, OUTPUT = "r/step/one-1/log.txt", "r/output.tar"
TEXT = "what the step left\n" * 20_000
PRINTED = b"said by the step\n"


class Pods(Server):
    """An API server whose one pod ends with its box, and whose kubelet has what that printed."""

    box: Box

    async def get(self, *args: Any, **fields: Any) -> dict[str, Any]:
        raw = await super().get(*args, **fields)
        if "nodeName" in raw.get("spec", {}) and self.box.process.returncode is not None:
            state = {"terminated": {"exitCode": self.box.process.returncode, "reason": "Completed"}}
            raw["status"] = {
                "phase": "Succeeded",
                "containerStatuses": [{"name": "box", "state": state}],
            }
        return raw

    async def logs(self, **_: Any) -> bytes:
        return await asyncio.to_thread((self.box.root / "stdout").read_bytes)


@dataclass(frozen=True, kw_only=True)
class End:
    """How a build ended, and where what it left is."""

    phase: str
    reason: str
    message: str
    pod: str
    """deleted or kept."""
    log: bytes | None
    output: bytes | None
    """The content of the one file in it."""


@pytest.fixture
def store() -> Iterator[FaultyStore]:
    with FaultyStore() as store:
        yield store


async def end_of(
    start: Start, store: FaultyStore, monkeypatch: pytest.MonkeyPatch, *, close: float = 1.0
) -> End:
    """Run a build's step with a healthy store, then end the build with `store` as it is. `close`: seconds for logs."""
    client = ObjectStore.from_settings(
        StoreSettings(
            bucket="bucket",
            endpoint=store.url,
            access_key_id=SecretStr("access"),
            secret_access_key=SecretStr("secret"),
        )
    )
    assert client is not None
    server = Pods(status_of(ready=True, begun=True))
    box = server.box = await start()
    monkeypatch.setattr(finish, "OUTPUT_DIR", str(box.root / "output"))
    steps = (replace(plan("one").steps[0], id="one-1"),)
    planned: Plan = replace(plan("one"), steps=steps, results_prefix="r/")
    name = server.add_pod(planned)
    run = run_of(server)
    run.tools = replace(run.tools, store=client, clock=SystemClock())
    run.tools.pods.offer(server.pods[name])
    run.writer.change(steps=[StepStatus(id="one-1", name="script", state="Running")])
    code = f"mkdir {box.root}/output; cat {box.root}/text >{box.root}/output/file; echo {PRINTED.decode().strip()}"
    (box.root / "text").write_text(TEXT)
    async with box.session() as session:
        attempt = attempt_of(run, planned, session=session)
        opening = box.open(build=UID, limits=AttemptLimits(close=close, grace=0.2), store=True)
        await session.open(opening)
        signing = asyncio.create_task(Uploads(attempt).sign())
        await session.start([script(1, code, id="one-1")])
        state = await session.wait_for(lambda state: state.done([1]))
        assert state.steps[1].passed, box.log(1).decode()
        running = StepStatus(
            id="one-1", name="script", state="Passed", start_time="2026-11-23T09:00:00Z"
        )
        run.writer.change(steps=[running])
        outcome = await finish.store_output(attempt, Outcome.passed("all steps passed"))
        run.decide(outcome)
        logs_safe = await finish.close_box(attempt)
        signing.cancel()
        with suppress(asyncio.CancelledError):
            await signing
    await box.process.wait()
    await finish.finish(run, outcome, logs_safe=logs_safe)
    client.close()
    ended = get_condition(run.writer.status.conditions, ConditionType.SUCCEEDED)
    assert ended is not None
    return End(
        phase=str(run.writer.status.phase),
        reason=ended.reason,
        message=ended.message,
        pod="kept" if name in server.pods else "deleted",
        log=store.objects.get(LOG, (None,))[0],
        output=_content(store.objects[OUTPUT][0]) if OUTPUT in store.objects else None,
    )


def _content(archive: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        file = tar.extractfile("output/file")
        assert file is not None
        return file.read()


GREEN = End(
    phase="Succeeded",
    reason="Passed",
    message="all steps passed",
    pod="deleted",
    log=PRINTED,
    output=TEXT.encode(),
)


def _is_log(method: str, path: str) -> bool:
    return method == "PUT" and path.endswith("/log.txt")


def _is_output(method: str, path: str) -> bool:
    return method == "PUT" and path.endswith("/output.tar")


def _is_put(method: str, path: str) -> bool:
    return method == "PUT"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="down", times=6),
        Fault(kind="status", status=503, code="SlowDown", times=6),
        Fault(kind="status", status=507, code="XMinioStorageFull", times=2, only=_is_output),
        Fault(kind="cut", times=6, only=_is_put),
        Fault(kind="unanswered", times=2, only=_is_put),
        Fault(kind="slow", rate=400_000),
        Fault(kind="unconditional"),
        # As of a URL that expired while nothing could be stored.
        Fault(kind="status", status=403, code="AccessDenied", times=2, only=_is_output),
        Fault(kind="status", status=403, code="AccessDenied", times=2, only=_is_log),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status or ''}{fault.only.__name__}",
)
async def test_what_passes_costs_a_build_nothing(
    start: Start, store: FaultyStore, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    store.faults = [fault := replace(fault)]
    assert await end_of(start, store, monkeypatch, close=60) == GREEN
    assert fault.struck >= max(fault.times, 1)


@pytest.mark.parametrize("ahead", [timedelta(minutes=-10), timedelta(minutes=10)], ids=str)
async def test_clocks_that_differ_by_minutes_do_no_harm(
    start: Start, store: FaultyStore, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    store.ahead = ahead
    assert await end_of(start, store, monkeypatch, close=60) == GREEN


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(hours=1)], ids=str)
async def test_clocks_that_differ_by_an_hour_end_the_build_and_keep_the_pod(
    start: Start, store: FaultyStore, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    store.ahead = ahead
    end = await end_of(start, store, monkeypatch)
    assert (end.phase, end.reason, end.pod) == ("Errored", "StoreFailed", "kept")
    assert end.message.startswith("the output was not stored: HTTP 403: ")


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (507, "XMinioStorageFull")])
async def test_an_output_that_is_refused_again_and_again_ends_the_build_and_keeps_the_pod(
    start: Start, store: FaultyStore, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    """The log is stored, but the output is in the pod only."""
    store.faults = [Fault(kind="status", status=status, code=code, only=_is_output)]
    end = await end_of(start, store, monkeypatch, close=60)
    assert (end.phase, end.reason, end.pod) == ("Errored", "StoreFailed", "kept")
    assert (end.log, end.output) == (PRINTED, None)
    assert store.faults[0].struck == 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="down"),
        Fault(kind="status", status=500, code="InternalError"),
        Fault(kind="cut", only=_is_put),
    ],
    ids=lambda fault: fault.kind,
)
async def test_a_store_that_does_not_come_back_ends_the_build_and_keeps_the_pod(
    start: Start, store: FaultyStore, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(finish, "COLLECTED_WITHIN", 1.0)
    store.faults = [replace(fault)]
    end = await end_of(start, store, monkeypatch)
    assert end == End(
        phase="Errored",
        reason="StoreFailed",
        message="the output was not stored within 1 s",
        pod="kept",
        log=None,
        output=None,
    )
