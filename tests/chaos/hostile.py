"""What a hostile tenant may write: one Build's spec for each kind, and the servers and repositories that they name.

Each kind is an attack on something that is shared: the operator's memory, time or slots, the node's disk, the log that
is read when a build is over. They attack nothing but the lab.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import ssl
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentinel.image.reference import parse_reference
from sentinel.registry import RegistryClient
from tests.lab import git
from tests.lab.state import Lab
from tests.unit.registry.makers import push_image

CONFIG = 250 * 1024
"""Bytes of a spec or a configuration: an object of the API server's is at most 1.5 MB."""
ENTRIES = 300_000
REFS = 2000
SLOW = {
    "box": {"resources": {"requests": {"cpu": "1m"}, "limits": {"cpu": "100m", "memory": "64Mi"}}}
}
"""A hostile box gets little: it is our share of the work that is to be measured."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What hostile Builds name: the lab, a server that misbehaves by path, and repositories."""

    lab: Lab
    server: str
    plain: str
    tree: str
    refs: str
    image: str

    @property
    def box(self) -> str:
        return f"{self.lab.registry}/box/debian:12"


Kind = Callable[[Ground], dict[str, Any]]


def _source(ground: Ground, url: str = "", **git_source: str) -> dict[str, Any]:
    return {"source": {"git": {"url": url or ground.plain, **git_source}}}


def _script(ground: Ground, code: str, **more: Any) -> dict[str, Any]:
    lines = "".join(f"          {line}\n" for line in code.splitlines())
    text = f"box: {ground.box}\nbuild:\n  steps:\n    - script:\n        name: s\n        code: |\n{lines}"
    return {**_source(ground), "config": text, **more}


