"""Inject every fault, print what came of it, write build/chaos.json. The exit code is 1 if anything was found.

`FAULTS` names some of them (their objects replace those of an earlier run), `SEED` repeats a run, `SHARE` is how much
of each is done (0.1 or 0.05 in `make test`), and `OUT` another file than build/chaos.json.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.boxkit.conftest import ROOT
from tests.chaos.agentkills import agent_kills
from tests.chaos.clustercuts import exec_refused, stream_cuts_cluster
from tests.chaos.findings import faultless
from tests.chaos.hostoperator import in_its_stead
from tests.chaos.kills import operator_kills
from tests.chaos.recovery import operator_gone, recovery
from tests.chaos.restarts import apiserver_restarts, kubelet_restarts, node_lost
from tests.chaos.streams import stream_cuts
from tests.chaos.tenants import tenants
from tests.chaos.terminations import terminated
from tests.chaos.twins import lease, two_operators
from tests.install import build_image, install
from tests.lab.state import Lab

HOST = (
    "stream_cuts_cluster",
    "operator_kills",
    "exec_refused",
    "operator_gone",
    "two_operators",
    "lease",
    "recovery",
)
"""Faults in which the operator is a process of this machine: the installed one is sent away once for all of them."""
LIMIT = 1500.0
"""Seconds for one fault."""
LOG = ROOT / "build" / "chaos-operator.log"
OUT = Path(os.environ.get("OUT") or ROOT / "build" / "chaos.json")


def faults(*, seed: int, share: float) -> dict[str, Callable[[], Awaitable[dict[str, Any]]]]:
    """What is injected, by its name in chaos.json."""

    def some(count: int) -> int:
        return max(1, math.ceil(count * share))

    def lab() -> Lab:
        return Lab.load()

    boxkit = ROOT / "build" / "boxkit"
    return {
        "stream_cuts": lambda: stream_cuts(count=some(1000), seed=seed, boxkit=boxkit),
        "stream_cuts_cluster": lambda: stream_cuts_cluster(
            lab=lab(), count=some(100), seed=seed, log=LOG
        ),
        "operator_kills": lambda: operator_kills(lab=lab(), count=some(200), seed=seed, log=LOG),
        "agent_kills": lambda: agent_kills(lab=lab(), count=some(50), seed=seed),
        "kubelet_restarts": lambda: kubelet_restarts(lab=lab(), count=some(5), seed=seed),
        "apiserver_restarts": lambda: apiserver_restarts(lab=lab(), count=some(10), seed=seed),
        "node_lost": lambda: node_lost(lab=lab(), seed=seed),
        "tenants": lambda: tenants(lab=lab(), seed=seed, share=share),
        "terminated": lambda: terminated(lab=lab(), count=some(30), seed=seed),
        "exec_refused": lambda: exec_refused(
            lab=lab(), seconds=max(10.0, 60 * share), seed=seed, log=LOG
        ),
        "operator_gone": lambda: operator_gone(
            lab=lab(), seconds=max(15.0, 60 * share), seed=seed, log=LOG
        ),
        "two_operators": lambda: two_operators(lab=lab(), count=some(20), seed=seed, log=LOG),
        "lease": lambda: lease(lab=lab(), count=some(3), seed=seed, log=LOG),
        "recovery": lambda: recovery(
            lab=lab(), count=some(5), at_once=4 if share < 1 else 12, seed=seed, log=LOG
        ),
    }


def main() -> None:
    seed = int(os.environ.get("SEED") or 0) or random.SystemRandom().randrange(1, 1 << 31)
    share = float(os.environ.get("SHARE") or 1)
    known = faults(seed=seed, share=share)
    wanted = (os.environ.get("FAULTS") or " ".join(known)).replace(",", " ").split()
    if unknown := [name for name in wanted if name not in known]:
        sys.exit(f"no such fault: {', '.join(unknown)}; there are {', '.join(known)}")
    print(f"seed {seed} (SEED={seed} make chaos repeats it)", flush=True)
    _prepare(wanted)
    result: dict[str, Any] = {}

    async def inject(names: list[str]) -> None:
        for name in names:
            began = time.monotonic()
            async with asyncio.timeout(LIMIT):
                report = await known[name]()
            result[name] = {"seed": seed, "seconds": round(time.monotonic() - began, 1), **report}
            print(json.dumps({name: result[name]}, indent=1), flush=True)
            _write(result)

    async def inject_all() -> None:
        # Told to stop, it still brings back the operator that it sent away.
        work = asyncio.current_task()
        assert work is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
        await inject([name for name in wanted if name not in HOST])
        if ours := [name for name in wanted if name in HOST]:
            async with in_its_stead(Lab.load()):
                await inject(ours)

    asyncio.run(inject_all())
    sys.exit(0 if faultless(result.values()) else 1)


def _prepare(wanted: list[str]) -> None:
    """The boxkit of this tree, and, for whatever needs a cluster, this tree's Sentinel in the lab."""
    LOG.parent.mkdir(exist_ok=True)
    if "stream_cuts" in wanted:
        subprocess.run(
            ["go", "build", "-trimpath", "-o", ROOT / "build" / "boxkit", "."],
            cwd=ROOT / "operator" / "boxkit",
            env={**os.environ, "CGO_ENABLED": "0"},
            check=True,
        )
    if wanted != ["stream_cuts"] and not os.environ.get("INSTALLED"):
        lab = Lab.load()
        build_image(lab)
        install(lab, quiet=True)


def _write(result: dict[str, Any]) -> None:
    earlier = json.loads(OUT.read_text()) if OUT.exists() else {}
    kept = {name: each for name, each in earlier.items() if isinstance(each, dict)}
    OUT.write_text(json.dumps({**kept, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
