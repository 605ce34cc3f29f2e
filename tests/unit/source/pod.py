"""A build pod's fetcher, run as in the pod, with directories for volumes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.unit.source.gitserver import git

from sentinel.network import Policy

OPERATOR = Path(__file__).parents[3] / "operator"
RUN = (
    f"import sys, runpy; sys.path.insert(0, {str(OPERATOR)!r}); "
    "runpy.run_module('sentinel.source.fetch', run_name='__main__')"
)


LOOPBACK = Policy.make(allowed=["127.0.0.0/8", "::1/128"], plain_http=["*"])
"""What the tests' own servers need."""


class Pod:
    """A build pod's volumes as directories, and a boxkit that only notes that it was called."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path
        self.dest = tmp_path / "mnt" / "source"
        self.kit = tmp_path / "kit"
        self.kit.mkdir()
        self.bound: tuple[str, ...] = ()
        self.log = tmp_path / "termination-log"
        (tmp_path / "bin").mkdir()
        self.boxkit('#!/bin/sh\ncp "$0" "$2/boxkit"\n')

    def boxkit(self, script: str) -> None:
        path = self.path / "bin" / "boxkit"
        path.write_text(script)
        path.chmod(0o755)

    def fetch(self, url: str, commit: str, **more: Any) -> subprocess.CompletedProcess[str]:
        task = {
            "url": url,
            "commit": commit,
            "ref": "main",
            "branch": "main",
            "dest": str(self.dest),
            "kit": str(self.kit),
            "secretDir": "",
            "terminationLog": str(self.log),
            "network": LOOPBACK.to_json(),
        } | more
        env = {
            "PATH": f"{self.path / 'bin'}:{os.environ['PATH']}",
            "SENTINEL_FETCH": json.dumps(task),
        }
        return subprocess.run(
            [*self.bound, sys.executable, "-I", "-c", RUN],
            check=False,
            env=env,
            capture_output=True,
            text=True,
            timeout=170,
        )

    def said(self) -> dict[str, str]:
        result: dict[str, str] = json.loads(self.log.read_text())
        return result

    def secret(self, files: Mapping[str, str]) -> str:
        """A mounted Secret with these keys; its directory."""
        directory = self.path / "secret"
        directory.mkdir()
        for name, text in files.items():
            (directory / name).write_text(text, newline="")
        return str(directory)

    def git(self, *arguments: str) -> str:
        return git(*arguments, cwd=self.dest)
