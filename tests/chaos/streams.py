"""Cut streams: the real boxkit as a process, the real client, and a relay between them that breaks."""

from __future__ import annotations

import asyncio
import json
import os
import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentinel.errors import BoxEnded, NotYet
from sentinel.session.journal import SessionState, fold
from sentinel.session.records import AnyRecord, parse_record
from tests.boxkit.conftest import Box, SocketStream, script
from tests.chaos.relay import CuttingRelay, Pair

STEPS = 12
HEARTBEAT, SILENCE = 0.1, 0.5
"""Seconds; the real ones are 15 and 45. Both sides use them."""
LIMIT = 180.0
"""Seconds for one build, of which the steps take one: what takes longer hangs, on a busy machine too."""
LONGEST = 20_000
"""Bytes after which a connection breaks at the latest, in the direction that was drawn."""


@dataclass(kw_only=True)
class Findings:
    """What the cuts did. Every list but `cuts` must stay empty; its members say what was seen."""

    cuts: Counter[str] = field(default_factory=Counter)
    builds: int = 0
    bad: dict[str, list[str]] = field(
        default_factory=lambda: {
            name: []
            for name in ("false_green", "hang", "journal_mismatch", "log_mismatch", "doubled")
        }
    )

    def report(self) -> dict[str, Any]:
        """The object of chaos.json."""
        return {
            "count": self.cuts.total(),
            "builds": self.builds,
            "kinds": dict(sorted(self.cuts.items())),
            **{name: len(seen) for name, seen in self.bad.items()},
            "seen": [f"{name}: {text}" for name, texts in self.bad.items() for text in texts],
        }


async def stream_cuts(*, count: int, seed: int, boxkit: Path, at_once: int = 3) -> dict[str, Any]:
    """At least `count` cuts over as many builds as that takes."""
    findings = Findings()
    number = 0

    async def worker() -> None:
        nonlocal number
        while findings.cuts.total() < count:
            number += 1
            with tempfile.TemporaryDirectory(prefix="chaos") as root:
                await _one(findings, random.Random(seed * 10_007 + number), boxkit, Path(root))

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())
    return findings.report()


def _codes(dice: random.Random, root: Path, failing: int | None) -> dict[int, tuple[str, bytes]]:
    """Scripts by ordinal, and what each prints. Bytes come from a file: no shell may have a say in them."""
    made = {}
    for n in range(1, STEPS + 1):
        data = dice.randbytes(int(40_000 ** dice.random()))
        (root / f"data{n}").write_bytes(data)
        code = f"echo run >>{root}/ran{n}; cat {root}/data{n}; sleep {dice.choice((0, 0.02, 0.05))}"
        made[n] = (code + ("; exit 3" if n == failing else ""), data)
    return made


