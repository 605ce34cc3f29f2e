"""The tar that a box finds when it starts."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from tests.unit.plan import examples

from sentinel.local.files import one_file, packed
from sentinel.local.project import files_of, read_project

YML = """\
box: debian:12
build:
  steps:
    - create-file: {filename: a, content: b}
"""


def test_it_has_boxkit_source_and_steps_with_git_s_modes(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "bin").mkdir(parents=True)
    (root / "wercker.yml").write_text(YML)
    (root / "bin/tool").write_text("#!/bin/sh\n")
    (root / "bin/tool").chmod(0o700)
    (root / "secret").write_text("x")
    (root / "secret").chmod(0o600)
    (root / "broken").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    boxkit = tmp_path / "boxkit"
    boxkit.write_bytes(b"program")
    step = examples.plan(
        yml=YML,
        services=(),
        steps={"create-file": examples.StepFacts(version="1", digest="", standard=True)},
    )
    step_id = step.steps[0].id
    names = files_of(read_project(root), ignore_file="")
    with (
        packed(
            step, root=root, names=names, archives={}, boxkit=boxkit, writable=["/pipeline"]
        ) as file,
        tarfile.open(fileobj=file) as tar,
    ):
        modes = {each.name: oct(each.mode) for each in tar if not each.issym()}
        assert all(each.uid == each.gid == 0 for each in tar)
        assert tar.getmember("mnt/wercker/source/broken").linkname == "nowhere"
    assert modes["run/sentinel/kit/boxkit"] == "0o755"
    assert modes["mnt/wercker/source/bin/tool"] == "0o755"
    assert modes["mnt/wercker/source/secret"] == "0o644"
    assert modes["pipeline"] == "0o777"
    assert "mnt/wercker/source/pipe" not in modes
    assert {f"mnt/wercker/{step_id}/{each}" for each in ("run.sh", "common.sh")} <= modes.keys()


def test_a_tar_that_is_too_large_is_not_read() -> None:
    with pytest.raises(OSError, match="more than 1 MiB"):
        one_file([b"x" * 600_000] * 2, limit=1024 * 1024)
    with pytest.raises(OSError, match="no such file"):
        one_file([b"\0" * 10240], limit=1024 * 1024)
