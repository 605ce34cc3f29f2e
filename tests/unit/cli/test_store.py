"""`sentinel store` as a process: what it needs, and that `sentinel cache` reads what it serves."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from tests.lab import tls

from sentinel.cli import main
from sentinel.errors import InfrastructureError
from sentinel.plan.keys import cache_object
from sentinel.settings import StoreSettings
from sentinel.store.directory import DirectoryStore

KEY = "k" * 64


@contextmanager
def process(path: Path, *options: str) -> Iterator[str]:
    """A `sentinel store` on a free port while the block runs; its URL. It has to end by SIGTERM, with 0."""
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "sentinel", "store", "--path", str(path)),
            *("--host", "127.0.0.1", "--port", "0", *options),
        ],
        env={**os.environ, "SENTINEL_STORE__KEY": KEY},
        stderr=subprocess.PIPE,
        text=True,
    ) as served:
        try:
            assert served.stderr is not None
            said = next(line for line in served.stderr if "serving" in line)
            found = re.search(r"https?://[^;]+", said)
            assert found is not None
            yield found[0]
            served.send_signal(signal.SIGTERM)
            assert served.wait(150) == 0
        finally:
            served.kill()


def invoke(arguments: Sequence[str], **env: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    result = CliRunner().invoke(
        main, arguments, env={f"SENTINEL_STORE__{k}": v for k, v in env.items()}
    )
    return result.exit_code, result.output


def test_a_cache_in_it_is_listed_and_cleared(tmp_path: Path) -> None:
    key = cache_object(
        prefix="ci", namespace="team", space="uid", app_id="shop", pipeline="build", key=""
    )
    with process(tmp_path) as url:
        store = DirectoryStore(StoreSettings(url=url, key=SecretStr(KEY)))
        asyncio.run(store.put(key, b"x" * 2048))
        store.close()
        access = {"URL": url, "KEY": KEY, "PREFIX": "ci"}
        code, printed = invoke(["cache", "ls", "-n", "team"], **access)
        assert (code, printed.splitlines()[1].split()[:5]) == (
            0,
            ["shop", "build", "-", "2.0", "KiB"],
        )
        assert invoke(["cache", "clear", "-n", "team", "--yes"], **access)[0] == 0
        assert invoke(["cache", "ls", "-n", "team"], **access) == (
            0,
            "No cache in namespace team.\n",
        )
    assert [path.name for path in (tmp_path / "objects").iterdir()] == []


def test_it_serves_https(tmp_path: Path) -> None:
    made = tls.certificates(tmp_path, "localhost")
    (tmp_path / "store").mkdir()
    options = ("--tls-cert", str(made.certificate), "--tls-key", str(made.key))
    with process(tmp_path / "store", *options) as url:
        name = url.replace("127.0.0.1", "localhost")
        settings = StoreSettings(url=name, key=SecretStr(KEY))
        known = DirectoryStore(settings.model_copy(update={"ca": made.authority.read_text()}))
        data = os.urandom(300_000)
        asyncio.run(known.put("a", data))
        assert asyncio.run(known.get("a")) == data
        known.close()
        foreign = DirectoryStore(settings)
        with pytest.raises(InfrastructureError, match=r"into store\.ca"):
            asyncio.run(foreign.check())
        foreign.close()


@pytest.mark.parametrize(
    ("arguments", "key", "why"),
    [
        (["--path", "{here}"], "", "set SENTINEL_STORE__KEY to a key of 32 characters or more"),
        (["--path", "{here}"], "short", "store.key must have 32 characters or more"),
        (["--path", "{here}/none"], KEY, "none is not a directory: mount a volume there"),
        (["--path", "{here}", "--limit", "much"], KEY, "'much' is not a quantity, such as 20Gi"),
        (["--path", "{here}", "--port", "99999"], KEY, "range 0<=x<=65535"),
        (
            ["--path", "{here}", "--tls-key", "{here}/key"],
            KEY,
            "--tls-cert and --tls-key belong together",
        ),
    ],
    ids=["no key", "short key", "no directory", "no quantity", "no port", "half of TLS"],
)
def test_what_it_cannot_start_with_is_named(
    tmp_path: Path, arguments: list[str], key: str, why: str
) -> None:
    (tmp_path / "key").touch()
    given = [each.format(here=tmp_path) for each in arguments]
    code, printed = invoke(["store", "--host", "127.0.0.1", *given], KEY=key)
    assert code != 0
    assert why in printed
    assert "Traceback" not in printed