def growing_variables(ground: Ground) -> dict[str, Any]:
    """Each refers to the one before, many times: gigabytes."""
    half = CONFIG // 2
    env = [{"name": "A", "value": "x" * half}, {"name": "B", "value": "$(A)" * (half // 4)}]
    return _script(ground, "true", env=env)


def growing_box(ground: Ground) -> dict[str, Any]:
    """A variable of the box that is another one, thousands of times."""
    text = f"box:\n  id: {ground.box}\n  env:\n    A: {'x' * 4000}\n    B: {'$A' * 40_000}\nbuild:\n  steps: []\n"
    return {**_source(ground), "config": text, "env": [{"name": "A", "value": "x" * 4000}]}


def many_services(ground: Ground) -> dict[str, Any]:
    """8,000 of them."""
    lines = "".join(f"- {{id: x, name: s{i}}}\n" for i in range(8000))
    return {
        **_source(ground),
        "config": f"box: {ground.box}\nservices:\n{lines}build:\n  steps: []\n",
    }


def near_misses(ground: Ground) -> dict[str, Any]:
    """Workflows of pipelines whose names are nearly those of others."""
    draw = random.Random(1)

    def name() -> str:
        letters = list("ab" * 32)
        draw.shuffle(letters)
        return "".join(letters)

    text = f"box: {ground.box}\nbuild:\n  steps: []\n" + "".join(
        f"{name()}: {{}}\n" for _ in range(1500)
    )
    text += "workflows:\n - name: w\n   pipelines:\n"
    text += "".join(f"    - name: {name()}\n" for _ in range(1500))
    return {**_source(ground), "config": text, "pipeline": "nope"}


def near_refs(ground: Ground) -> dict[str, Any]:
    """A ref that is not there, among thousands that are like it."""
    return _source(ground, ground.refs, ref="ab" * 90)


def wide_tree(ground: Ground) -> dict[str, Any]:
    """A root directory of 300,000 entries."""
    return _source(ground, ground.tree)


def trickling_archive(ground: Ground) -> dict[str, Any]:
    """An archive that comes a byte at a time."""
    return {"source": {"archive": {"url": f"{ground.server}/trickle.tar", "sha256": "0" * 64}}}


def silent_git(ground: Ground) -> dict[str, Any]:
    """A git server that accepts and does not answer."""
    return _source(ground, f"{ground.server}/silent.git")


def many_challenges(ground: Ground) -> dict[str, Any]:
    """A registry that answers with 60 large authentication headers."""
    place = ground.server.partition("://")[2]
    return {**_script(ground, "true"), "config": f"box: {place}/challenge:1\nbuild:\n  steps: []\n"}


def large_image(ground: Ground) -> dict[str, Any]:
    """An image whose configuration has 200,000 variables."""
    return {**_source(ground), "config": f"box: {ground.image}\nbuild:\n  steps: []\n"}


def endless_duration(ground: Ground) -> dict[str, Any]:
    """Durations that no calendar holds."""
    return _script(ground, "true", ttlAfterFinished="99999999999h", timeouts={"build": "500000h"})


def nowhere(ground: Ground) -> dict[str, Any]:
    """A pod for which there is no node."""
    pod = {**SLOW, "nodeSelector": {"hostile": "nowhere"}}
    return _script(ground, "true", pod=pod, timeouts={"pending": "20s"})


def message_fifo(ground: Ground) -> dict[str, Any]:
    """A FIFO in place of the message file: opening it blocks forever."""
    return _script(
        ground,
        'rm -f "$WERCKER_REPORT_MESSAGE_FILE"\nmkfifo "$WERCKER_REPORT_MESSAGE_FILE"\nexit 1',
    )


def forged_header(ground: Ground) -> dict[str, Any]:
    """A line that looks like boxkit's own in the log of a box that dies."""
    digits = "$(printf '%05000d' 0 | tr 0 9)"
    return _script(
        ground,
        f'echo "--- sentinel step={digits} offset=0 id=x name=" > /proc/1/fd/1\nkill -9 1 $$',
    )


def long_output(ground: Ground) -> dict[str, Any]:
    """100 MB of one line, and a message of 64 MB."""
    return _script(
        ground,
        "yes x | tr -d '\\n' | head -c 100000000\n"
        'head -c 64000000 /dev/zero | tr "\\0" m > "$WERCKER_REPORT_MESSAGE_FILE"\nexit 1',
    )


KINDS: tuple[Kind, ...] = (
    growing_variables,
    growing_box,
    many_services,
    near_misses,
    near_refs,
    wide_tree,
    trickling_archive,
    silent_git,
    many_challenges,
    large_image,
    endless_duration,
    nowhere,
    message_fifo,
    forged_header,
    long_output,
)


@asynccontextmanager
async def ground_of(lab: Lab, namespace: str, plain: str) -> AsyncIterator[Ground]:
    """The servers run, and the repositories exist, while the block runs. `plain` is an honest repository."""
    server = await asyncio.start_server(_answer, lab.gateway, 0)
    port = server.sockets[0].getsockname()[1]
    image = f"{lab.registry}/{namespace}/large:1"
    made = [f"hostile-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    try:
        await _push_large(lab, image)
        tree = await asyncio.to_thread(_wide_tree, lab, made[0])
        refs = await asyncio.to_thread(_many_refs, lab, made[1])
        yield Ground(
            lab=lab,
            server=f"http://{lab.gateway}:{port}",
            plain=plain,
            tree=tree,
            refs=refs,
            image=image,
        )
    finally:
        server.close()
        for name in made:
            shutil.rmtree(git.path(lab, name), ignore_errors=True)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Misbehave as the path says, until the client is tired of it."""
    with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(600):
            line = await reader.readline()
            if b"trickle" in line:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(1)
            elif b"silent" in line:
                await reader.read()
            else:
                header = b"WWW-Authenticate: Bearer " + b"a" * 7900 + b"\r\n"
                writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n")
                writer.write(header * 60 + b"\r\n")
                await writer.drain()
    writer.close()


async def _push_large(lab: Lab, name: str) -> None:
    async with RegistryClient(insecure=[lab.registry]) as client:
        run = {"Env": [f"A{i}={i}" for i in range(200_000)]}
        await push_image(client, parse_reference(name), run=run)


def _git(*arguments: str, cwd: Path, data: bytes | None = None) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env={**git.IDENTITY, "PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": "/nonexistent"},
        check=True,
        input=data,
        capture_output=True,
    )
    return done.stdout.decode().strip()


def _publish(lab: Lab, name: str) -> tuple[Path, str]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "wercker.yml").write_text("box: debian\nbuild:\n  steps: []\n")
        return git.path(lab, name), git.publish(lab, Path(folder), name)


def _wide_tree(lab: Lab, name: str) -> str:
    bare, url = _publish(lab, name)
    blob = bytes.fromhex(_git("rev-parse", "main:wercker.yml", cwd=bare))
    tree = b"".join(b"100644 %06x\0" % i + blob for i in range(ENTRIES))
    tree += b"100644 wercker.yml\0" + blob
    made = _git("hash-object", "-t", "tree", "-w", "--stdin", "--literally", cwd=bare, data=tree)
    _git("update-ref", "refs/heads/main", _git("commit-tree", made, "-m", "x", cwd=bare), cwd=bare)
    return url


def _many_refs(lab: Lab, name: str) -> str:
    bare, url = _publish(lab, name)
    commit = _git("rev-parse", "main", cwd=bare)
    draw = random.Random(2)
    lines = []
    for _ in range(REFS):
        letters = list("ab" * 90)
        draw.shuffle(letters)
        lines.append(f"create refs/heads/{''.join(letters)} {commit}\n")
    _git("update-ref", "--stdin", cwd=bare, data="".join(sorted(set(lines))).encode())
    return url


def spec_of(kind: Kind, ground: Ground) -> dict[str, Any]:
    """The spec of one hostile Build."""
    spec = {"pod": SLOW, "image": {"commit": "never"}, **kind(ground)}
    spec["timeouts"] = {"build": "60s", "pending": "120s", **spec.get("timeouts", {})}
    assert len(json.dumps(spec)) < 1_400_000
    return spec
