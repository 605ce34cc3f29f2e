"""The bench for standard steps: one in the real shell of a real boxkit, with fake tools first in PATH.

A test says which tools there are and how they answer, runs the step as a box would, and compares the whole: exit code,
message, what the tools were called with, which variables later steps see, and the log.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sentinel.plan.options import dashed
from sentinel.session.messages import Result, StepSpec
from sentinel.source.shipped import place
from sentinel.steps.standard import standard_steps
from tests.boxkit.conftest import Box, box, boxkit, script, shell, start

__all__ = ["bench", "box", "boxkit", "http", "shell", "start"]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a fake tool: its name and arguments, environment, and standard input."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    stdin: str


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a step did. `exports` has each variable that later steps see changed or new; None where it went."""

    exit: int | None
    reason: str
    message: str
    log: str
    exports: dict[str, str | None]
    calls: tuple[Call, ...]

    @property
    def argvs(self) -> list[tuple[str, ...]]:
        return [call.argv for call in self.calls]


@dataclass
class Bench:
    """Runs standard steps in one box. `source` is the project's directory, `cache` $WERCKER_CACHE_DIR."""

    box: Box
    shell: list[str]
    boxkit: Path
    env: dict[str, str] = field(default_factory=dict)
    path: str = os.environ["PATH"]

    def __post_init__(self) -> None:
        home = self.box.root / "home"
        for each in (home, self.source, self.cache, self.output, self.fakes, self._calls):
            each.mkdir(parents=True, exist_ok=True)

    @property
    def source(self) -> Path:
        return self.box.pipeline / "source"

    @property
    def cache(self) -> Path:
        return self.box.root / "cache"

    @property
    def output(self) -> Path:
        return self.box.pipeline / "output"

    @property
    def fakes(self) -> Path:
        return self.box.root / "fakes"

    @property
    def _calls(self) -> Path:
        return self.box.root / "calls"

    def fake(
        self, name: str, *, out: str = "", status: int = 0, fails: int = 0, code: str = ""
    ) -> None:
        """A tool of that name: its first `fails` calls end with 1, later ones print `out`, run `code`, and end with
        `status`."""
        calls, count = (
            shlex.quote(str(self._calls)),
            shlex.quote(str(self.box.root / f"count-{name}")),
        )
        tool = self.fakes / name
        tool.write_text(
            "#!/bin/sh\n"
            f"at=$(/bin/ls {calls} | /usr/bin/wc -l)\n"
            f'call={calls}/$(printf %04d "$at") && /bin/mkdir "$call"\n'
            f'printf "%s\\0" {name} "$@" > "$call/argv"\n'
            '/usr/bin/env -0 > "$call/env"\n'
            'if [ ! -t 0 ]; then /bin/cat > "$call/stdin"; fi\n'
            f"echo >> {count}\n"
            f"if [ $(/usr/bin/wc -l < {count}) -le {fails} ]; then echo {name} failed >&2; exit 1; fi\n"
            f"printf %s {shlex.quote(out)}\n{code}\nexit {status}\n"
        )
        tool.chmod(0o755)

    def only_fakes(self, *tools: str) -> None:
        """Let the step see no other tools than the fakes and `tools`, a box that has next to nothing."""
        room = self.box.root / "bin"
        room.mkdir()
        for name in ("cat", "mkdir", "rm", *tools):
            found = next(
                each
                for directory in ("/bin", "/usr/bin")
                if (each := Path(directory) / name).exists()
            )
            (room / name).symlink_to(found)
        self.path = str(room)

    def provide(self, name: str, version: str, text: str) -> None:
        """A tool of the operator's, an executable file with that text."""
        tools = self.box.root / "tools"
        tools.mkdir(exist_ok=True)
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
        digest = hashlib.sha256(text.encode()).hexdigest()
        row = {"name": name, "version": version, "path": name, "sha256": digest}
        (tools / "tools.json").write_text(json.dumps([row]))

    async def run(
        self,
        name: str,
        *,
        before: str = "true",
        between: str = "",
        after: str = "true",
        result: Result | None = None,
        times: int = 1,
        cwd: str = "",
        **options: str,
    ) -> Ran:
        """Run the step with its options (dashes as underscores), between two scripts of the same session.

        With `result` it runs as an after-step of a build that ended so. `times` runs it again in the same session, with
        the script `between` in between.
        """
        manifest = standard_steps()[name].manifest
        given = {dashed(key): value for key, value in options.items()}
        values = {
            each.name: given.pop(dashed(each.name), each.default) for each in manifest.properties
        }
        exports = [
            (f"WERCKER_{name}_{key}".replace("-", "_").upper(), value)
            for key, value in (values | given).items()
        ]
        seen = [self.box.root / f"seen-{n}" for n in (1, 2)]
        look = f"{before}\n/usr/bin/env -0 > {seen[0]}"
        ordinals = list(range(2, times + 2))
        specs = []
        for ordinal in ordinals:
            folder = self.box.root / "mnt" / f"{name}-{ordinal}"
            folder.mkdir(parents=True)
            place(name, str(folder))
            specs.append(
                StepSpec(
                    ordinal=ordinal,
                    id=f"{name}-{ordinal}",
                    name=name,
                    owner="wercker",
                    kind="step",
                    phase="after" if result is not None else "main",
                    dir=str(folder),
                    cwd=cwd,
                    exports=exports,
                )
            )
        last = ordinals[-1] + 1
        steps = [script(1, look), *specs, script(last, f"/usr/bin/env -0 > {seen[1]}\n{after}")]
        if between:
            steps.insert(2, script(last + 1, between))
        env = {
            "PATH": f"{self.fakes}:{self.path}",
            "HOME": str(self.box.root / "home"),
            "WERCKER_BOXKIT": str(self.boxkit),
            "WERCKER_TOOLS_DIR": str(self.box.root / "tools"),
            "WERCKER_ROOT": str(self.source),
            "WERCKER_SOURCE_DIR": str(self.source),
            "WERCKER_CACHE_DIR": str(self.cache),
            "WERCKER_OUTPUT_DIR": str(self.output),
            **self.env,
        }
        async with self.box.session() as session:
            await session.open(self.box.open(shell=self.shell, env=list(env.items())))
            if result is None:
                await session.start(steps)
                await session.wait_for(lambda state: state.done(each.ordinal for each in steps))
            else:
                await session.start(steps[:1])
                await session.wait_for(lambda state: state.done([1]))
                await session.start(specs, result=result)
                await session.wait_for(lambda state: state.done(ordinals))
            state = await session.close()
        ended = state.steps[ordinals[-1]]
        return Ran(
            exit=ended.exit,
            reason=str(ended.reason),
            message=ended.message,
            log="".join(
                self.box.log(each).decode()
                for each in ordinals
                if state.steps[each].state == "finished"
            ),
            exports=_difference(*seen) if all(each.exists() for each in seen) else {},
            calls=tuple(_call(each) for each in sorted(self._calls.iterdir())),
        )


