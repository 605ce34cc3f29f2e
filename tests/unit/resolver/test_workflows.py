"""What a child answers for a WorkflowRun: the workflow, and the envFiles in the root of the project, of one commit."""

from __future__ import annotations

import asyncio
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sentinel.api.reasons import Reason
from sentinel.resolver.messages import (
    MOST_ENV_FILES,
    ArchiveWanted,
    GitWanted,
    WorkflowAnswer,
    WorkflowRequest,
)
from sentinel.resolver.work import work

YML = """\
box: debian:12
build: {steps: []}
deploy: {steps: []}
workflows:
  - name: ci
    pipelines:
      - {name: build, envFile: ENVIRONMENT}
      - {name: deploy, requires: [build], envFile: ./deploy.env}
"""
FILES = {"wercker.yml": YML, "ENVIRONMENT": "X_A=1\n", "deploy.env": "X_A=2\n"}


def repository(folder: Path, files: dict[str, str]) -> tuple[str, str]:
    """A git repository with these files; its url, and the commit."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)

    def git(*args: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        command = ["git", "-C", str(folder), *who, *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "one")
    git("config", "uploadpack.allowAnySHA1InWant", "true")
    return f"file://{folder}", git("rev-parse", "HEAD")


def answer_for(tmp_path: Path, **request: Any) -> WorkflowAnswer:
    made = WorkflowRequest(allow_file=True, **request)
    answer = work(made, tmp_path / "scratch", asyncio.run).answer
    assert answer.workflow is not None, answer.failure
    return answer.workflow


def test_a_workflow_with_its_env_files(tmp_path: Path) -> None:
    url, commit = repository(tmp_path / "r", FILES)
    answer = answer_for(tmp_path, git=GitWanted(url=url, ref="main"))
    assert (answer.source.commit, answer.source.branch) == (commit, "main")
    assert answer.workflow is not None
    assert [each.name for each in answer.workflow.stages] == ["build", "deploy"]
    assert {each.name: each.text for each in answer.env_files} == {
        "ENVIRONMENT": "X_A=1\n",
        "./deploy.env": "X_A=2\n",
    }


def test_an_archive_with_a_workflow(tmp_path: Path) -> None:
    repository(tmp_path / "r", FILES)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(
            tmp_path / "r", arcname="r", filter=lambda each: None if ".git" in each.name else each
        )
    archive = ArchiveWanted(url=f"file://{tmp_path}/a.tar", sha256="")
    answer = answer_for(tmp_path, archive=archive)
    assert answer.source.digest and answer.workflow is not None
    assert len(answer.env_files) == 2


def test_spec_config_counts_and_its_env_files_are_the_project_s(tmp_path: Path) -> None:
    url, _ = repository(tmp_path / "r", {**FILES, "wercker.yml": "nothing: 1\n"})
    answer = answer_for(tmp_path, git=GitWanted(url=url, ref="main"), config=YML)
    assert answer.workflow is not None and len(answer.env_files) == 2


MANY = YML.partition("      - {name: build")[0] + "".join(
    f"      - {{name: n{n}, pipelineName: build, envFile: e{n}"
    + (", requires: [n0]}\n" if n else "}\n")
    for n in range(MOST_ENV_FILES + 1)
)


@pytest.mark.parametrize(
    ("files", "reason", "why"),
    [
        ({"ENVIRONMENT": None}, Reason.CONFIG_INVALID, "has no file 'ENVIRONMENT' at its root"),
        (
            {"wercker.yml": YML.replace("./deploy.env", "env/deploy")},
            Reason.CONFIG_INVALID,
            "'env/deploy' is in a directory",
        ),
        ({"wercker.yml": MANY}, Reason.CONFIG_INVALID, f"there are {MOST_ENV_FILES + 1} of them"),
        ({"deploy.env": "x" * 65537}, Reason.CONFIG_INVALID, "larger than 64 KiB"),
        (
            {"wercker.yml": "box: x\nbuild: {steps: []}\n"},
            Reason.PIPELINE_NOT_FOUND,
            "has no workflows",
        ),
        ({"wercker.yml": None}, Reason.CONFIG_MISSING, "has no wercker.yml"),
    ],
)
def test_what_is_not_a_workflow_to_run(
    files: dict[str, str | None], reason: Reason, why: str, tmp_path: Path
) -> None:
    kept = {name: text for name, text in {**FILES, **files}.items() if text is not None}
    url, commit = repository(tmp_path / "r", kept)
    answer = answer_for(tmp_path, git=GitWanted(url=url, ref="main"))
    assert answer.source.commit == commit
    assert answer.failure is not None
    assert (answer.failure.reason, why in answer.failure.message) == (reason, True), answer.failure
