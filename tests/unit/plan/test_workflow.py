"""A WorkflowRun and its Builds: what is created, cancelled, skipped and retried, and how the whole stands."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.api.build import Build
from sentinel.api.reasons import Reason
from sentinel.api.workflowrun import MOST_STAGES, PipelineStatus, WorkflowRun
from sentinel.config.load import ConfigError, load, workflow_of
from sentinel.config.model import Workflow
from sentinel.errors import UserError
from sentinel.plan.workflow import (
    RUN_UID_LABEL,
    Decision,
    build_name,
    decide,
    owned_by,
    pipelines_of,
    summary,
)

UID = "6f0d3a52-9b1c-4e7e-8a55-3d2f10c4b7aa"
COMMIT = "c" * 40
YML = """\
box: debian:12
build: {steps: [{script: {code: "true"}}]}
test: {steps: [{script: {code: "true"}}]}
deploy: {steps: [{script: {code: "true"}}]}
workflows:
  - name: ci
    pipelines:
      - name: build
      - name: unit
        pipelineName: test
        requires: [build]
      - name: system
        pipelineName: test
        requires: [build]
      - name: deploy
        requires: [unit, system]
"""


def workflow(text: str = YML, name: str = "") -> Workflow:
    return workflow_of(load(text.encode()), name)


class World:
    """A run and its Builds, in memory. `step` does what was decided."""

    def __init__(
        self, *, text: str = YML, env_files: dict[str, str] | None = None, **spec: Any
    ) -> None:
        self.builds: dict[str, Build] = {}
        source = {"git": {"url": "https://example.com/o/r.git", "ref": "main"}}
        pipelines = pipelines_of(workflow(text), env_files=env_files or {})
        self.raw: dict[str, Any] = {
            "metadata": {"name": "run", "namespace": "ns", "uid": UID},
            "spec": {"source": source, **spec},
            "status": {
                "source": {"commit": COMMIT, "branch": "main"},
                "pipelines": [each.model_dump(by_alias=True) for each in pipelines],
            },
        }
        self.specs: dict[str, dict[str, Any]] = {}

    @property
    def run(self) -> WorkflowRun:
        return WorkflowRun.parse(self.raw)

    def decide(self) -> Decision:
        return decide(self.run, self.raw, self.builds)

    def step(self) -> list[str]:
        """Names of the Builds that are created now."""
        decision = self.decide()
        for body in decision.create.values():
            name = body["metadata"]["name"]
            assert name not in self.builds
            self.specs[name] = body["spec"]
            self.builds[name] = Build.parse(
                {**body, "metadata": {**body["metadata"], "uid": f"u-{name}"}}
            )
        self.raw["status"]["pipelines"] = [
            each.model_dump(by_alias=True) for each in decision.pipelines
        ]
        return [body["metadata"]["name"] for body in decision.create.values()]

    def end(self, name: str, phase: str = "Succeeded", reason: str = "Passed") -> None:
        self.set(
            name,
            phase=phase,
            conditions=[
                {
                    "type": "Succeeded",
                    "status": "True" if phase == "Succeeded" else "False",
                    "reason": reason,
                    "message": "step x",
                },
                {"type": "Finished", "status": "True", "reason": "Completed"},
            ],
        )

    def set(self, name: str, **status: Any) -> None:
        raw = self.builds[name].model_dump(by_alias=True)
        self.builds[name] = Build.parse({**raw, "status": status})

    @property
    def phases(self) -> dict[str, str]:
        return {each.name: each.phase for each in self.run.status.pipelines}

    @property
    def shown(self) -> tuple[str, str, str]:
        found = summary(self.run, self.run.status.pipelines)
        return found.phase, found.progress, found.message


def test_pipelines_are_built_in_order_with_fan_out_and_fan_in() -> None:
    w = World()
    assert w.step() == ["run-1-build"]
    assert w.step() == []
    assert w.phases == {
        "build": "Queued",
        "unit": "Waiting",
        "system": "Waiting",
        "deploy": "Waiting",
    }
    w.set("run-1-build", phase="Running")
    assert w.step() == []
    assert w.shown == ("Running", "0/4", "running: build")
    w.end("run-1-build")
    assert w.step() == ["run-2-unit", "run-3-system"]
    w.end("run-3-system")
    assert w.step() == []
    assert w.shown[1] == "2/4"
    w.end("run-2-unit")
    assert w.step() == ["run-4-deploy"]
    w.end("run-4-deploy")
    assert w.step() == []
    assert w.shown == ("Succeeded", "4/4", "all 4 pipelines passed")


def finished() -> World:
    w = World(deployTargets={"deploy": "production"}, env=[{"name": "A", "value": "1"}], config="")
    for ended in ([], ["run-1-build"], ["run-2-unit", "run-3-system"]):
        for name in ended:
            w.end(name)
        w.step()
    return w


def test_each_has_its_parents_and_the_first_the_run_s_source_at_one_commit() -> None:
    specs = finished().specs
    assert specs["run-1-build"]["source"] == {
        "git": {"url": "https://example.com/o/r.git", "ref": "main", "commit": COMMIT}
    }
    assert "parent" not in specs["run-1-build"]
    assert specs["run-2-unit"]["parent"] == {"name": "run-1-build"}
    assert specs["run-2-unit"]["pipeline"] == "test"
    assert "source" not in specs["run-2-unit"] and "inputs" not in specs["run-2-unit"]
    assert specs["run-4-deploy"]["parent"] == {"name": "run-2-unit"}
    assert specs["run-4-deploy"]["inputs"] == [
        {"name": "run-2-unit", "directory": "unit"},
        {"name": "run-3-system", "directory": "system"},
    ]
    assert specs["run-4-deploy"]["deployTarget"] == "production"
    assert all(each["env"] == [{"name": "A", "value": "1"}] for each in specs.values())
    assert {each["ttlAfterFinished"] for each in specs.values()} == {"0s"}


def test_builds_are_owned_and_labelled() -> None:
    w = World()
    body = next(iter(w.decide().create.values()))
    assert owned_by(w.run, body)
    assert body["metadata"]["labels"][RUN_UID_LABEL] == UID
    assert not owned_by(w.run, {"metadata": {}})
    body["metadata"]["ownerReferences"][0]["uid"] = "another"
    assert not owned_by(w.run, body)


def test_what_a_run_has_of_its_builds_is_in_each() -> None:
    shared = {
        "application": {"name": "shop"},
        "startedBy": "someone",
        "envFrom": [{"secretRef": {"name": "s"}}],
        "image": {"commit": "never"},
        "timeouts": {"build": "1h"},
        "retries": {"infrastructure": 0},
        "pod": {"nodeSelector": {"a": "b"}},
    }
    w = World(**shared)
    w.step()
    spec = w.specs["run-1-build"]
    assert {key: spec[key] for key in shared} == shared


def test_artifact_pipeline_picks_one_of_several() -> None:
    w = World(text=YML + "        artifactPipeline: system\n")
    for ended in ([], ["run-1-build"], ["run-2-unit", "run-3-system"]):
        for name in ended:
            w.end(name)
        w.step()
    assert w.specs["run-4-deploy"]["parent"] == {"name": "run-3-system"}
    assert "inputs" not in w.specs["run-4-deploy"]


def failed_unit() -> World:
    w = World()
    w.step()
    w.end("run-1-build")
    w.step()
    w.end("run-2-unit", "Failed", "ExitCode")
    w.step()
    return w


def test_a_failure_stops_what_requires_it_and_nothing_else() -> None:
    w = failed_unit()
    assert w.phases == {
        "build": "Succeeded",
        "unit": "Failed",
        "system": "Queued",
        "deploy": "Skipped",
    }
    assert w.shown[:2] == ("Running", "3/4")
    w.end("run-3-system")
    assert w.step() == []
    assert w.shown == ("Failed", "4/4", "pipeline unit: step x")
    deploy = w.run.status.pipelines[3]
    assert (deploy.reason, deploy.message) == ("Skipped", "it requires unit, which ended as Failed")


def test_a_retry_runs_again_what_did_not_pass() -> None:
    w = failed_unit()
    w.end("run-3-system")
    w.step()
    w.raw["spec"]["retry"] = 1
    assert w.step() == ["run-2-unit-r1"]
    assert w.phases["deploy"] == "Waiting"
    w.end("run-2-unit-r1")
    assert w.step() == ["run-4-deploy-r1"]
    assert w.specs["run-4-deploy-r1"]["inputs"][0] == {"name": "run-2-unit-r1", "directory": "unit"}
    w.end("run-4-deploy-r1")
    w.step()
    assert w.shown[0] == "Succeeded"


def test_a_retry_while_others_run_does_not_start_them_twice() -> None:
    w = failed_unit()
    w.raw["spec"]["retry"] = 1
    assert w.step() == ["run-2-unit-r1"]
    assert w.phases["system"] == "Queued"


def test_a_retry_whose_build_fails_again_ends() -> None:
    w = failed_unit()
    w.raw["spec"]["retry"] = 1
    w.step()
    w.end("run-2-unit-r1", "Errored", "NodeLost")
    w.end("run-3-system")
    assert w.step() == []
    assert w.shown[0] == "Errored"


def test_a_cancel_stops_all_and_starts_nothing() -> None:
    w = World()
    w.step()
    w.end("run-1-build")
    w.step()
    w.raw["spec"]["cancel"] = True
    assert sorted(w.decide().cancel) == ["run-2-unit", "run-3-system"]
    w.step()
    assert w.shown[0] == "Running"
    w.end("run-2-unit", "Cancelled", "Cancelled")
    w.end("run-3-system")
    assert w.step() == []
    assert w.phases["deploy"] == "Skipped"
    assert w.shown[0] == "Cancelled"
    assert w.decide().cancel == ()


def test_a_cancel_before_anything_began() -> None:
    w = World(cancel=True)
    assert w.step() == []
    assert w.shown[:2] == ("Cancelled", "4/4")


def test_a_passed_build_that_is_deleted_is_not_run_again() -> None:
    w = finished()
    del w.builds["run-1-build"]
    assert w.step() == []
    assert w.phases["build"] == "Succeeded"


def test_an_unfinished_build_that_is_deleted_counts_as_cancelled_until_a_retry() -> None:
    w = World()
    w.step()
    w.builds.clear()
    assert w.step() == []
    assert w.phases == {
        "build": "Cancelled",
        "unit": "Skipped",
        "system": "Skipped",
        "deploy": "Skipped",
    }
    assert w.shown == ("Cancelled", "4/4", "pipeline build: Build run-1-build was deleted")
    w.raw["spec"]["retry"] = 1
    assert w.step() == ["run-1-build-r1"]


def test_what_was_created_before_a_restart_is_found_and_not_created_again() -> None:
    w = World()
    bodies = w.decide().create
    body = bodies["build"]
    w.builds["run-1-build"] = Build.parse({**body, "metadata": {**body["metadata"], "uid": "u"}})
    # The status does not know of it.
    assert w.decide().create == {}
    assert w.decide().pipelines[0].build == "run-1-build"


ENV = "X_MODE=fast\nXXX_TOKEN=pa$(ss\nX_BOTH=$MODE!\nPATH=/x\n"


def test_an_env_file_comes_before_the_run_s_own_variables() -> None:
    text = YML.replace(
        "      - name: build\n", "      - name: build\n        envFile: ENVIRONMENT\n"
    )
    w = World(text=text, env_files={"ENVIRONMENT": ENV}, env=[{"name": "MODE", "value": "slow"}])
    w.step()
    assert w.specs["run-1-build"]["env"] == [
        {"name": "MODE", "value": "fast"},
        {"name": "TOKEN", "value": "pa$$(ss"},
        {"name": "BOTH", "value": "$(MODE)!"},
        {"name": "MODE", "value": "slow"},
    ]
    w.end("run-1-build")
    w.step()
    assert w.specs["run-2-unit"]["env"] == [{"name": "MODE", "value": "slow"}]


@pytest.mark.parametrize(
    ("run", "index", "pipeline", "retry", "name"),
    [
        ("run", 0, "build", 0, "run-1-build"),
        ("run", 11, "Build & Test!", 2, "run-12-build-test-r2"),
        ("run", 0, "ü", 0, "run-1-pipeline"),
        ("run", 0, "x" * 100, 0, "run-1-" + "x" * 20),
    ],
)
def test_names(run: str, index: int, pipeline: str, retry: int, name: str) -> None:
    assert build_name(World().run, index, pipeline, retry) == name


def test_long_names_of_runs_do_not_collide() -> None:
    def name(run: str, uid: str) -> str:
        w = World()
        w.raw["metadata"] |= {"name": run, "uid": uid}
        return build_name(w.run, 3, "deploy", 10)

    long = "a" * 60
    names = {name(long, "1"), name(long + "b", "2"), name("a.b", "3"), name("a-b", "4")}
    assert len(names) == 4
    assert all(len(each) <= 63 for each in names)


def text_of(*stages: str) -> str:
    head, _, _ = YML.partition("      - name: build")
    return head + "".join(f"      - {stage}\n" for stage in stages)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            text_of("{name: build}", "{name: a, pipelineName: test, requires: [build]}",
                    "{name: b, pipelineName: test, requires: [build], artifactPipeline: a}"),
            "artifactPipeline of b on line 10 is a, which does not run before it",
        ),
        (
            text_of("{name: build}", "{name: a/b, pipelineName: test, requires: [build]}",
                    "{name: c, pipelineName: test, requires: [build, a/b]}"),
            "'a/b', which c requires, cannot be the name of a directory",
        ),
        (
            text_of("{name: build}", *(f"{{name: t{n}, pipelineName: test, requires: [build]}}" for n in range(50))),
            "it has 51 pipelines; at most 50 can be run",
        ),
    ],
)  # fmt: skip
def test_a_workflow_that_cannot_be_run(text: str, why: str) -> None:
    with pytest.raises(UserError) as caught:
        pipelines_of(workflow(text), env_files={})
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert why in caught.value.message
    assert "workflow ci on line 6" in caught.value.message


def test_env_files_are_bounded() -> None:
    text = YML.replace("      - name: build\n", "      - name: build\n        envFile: E\n")
    for many in ("".join(f"X_A{n}=1\n" for n in range(257)), f"X_A={'x' * 65536}\n"):
        with pytest.raises(UserError) as caught:
            pipelines_of(workflow(text), env_files={"E": many})
        assert caught.value.reason is Reason.CONFIG_INVALID


TWO = YML + "  - name: other\n    pipelines: [{name: build}]\n"


def test_which_workflow_is_meant() -> None:
    assert workflow().name == "ci"
    assert workflow(TWO, "other").stages[0].pipeline == "build"
    for text, name, reason, why in (
        (
            TWO,
            "",
            Reason.PIPELINE_NOT_FOUND,
            "several workflows: set spec.workflow to one of ci, other",
        ),
        (YML, "cd", Reason.PIPELINE_NOT_FOUND, "no workflow cd; it has: ci"),
        ("box: x\nbuild: {}\n", "", Reason.PIPELINE_NOT_FOUND, "has no workflows"),
        (YML.replace("[build]", "[bild]"), "", Reason.CONFIG_INVALID, "requires bild"),
        ("{", "", Reason.CONFIG_INVALID, "wercker.yml"),
    ):
        with pytest.raises(ConfigError) as caught:
            workflow(text, name)
        assert caught.value.reason is reason
        assert why in caught.value.message


def test_a_mistake_in_one_pipeline_is_that_pipeline_s() -> None:
    broken = YML.replace('deploy: {steps: [{script: {code: "true"}}]}', "deploy: {steps: 3}")
    assert workflow(broken).name == "ci"


def test_progress_of_nothing_is_not_success() -> None:
    one = PipelineStatus(name="a", pipeline="a")
    assert summary(World().run, [one]).phase == "Running"
    assert MOST_STAGES == 50