async def _one(findings: Findings, dice: random.Random, boxkit: Path, root: Path) -> None:
    failing = dice.choice((None, dice.randint(1, STEPS)))
    by_attach = dice.random() < 0.3
    codes = _codes(dice, root, failing)
    environ = {
        "PATH": os.environ["PATH"],
        "SENTINEL_SESSION_DIR": str(root / "session"),
        "SENTINEL_KIT_DIR": str(boxkit.parent),
        "SENTINEL_CGROUP_DIR": str(root / "cgroup"),
        "SENTINEL_HEARTBEAT": f"{HEARTBEAT * 1000:.0f}ms",
        "SENTINEL_SILENCE": f"{SILENCE * 1000:.0f}ms",
    }
    with (root / "stdout").open("wb") as stdout:
        process = await asyncio.create_subprocess_exec(
            str(boxkit), "init", env=environ, stdin=asyncio.subprocess.DEVNULL, stdout=stdout
        )
    box = Box(process=process, root=root)
    attaches: list[asyncio.subprocess.Process] = []

    async def far() -> Pair:
        if not by_attach:
            return await asyncio.open_unix_connection(str(root / "session" / "control.sock"))
        attach = await asyncio.create_subprocess_exec(
            str(boxkit),
            "attach",
            env=environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert attach.stdin is not None and attach.stdout is not None
        attaches.append(attach)
        return attach.stdout, attach.stdin

    relay = CuttingRelay(path=root / "relay", far=far, dice=dice, longest=LONGEST)

    async def connect() -> SocketStream:
        if process.returncode is not None:
            raise BoxEnded("boxkit has ended")
        try:
            return SocketStream(*await asyncio.open_unix_connection(str(relay.path)))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotYet("no socket yet") from error

    try:
        async with relay, asyncio.timeout(LIMIT):
            await _build(findings, box, connect, codes, failing)
        async with asyncio.timeout(60):  # an attach looks for a socket for ten
            for attach in attaches:
                await attach.wait()
    except TimeoutError:
        steps = getattr(box, "heard", [])
        findings.bad["hang"].append(f"{len(steps)} records after {LIMIT:.0f} s, {relay.cuts}")
    finally:
        for each in (process, *attaches):
            if each.returncode is None:
                each.kill()
            await each.wait()
    findings.cuts += relay.cuts
    findings.builds += 1


async def _build(
    findings: Findings,
    box: Box,
    connect: Any,
    codes: dict[int, tuple[str, bytes]],
    failing: int | None,
) -> None:
    steps = [script(n, code) for n, (code, _) in codes.items()]
    ran = range(1, (failing or STEPS) + 1)
    complete = asyncio.Event()
    # Pauses between connections are a tenth of the real ones: a thousand cuts are to fit into minutes.
    async with box.session(
        connect, heartbeat=HEARTBEAT, silence=SILENCE, first_word=SILENCE, jitter=lambda: -0.4
    ) as session:
        take = session._on_log
        assert take is not None

        def on_log(ordinal: int, offset: int, data: bytes) -> None:
            take(ordinal, offset, data)
            complete.set()

        session._on_log = on_log
        await session.open(box.open())
        await session.start(steps)
        state = await session.wait_for(lambda state: state.done(range(1, STEPS + 1)))
        while any(len(box.logs.get(n, b"")) < state.steps[n].log.bytes for n in ran):
            complete.clear()
            await complete.wait()
        journal = _journal(box)
        await session.close()
    _check(findings, box, journal, state, codes, failing)


def _journal(box: Box) -> list[AnyRecord]:
    lines = (box.session_dir / "journal").read_bytes().splitlines()
    return [parse_record(json.loads(line)) for line in lines]


def _check(
    findings: Findings,
    box: Box,
    journal: list[AnyRecord],
    state: SessionState,
    codes: dict[int, tuple[str, bytes]],
    failing: int | None,
) -> None:
    bad = findings.bad
    for n, (_, data) in codes.items():
        step = state.steps[n]
        skipped = failing is not None and n > failing
        expected = "Failed" if n == failing else "Skipped" if skipped else "Passed"
        if expected != "Passed" and step.passed:
            bad["false_green"].append(f"step {n} passed; {expected} was due")
        elif expected == "Passed" and not step.passed:
            bad["journal_mismatch"].append(f"step {n} ended with {step.reason}")
        ran = box.root / f"ran{n}"
        runs = ran.read_text().count("run") if ran.exists() else 0
        if runs != (0 if skipped else 1):
            bad["doubled"].append(f"step {n} ran {runs} times")
        heard = bytes(box.logs.get(n, b""))
        if heard != (b"" if skipped else data):
            bad["log_mismatch"].append(f"step {n}: {len(heard)} bytes of {len(data)}")
    replayed = SessionState()
    for record in journal:
        replayed = fold(replayed, record)
    if box.heard[: len(journal)] != journal or replayed.steps != state.steps:
        bad["journal_mismatch"].append(f"heard {len(box.heard)} records of {len(journal)}")
