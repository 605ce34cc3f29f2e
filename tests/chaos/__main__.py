"""Inject every fault, print what came of it, write build/chaos.json. The exit code is 1 if anything was found."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time

from tests.boxkit.conftest import ROOT
from tests.chaos.streams import stream_cuts

LIMIT = 900.0
"""Seconds for one fault."""


def main() -> None:
    seed = int(os.environ.get("SEED") or 0) or random.SystemRandom().randrange(1, 1 << 31)
    count = int(os.environ.get("COUNT", "1000"))
    print(f"seed {seed} (SEED={seed} make chaos repeats it)", flush=True)
    boxkit = ROOT / "build" / "boxkit"
    subprocess.run(
        ["go", "build", "-trimpath", "-o", boxkit, "."],
        cwd=ROOT / "operator" / "boxkit",
        env={**os.environ, "CGO_ENABLED": "0"},
        check=True,
    )
    result: dict[str, object] = {"seed": seed}
    began = time.monotonic()
    cuts = asyncio.run(asyncio.wait_for(stream_cuts(count=count, seed=seed, boxkit=boxkit), LIMIT))
    result["stream_cuts"] = {**cuts, "seconds": round(time.monotonic() - began, 1)}
    out = ROOT / "build" / "chaos.json"
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    sys.exit(1 if cuts["seen"] else 0)


if __name__ == "__main__":
    main()
