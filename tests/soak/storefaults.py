"""Builds on bad days of the object store: one build for each fault, all at once, against the lab's store.

The store of the operator is a server of ours in front of the lab's, which breaks the requests of each build in another
way. A fault begins when the build's step has ended, so that the end of the build meets it. Two rules hold for all: no
build is green whose output is not in the store, whole, and no pod is deleted before all of it is.

Clocks that differ and a store that stays away are in tests/boxkit/test_store_faults.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from sentinel.kube.errors import NotFound
from sentinel.kube.resources import PODS
from tests.bench.figures import at_most, say
from tests.bench.world import Made, World
from tests.install import install
from tests.lab.state import Lab
from tests.soak.faultystore import Fault, FaultyStore
from tests.soak.ground import LITTLE

GOALS = at_most(
    {"store_faults.false_green": 0.0, "store_faults.lost": 0.0, "store_faults.wrong": 0.0}
)
MIB = 1024**2
SIZE = 8 * MIB
WITHIN = 400.0
STEP_SECONDS = 15
URL_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault that lasts for `seconds` (0: to the end) from the end of the step on, and how the build must end."""

    fault: Fault
    seconds: float = 0.0
    ends: str = "Succeeded"


def cases() -> dict[str, Case]:
    """What is injected, by its name in the table."""
    return {
        "nothing": Case(fault=Fault(kind="slow", rate=1 << 30)),
        "down for two minutes": Case(fault=Fault(kind="down"), seconds=120),
        # Longer than a URL is valid: those of the first try have expired then.
        "down, and URLs expire": Case(fault=Fault(kind="down"), seconds=2 * URL_SECONDS),
        "slow: 1 MiB/s": Case(fault=Fault(kind="slow", rate=MIB)),
        "500 for a minute": Case(
            fault=Fault(kind="status", status=500, code="InternalError"), seconds=60
        ),
        "full (507)": Case(
            fault=Fault(kind="status", status=507, code="XMinioStorageFull"), ends="Errored"
        ),
        "403": Case(fault=Fault(kind="status", status=403, code="AccessDenied"), ends="Errored"),
        "403 for the output only": Case(
            fault=Fault(kind="status", status=403, code="AccessDenied"), ends="Errored"
        ),
        "uploads cut in the middle": Case(fault=Fault(kind="cut", times=6)),
        "answers lost": Case(fault=Fault(kind="unanswered", times=2)),
        "no conditional writes (501)": Case(fault=Fault(kind="unconditional")),
    }


async def measure(here: World, *, count: int) -> dict[str, Any]:
    """`store_faults`: outcomes by case, with how many were green without output, lost something, or ended otherwise."""
    behind = urlsplit(here.lab.s3_endpoint).netloc
    with FaultyStore(behind=behind, host=here.lab.gateway) as store:
        more = {
            "store.endpoint": store.url,
            "operator.extraEnv[0].name": "SENTINEL_STORE__URL_SECONDS",
            # A string for helm, where a whole number would be a number.
            "operator.extraEnv[0].value": f"{URL_SECONDS}.0",
        }
        try:
            await asyncio.to_thread(install, here.lab, quiet=True, more=more)
            return await _measure(here, store)
        finally:
            await asyncio.to_thread(install, here.lab, quiet=True)


async def _measure(here: World, store: FaultyStore) -> dict[str, Any]:
    code = f'head -c {SIZE} /dev/urandom | tee "$WERCKER_OUTPUT_DIR/big" | sha256sum; date >"$WERCKER_CACHE_DIR/now"'
    # The second step lasts until every fault has begun, however busy the machine is with all of these builds.
    url = here.project([code, f"sleep {STEP_SECONDS}; echo the last word"])
    tasks = {}
    async with asyncio.TaskGroup() as group:
        for name, case in cases().items():
            tasks[name] = group.create_task(_one(here, store, name, case, url))
    rows = {name: task.result() for name, task in tasks.items()}
    for name, row in rows.items():
        say(f"{name:30} {row}")
    return {
        "store_faults": {
            "rows": rows,
            "false_green": sum(
                r["ended"] == "Succeeded" and r["output"] != "whole" for r in rows.values()
            ),
            "lost": sum(
                r["pod"] == "deleted" and "missing" in (r["logs"], r["output"])
                for r in rows.values()
            ),
            "wrong": sum(r["ended"] != cases()[name].ends for name, r in rows.items()),
        }
    }


