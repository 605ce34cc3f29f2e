"""The real boxkit as an ordinary process, and the real client over its socket. No cluster."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sentinel.errors import BoxEnded, NotYet
from sentinel.session.client import Session
from sentinel.session.journal import SessionState
from sentinel.session.messages import Open, StepSpec
from sentinel.session.records import AnyRecord
from tests.conftest import Once

ROOT = Path(__file__).parents[2]
RACES = "race-report"
"""Beginning of the name of the files in which a boxkit built with -race describes the data races that it finds."""


@pytest.fixture(scope="session")
def boxkit(once: Once) -> Path:
    """The binary, built from the tree; or that of SENTINEL_BOXKIT, for one built with the race detector."""
    if given := os.environ.get("SENTINEL_BOXKIT"):
        return Path(given)
    target = ROOT / "build" / "boxkit"

    def build() -> None:
        subprocess.run(
            ["go", "build", "-trimpath", "-o", target, "."],
            cwd=ROOT / "operator" / "boxkit",
            env={**os.environ, "CGO_ENABLED": "0"},
            check=True,
        )

    once("boxkit", build)  # another process of this test run may be running it already
    return target


class SocketStream:
    """A ByteStream over boxkit's control socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(65536)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


@dataclass
class Box:
    """A running boxkit and where it keeps things. `pipeline` stands for /pipeline."""

    process: asyncio.subprocess.Process
    root: Path
    heard: list[AnyRecord] = field(default_factory=list)
    logs: dict[int, bytearray] = field(default_factory=dict)

    @property
    def session_dir(self) -> Path:
        return self.root / "session"

    @property
    def pipeline(self) -> Path:
        return self.root / "pipeline"

    async def connect(self) -> SocketStream:
        """What the operator does by exec."""
        if self.process.returncode is not None:
            raise BoxEnded("boxkit has ended")
        try:
            return SocketStream(
                *await asyncio.open_unix_connection(str(self.session_dir / "control.sock"))
            )
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotYet("no socket yet") from error

    def session(self, connect: Callable[[], Awaitable[Any]] | None = None, **more: Any) -> Session:
        """A client that keeps what it hears in `heard` and `logs`: what the latest one heard."""
        self.heard, self.logs = [], {}

        logs = self.logs

        def log(ordinal: int, offset: int, data: bytes) -> None:
            text = logs.setdefault(ordinal, bytearray())
            assert len(text) == offset
            text += data

        return Session(connect or self.connect, on_record=self.heard.append, on_log=log, **more)

    def open(self, **more: Any) -> Open:
        """An `open` whose paths all lie below `root`."""
        source = self.pipeline / "source"
        return Open(
            **{
                "build": "b1",
                "attempt": 1,
                "env": [("WERCKER", "true"), *more.pop("env", ())],
                "shell": more.pop("shell", ()),
                "source_dir": str(source),
                "pipeline_dir": str(self.pipeline),
                "report_dir": str(self.root / "report"),
                "dirs": [str(source)],
                **more,
            }
        )

    def log(self, ordinal: int) -> bytes:
        """The log as boxkit keeps it."""
        return (self.session_dir / "log" / str(ordinal)).read_bytes()

    async def run(self, *codes: str | StepSpec, **more: Any) -> SessionState:
        """Open a session, run scripts as main steps 1, 2, … to their ends, and close it."""
        steps = [
            code if isinstance(code, StepSpec) else script(at, code)
            for at, code in enumerate(codes, 1)
        ]
        async with self.session() as session:
            await session.open(self.open(**more))
            await session.start(steps)
            await session.wait_for(lambda state: state.done(step.ordinal for step in steps))
            return await session.close()


def script(ordinal: int, code: str, **more: Any) -> StepSpec:
    """A script step."""
    return StepSpec(
        **{"ordinal": ordinal, "id": f"script-{ordinal}", "name": "script", "code": code, **more}
    )


Start = Callable[..., Awaitable[Box]]


@pytest.fixture
async def start(boxkit: Path, tmp_path: Path) -> AsyncIterator[Start]:
    """Start a boxkit; whatever still runs at the end of the test is killed."""
    boxes: list[Box] = []

    async def start_box(
        env: dict[str, str] | None = None,
        argv: Sequence[str] = (),
        root: Path | None = None,
        binary: Path = boxkit,
    ) -> Box:
        root = root or tmp_path / f"box{len(boxes)}"
        root.mkdir(exist_ok=True)
        with (root / "stdout").open("wb") as stdout:
            process = await asyncio.create_subprocess_exec(
                *argv,
                str(binary),
                "init",
                env={
                    "PATH": os.environ["PATH"],
                    "SENTINEL_SESSION_DIR": str(root / "session"),
                    "SENTINEL_KIT_DIR": str(boxkit.parent),
                    "SENTINEL_CGROUP_DIR": str(root / "cgroup"),
                    "GORACE": f"log_path={root / RACES}",
                    **(env or {}),
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
            )
        box = Box(process=process, root=root)
        boxes.append(box)
        return box

    yield start_box
    for box in boxes:
        if box.process.returncode is None:
            box.process.kill()
        await box.process.wait()
    races = [report.read_text() for box in boxes for report in box.root.glob(f"{RACES}.*")]
    assert not races, "\n".join(races)


@pytest.fixture
async def box(start: Start) -> Box:
    """One boxkit."""
    return await start()


SHELLS = ["bash", "dash", "busybox sh"]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    """Each of the shells that boxes have. A missing one fails the test: the claim is about all three."""
    argv = str(request.param).split()
    path = shutil.which(argv[0])
    assert path is not None, f"{argv[0]} is not installed; this test needs it"
    return [path, *argv[1:]]
