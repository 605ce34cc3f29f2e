"""What is wrong with a Build is said in its status: the phase whose fault it is, the reason, and what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.cluster.conftest import Builds, steps
from tests.kubectl import condition


def verdict(raw: dict[str, Any]) -> tuple[str, str]:
    """(phase, reason of Succeeded); Accepted agrees where the Build never got further."""
    accepted, succeeded = condition(raw, "Accepted"), condition(raw, "Succeeded")
    if accepted["status"] == "False":
        assert accepted["reason"] == succeeded["reason"]
        assert accepted["message"] == succeeded["message"]
    return raw["status"]["phase"], succeeded["reason"]


def message(raw: dict[str, Any]) -> str:
    return str(condition(raw, "Succeeded")["message"])


def test_an_unknown_ref(builds: Builds) -> None:
    raw = builds.run(url=builds.script("true"), ref="mian")
    assert verdict(raw) == ("Failed", "SourceNotFound")
    assert "mian" in message(raw)
    assert "main" in message(raw).replace("mian", "")
    assert builds.pods("b") == []


def test_a_repository_that_does_not_exist(builds: Builds) -> None:
    raw = builds.run(url=f"{builds.lab.git_url}/public/nobody.git")
    assert verdict(raw) == ("Failed", "SourceNotFound")
    assert "nobody.git" in message(raw)


def test_a_repository_that_needs_a_password(builds: Builds) -> None:
    raw = builds.run(url=builds.project("box: x\n", private=True))
    assert verdict(raw) == ("Failed", "SourceAuthFailed")
    assert "secretRef" in message(raw)


def test_a_git_server_that_is_away_is_the_platform_s_fault(builds: Builds) -> None:
    raw = builds.run(url="http://git.lab:1/public/x.git")
    assert verdict(raw) == ("Errored", "SourceUnavailable")


def test_a_missing_git_secret(builds: Builds) -> None:
    raw = builds.run(url=builds.script("true"), git={"secretRef": {"name": "nope"}})
    assert verdict(raw) == ("Failed", "SecretNotFound")
    assert "'nope'" in message(raw)


def test_a_missing_wercker_yml(builds: Builds) -> None:
    raw = builds.run(url=builds.project(None))
    assert verdict(raw) == ("Failed", "ConfigMissing")
    assert "wercker.yml" in message(raw)


def test_a_yaml_error_is_reported_with_line_and_column(builds: Builds) -> None:
    text = "box: debian\nbuild:\n  after-steps:\n    - hipchat-notify\n        token: $TOKEN\n"
    raw = builds.run(url=builds.project(text))
    assert verdict(raw) == ("Failed", "ConfigInvalid")
    assert re.search(r"wercker\.yml:[45]:\d+: error", message(raw))
    assert "colon" in message(raw)
    first = raw["status"]["diagnostics"][0]
    assert first["severity"] == "error"
    assert first["line"] in (4, 5)
    assert first["column"] > 0


def test_an_unknown_pipeline(builds: Builds) -> None:
    raw = builds.run(url=builds.script("true"), pipeline="biuld")
    assert verdict(raw) == ("Failed", "PipelineNotFound")
    assert "build" in message(raw)


def test_unknown_images_are_all_named_before_a_pod_exists(builds: Builds) -> None:
    registry = builds.lab.registry
    text = (
        f"box: {registry}/box/nothing:1\nservices: [{registry}/service/none]\n"
        "build:\n  steps:\n    - script: {code: 'true'}\n"
    )
    raw = builds.run(url=builds.project(text))
    assert verdict(raw) == ("Failed", "ImageNotFound")
    assert "box/nothing:1" in message(raw)
    assert "service/none" in message(raw)
    assert builds.pods("b") == []


def test_a_missing_secret_of_a_variable_stops_the_build_before_its_pod(builds: Builds) -> None:
    token = {"secretKeyRef": {"name": "tokens", "key": "api"}}
    raw = builds.run(url=builds.script("true"), env=[{"name": "TOKEN", "valueFrom": token}])
    assert verdict(raw) == ("Failed", "SecretNotFound")
    assert "TOKEN" in message(raw)
    assert builds.pods("b") == []


def test_a_failing_step_keeps_its_exit_code(builds: Builds) -> None:
    codes = {"exit 3": 3, "false\necho not reached": 1, "nosuchcommand": 127, "(exit 7)": 7}
    for code, expected in codes.items():
        lines = "".join(f"          {line}\n" for line in code.splitlines())
        text = (
            f"box: {builds.lab.registry}/box/debian:12\nbuild:\n  steps:\n"
            f"    - script:\n        name: break\n        code: |\n{lines}"
            "    - script: {name: never, code: 'true'}\n"
            "  after-steps:\n"
            "    - script: {name: tell, code: 'echo $WERCKER_RESULT: $WERCKER_FAILED_STEP_DISPLAY_NAME'}\n"
        )
        builds.apply(f"exit-{expected}", url=builds.project(text))
    for expected in codes.values():
        raw = builds.finish(f"exit-{expected}")
        assert verdict(raw) == ("Failed", "ExitCode")
        assert steps(raw) == [
            ("break", "Failed", "ExitCode"),
            ("never", "Skipped", "Skipped"),
            ("tell", "Passed", "Passed"),
        ]
        assert raw["status"]["steps"][0]["exitCode"] == expected
        assert f"exited with code {expected}" in message(raw)
        assert builds.log(raw, "tell") == "failed: break\n"


def test_a_step_that_runs_into_its_timeout(builds: Builds) -> None:
    url = builds.script("echo before; sleep 1000", name="hang")
    # Long enough for the first line, also where everything takes long.
    raw = builds.run(url=url, timeouts={"command": "6s"})
    assert verdict(raw) == ("Failed", "CommandTimeout")
    assert steps(raw) == [("hang", "Failed", "CommandTimeout")]
    assert builds.log(raw, "hang").startswith("before\n")


def test_a_silent_step_runs_into_its_timeout(builds: Builds) -> None:
    url = builds.script("echo before; sleep 1000", name="hang")
    raw = builds.run(url=url, timeouts={"noResponse": "2s"})
    assert verdict(raw) == ("Failed", "NoResponseTimeout")


def test_a_spec_the_server_refuses_is_refused_by_kubectl(builds: Builds) -> None:
    with pytest.raises(Exception, match=r"spec\.source"):
        builds.apply("b", url="", git={"url": ""})


def test_a_pod_that_no_node_can_take_ends_at_its_pending_timeout(builds: Builds) -> None:
    raw = builds.run(
        url=builds.script("true"),
        # Long enough for the scheduler, whose verdict is the reason.
        timeouts={"pending": "10s"},
        pod={"nodeSelector": {"no-such-label": "x"}},
    )
    assert verdict(raw) == ("Errored", "Unschedulable")
    assert "node" in message(raw)
    assert builds.pods("b") == []