def _call(folder: Path) -> Call:
    argv = (folder / "argv").read_text().split("\0")[:-1]
    stdin = folder / "stdin"
    return Call(
        argv=tuple(argv),
        env=_pairs(folder / "env"),
        stdin=stdin.read_text() if stdin.exists() else "",
    )


def _pairs(path: Path) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in path.read_text().split("\0") if "=" in pair)


def _difference(before: Path, after: Path) -> dict[str, str | None]:
    """Variables that a step changed, its own options and what boxkit sets for each step aside."""
    one, other = _pairs(before), _pairs(after)
    ours = ("WERCKER_STEP_", "WERCKER_REPORT_", "_", "OLDPWD", "PWD", "SHLVL")
    return {
        name: other.get(name)
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
        and name not in ours
        and not name.startswith(ours[:2])
        and name not in _OPTIONS
    }


_OPTIONS = frozenset(
    f"WERCKER_{step.name}_{each.name}".replace("-", "_").upper()
    for step in standard_steps().values()
    for each in step.manifest.properties
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request that a stub got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class HttpStub:
    """An HTTP server on loopback that records requests and answers as it was set to, in order; the last for ever."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: list[tuple[int, bytes]] = [(200, b"ok")]
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                stub.requests.append(
                    Request(
                        method=self.command,
                        path=self.path,
                        headers=dict(self.headers.items()),
                        body=body,
                    )
                )
                status, text = stub._answers[0]
                if len(stub._answers) > 1:
                    stub._answers.pop(0)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def answer(self, *texts: str, status: int = 200) -> None:
        """Answer with these bodies."""
        self._answers = [(status, text.encode()) for text in texts]

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def http() -> Iterator[HttpStub]:
    """A recording HTTP server."""
    stub = HttpStub()
    yield stub
    stub.close()


@pytest.fixture
def bench(box: Box, shell: list[str], boxkit: Path) -> Bench:
    """A bench in each of the three shells that boxes have."""
    return Bench(box, shell, boxkit)