async def _one(here: World, store: FaultyStore, name: str, case: Case, url: str) -> dict[str, Any]:
    made = await here.build(
        url, pod=LITTLE, cache={"key": hashlib.sha256(name.encode()).hexdigest()[:8]}
    )
    await made.until(lambda raw: raw.get("status", {}).get("currentStep") == "s1", seconds=WITHIN)
    uid = made.raw["metadata"]["uid"]

    def only(method: str, path: str) -> bool:
        ours = uid in path
        if name.endswith("output only"):
            return ours and method == "PUT" and path.endswith("/output.tar")
        return ours and (case.fault.kind not in ("cut", "unanswered") or method == "PUT")

    case.fault.only = only
    began = time.monotonic()
    store.faults.append(case.fault)
    ending = asyncio.create_task(_remove(store, case.fault, after=case.seconds or WITHIN))
    try:
        raw = await made.until(_finished, seconds=WITHIN)
    except TimeoutError as e:
        # It counts as wrong; what the others did is worth knowing.
        return {"ended": "not", "reason": str(e), "output": "", "logs": "", "pod": "kept"}
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
    seconds = time.monotonic() - began
    found = await asyncio.to_thread(_stored, here.lab, raw)
    return {
        "ended": raw["status"]["phase"],
        "reason": _reason(raw),
        "seconds": round(seconds, 1),
        "struck": case.fault.struck,
        "pod": "kept" if await _there(here, made) else "deleted",
        **found,
    }


async def _remove(store: FaultyStore, fault: Fault, *, after: float) -> None:
    """End a fault after so many seconds, or when cancelled."""
    try:
        await asyncio.sleep(after)
    finally:
        store.faults.remove(fault)


def _finished(raw: dict[str, Any]) -> bool:
    conditions = raw.get("status", {}).get("conditions", [])
    return any(c["type"] == "Finished" and c["status"] == "True" for c in conditions)


def _reason(raw: dict[str, Any]) -> str:
    found = next(c for c in raw["status"]["conditions"] if c["type"] == "Succeeded")
    return f"{found['reason']}: {found['message']}"[:160]


async def _there(here: World, made: Made) -> bool:
    try:
        pod = await here.kube.get(PODS, namespace=here.namespace, name=made.pod)
    except NotFound:
        return False
    return "deletionTimestamp" not in pod["metadata"]


def _stored(lab: Lab, raw: dict[str, Any]) -> dict[str, str]:
    """Whether logs and output are in the store: whole, partial, or missing."""
    client = boto3.client(
        "s3",
        endpoint_url=lab.s3_endpoint,
        aws_access_key_id=lab.s3_access_key,
        aws_secret_access_key=lab.s3_secret_key,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    prefix = raw["status"]["results"]["prefix"]

    def get(key: str) -> bytes | None:
        try:
            body: bytes = client.get_object(Bucket=lab.s3_bucket, Key=prefix + key)["Body"].read()
            return body
        except client.exceptions.NoSuchKey:
            return None

    logs = [
        get(f"step/{step['id']}/log.txt")
        for step in raw["status"]["steps"]
        if step.get("startTime")
    ]
    archive = get("output.tar")
    digest = ((raw["status"].get("results") or {}).get("output") or {}).get("sha256")
    output = "missing"
    if archive is not None:
        output = (
            "whole" if hashlib.sha256(archive).hexdigest() == digest else "not as in the status"
        )
    partial = any(log is not None and b"ended before this log was stored" in log for log in logs)
    return {
        "logs": "missing" if None in logs else "partial" if partial else "whole",
        "output": output,
    }
