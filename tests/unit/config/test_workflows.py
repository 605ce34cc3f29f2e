"""Workflows: what upstream checked in that order, all of it reported, and no Build fails of it."""

from __future__ import annotations

import pytest

from sentinel.config.load import load, pipeline_of
from sentinel.config.model import Workflow, WorkflowStage

PIPELINES = "build: {steps: []}\ntest: {steps: []}\ndeploy: {steps: []}\n"
HEAD = PIPELINES + "workflows:\n  - name: ci\n    pipelines:\n"


def reported(stages: str) -> list[tuple[str, int, str, str]]:
    """(code, line, message, hint), the first stage being on line 7."""
    loaded = load((HEAD + stages).encode())
    assert pipeline_of(loaded, "build").name == "build"
    assert {d.pipeline for d in loaded.diagnostics} <= {"workflows"}
    return [(d.code, d.line, d.message, d.hint) for d in loaded.diagnostics]


def test_a_sound_workflow_is_parsed() -> None:
    stages = (
        "      - name: build\n"
        "      - {name: test, requires: [build], envFile: e}\n"
        "      - {name: eu, pipelineName: deploy, requires: [build, test], artifactPipeline: build}\n"
    )
    loaded = load((HEAD + stages).encode())

    assert loaded.diagnostics == ()
    assert loaded.config is not None
    assert loaded.config.workflows == (
        Workflow(
            name="ci",
            line=5,
            stages=(
                WorkflowStage(name="build", pipeline="build", line=7),
                WorkflowStage(
                    name="test", pipeline="test", requires=("build",), env_file="e", line=8
                ),
                WorkflowStage(
                    name="eu",
                    pipeline="deploy",
                    requires=("build", "test"),
                    artifact_pipeline="build",
                    line=9,
                ),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("stages", "code", "line", "message", "hint"),
    [
        (
            "      - name: build\n      - {name: build, requires: [build]}\n",
            "WY403", 8, "build appears twice in workflow ci: on line 7 too",
            "give it another name, and set pipelineName: build",
        ),
        (
            "      - name: biuld\n",
            "WY404", 7, "workflow ci runs biuld, and there is no such pipeline in this file",
            "did you mean build?",
        ),
        (
            "      - name: build\n      - {name: test, requires: [biuld]}\n",
            "WY405", 8, "test requires biuld, which is not in workflow ci", "did you mean build?",
        ),
        (
            "      - {name: build, requires: [test]}\n      - {name: test, requires: [build]}\n",
            "WY406", 5,
            "workflow ci has no first pipeline: each one requires another (build → test → build)",
            "remove requires: from the pipeline that is to run first",
        ),
        (
            "      - name: build\n      - name: test\n",
            "WY407", 5, "workflow ci has several first pipelines: build, test",
            "let all but one require another, e.g. requires: [build]",
        ),
        (
            "      - name: build\n      - {name: test, requires: [deploy]}\n      - {name: deploy, requires: [test]}\n",
            "WY408", 5,
            "pipelines of workflow ci require each other in a circle: test → deploy → test",
            "remove one of these requires",
        ),
        (
            "      - {name: build, artefactPipeline: x}\n",
            "WY402", 7, "unknown key artefactPipeline of a pipeline of a workflow; it is ignored",
            "did you mean artifactPipeline?",
        ),
        (
            "      - name: build\n      - {name: test, requires: build}\n",
            "WY401", 8, "requires must be a list of names", "write: requires: [build]",
        ),
        (
            "      - name: build\n      - test\n",
            "WY401", 8, "an entry of pipelines of workflow ci must be a map with a name", "write: - name: test",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_workflow(
    stages: str, code: str, line: int, message: str, hint: str
) -> None:
    assert (code, line, message, hint) in reported(stages)


def test_a_chain_of_thousands_is_safe() -> None:
    stages = "      - {name: s0, pipelineName: build}\n" + "".join(
        f"      - {{name: s{n}, pipelineName: build, requires: [s{n - 1}]}}\n"
        for n in range(1, 4000)
    )

    assert reported(stages) == []
