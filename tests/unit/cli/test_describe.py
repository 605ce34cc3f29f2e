"""`sentinel describe`: why a build failed, in one screenful, out of what the caller may read."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.cli.conftest import Cluster, Sentinel, ended

from sentinel.cli.tail import last_lines
from sentinel.kube.errors import Forbidden

STEPS = [
    {
        "id": "script-1",
        "name": "script",
        "displayName": "compile",
        "state": "Passed",
        "exitCode": 0,
    },
    {
        "id": "script-2",
        "name": "script",
        "displayName": "run the tests",
        "state": "Failed",
        "exitCode": 2,
        "startTime": "2026-11-28T10:00:10Z",
        "completionTime": "2026-11-28T10:00:22Z",
    },
    {"id": "script-3", "name": "script", "phase": "after", "state": "Failed", "exitCode": 1},
]
OUTPUT = (
    b'--- sentinel step=1 offset=0 id=script-1 name="compile"\nfine\n'
    b'--- sentinel step=2 offset=0 id=script-2 name="run the tests"\n'
    + b"".join(b"line %d\n" % n for n in range(30))
    + b"\x1b[31mred\x1b[0m \x1b]0;title\x07end\n"
    b'--- sentinel step=3 offset=0 id=script-3 name="script"\nafterwards\n'
)


def failed(**more: Any) -> dict[str, Any]:
    message = "step 'run the tests' ended with exit code 2"
    source = {"commit": "3f2c1ab" + "0" * 33, "branch": "main", "subject": "Break \x1b[2J it"}
    return ended(
        "Failed",
        "ExitCode",
        message,
        steps=STEPS,
        source=source,
        **{"pod": {"name": "hello-1", "uid": "uid-of-pod"}, **more},
    )


def event(reason: str, message: str, *, of: str, type_: str = "Warning", **more: Any) -> Any:
    return {
        "metadata": {"name": f"{reason}{message}", "namespace": "team"},
        "type": type_,
        "reason": reason,
        "message": message,
        "involvedObject": {"uid": of},
        **more,
    }


def test_a_failed_build_in_a_screenful(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.build(status=failed())
    cluster.output["hello-1"] = OUTPUT
    events = [
        event("StepFailed", "repeats", of="uid-of-hello"),
        event("Accepted", "normal", of="uid-of-hello", type_="Normal"),
        event("Notice", "of another", of="uid-of-other"),
        *(
            event("Notice", f"{n} \x1b[2J", of="uid-of-hello", eventTime=f"2026-11-28T10:0{n}:00Z")
            for n in range(6)
        ),
        event("Unhealthy", "last", of="uid-of-pod", lastTimestamp="2026-11-28T10:09:00Z"),
    ]
    cluster.add("events", *events)
    done = sentinel("describe", "hello")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "Build:    team/hello"
    assert lines[1].startswith("Phase:    Failed after 42s, ")
    assert lines[2:10] == [
        "Source:   pipeline build at commit 3f2c1ab of main: Break \ufffd[2J it",
        "Reason:   ExitCode: The step ended with an exit code other than 0.",
        "Message:  step 'run the tests' ended with exit code 2",
        "Cause:    the project or the Build",
        "Remedy:   Its log has the error.",
        "Step:     run the tests: exit code 2 after 12s",
        "",
        "The last lines of run the tests (at most 20):",
    ]
    assert lines[10:30] == [f"  line {n}" for n in range(11, 30)] + ["  red end"]
    assert lines[31] == "Warnings:"
    assert [line.split(maxsplit=1)[1] for line in lines[32:37]] == [
        *(f"Notice: {n} \ufffd[2J" for n in range(2, 6)),
        "Unhealthy: last",
    ]
    assert lines[37:] == ["", "Next:     sentinel logs -n team hello --step 'run the tests'"]
    assert len(lines) <= 40


def test_without_rights_on_more_than_builds_it_shows_the_rest(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    cluster.build(status=failed(results={"prefix": "ci/team/hello"}))
    cluster.fail("list", "events", Forbidden("list events: no", status=403))
    done = sentinel("describe", "hello")
    assert done.exit_code == 0
    assert "The last lines" not in done.stdout
    assert done.stdout.splitlines()[-4:] == [
        "The log of run the tests cannot be read here: this cluster has no results API (`kubectl get apiservice "
        "v1alpha1.results.sentinel.wercker.com`); an administrator turns it on with the chart's value "
        "results.enabled; no pod hello-1",
        "Events cannot be read: list events: no",
        "",
        "Next:     sentinel logs -n team hello --step 'run the tests'",
    ]


def test_the_log_of_a_pod_that_is_gone_comes_from_the_results_api(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    cluster.results = {"script-2": b"x" * 200_000 + b"\nfrom the store\n"}
    cluster.build(status=failed(results={"prefix": "ci/team/hello"}))
    shown = sentinel("describe", "hello").stdout
    assert "\n  from the store\n" in shown
    assert len(shown) < 2000


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (ended("Failed", "ConfigInvalid", "wercker.yml:3:1: no\n 3 | x\n"), "sentinel check   (in"),
        (ended("Failed", "ConfigMissing"), "sentinel detect   (in"),
        (ended("Failed", "SecretNotFound"), "sentinel retry -n team hello"),
        (ended("Errored", "NodeLost"), "sentinel retry -n team hello"),
        (ended("Cancelled", "Cancelled"), "sentinel retry -n team hello"),
        (ended("Succeeded", "Passed"), "sentinel logs -n team hello"),
        (ended("Errored", "NewerReason", "of another release"), "sentinel retry -n team hello"),
        ({"phase": "Running"}, "sentinel logs -f -n team hello"),
        ({}, "sentinel logs -f -n team hello"),
    ],
)
def test_the_next_command(
    cluster: Cluster, sentinel: Sentinel, status: dict[str, Any], expected: str
) -> None:
    cluster.build(status=status)
    done = sentinel("describe", "hello")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1].startswith(f"Next:     {expected}")


def test_a_build_that_waits_says_for_what(cluster: Cluster, sentinel: Sentinel) -> None:
    conditions = [
        {"type": "Accepted", "status": "True", "reason": "Valid"},
        {"type": "PodReady", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"},
    ]
    cluster.build(
        status={"phase": "Starting", "conditions": conditions, "progress": "0/3"},
        spec={"source": "what no release parses"},
    )
    lines = sentinel("describe", "hello").stdout.splitlines()
    assert lines[1:3] == [
        "Phase:    Starting, 0/3 steps",
        "Source:   pipeline build; not read yet",
    ]
    assert lines[3].startswith("Reason:   Unschedulable: The scheduler found no node")
    assert lines[4:6] == ["Message:  0/1 nodes", "Cause:    the cluster or Sentinel"]


def test_an_image_and_a_message_of_many_lines(cluster: Cluster, sentinel: Sentinel) -> None:
    image = {"repository": "reg/x", "digest": "sha256:1", "tags": ["latest", "green"]}
    message = "\n".join(f"\t{n}\x1b[2J" for n in range(40))
    cluster.build(status=ended("Succeeded", "Passed", message, image=image))
    lines = sentinel("describe", "hello").stdout.splitlines()
    assert "Image:    reg/x@sha256:1 (latest, green)" in lines
    assert lines[4:6] == ["Message:  0\ufffd[2J", "                  1\ufffd[2J"]
    assert lines[16] == "          …"


def test_images_of_steps_and_why_there_is_none(cluster: Cluster, sentinel: Sentinel) -> None:
    steps = [
        {"id": "a-1", "name": "script", "displayName": "get", "image": {"digest": "sha256:1"}},
        {"id": "b-2", "name": "test", "image": {"reason": "PushFailed", "message": "no\x1b[2J"}},
        {"id": "c-3", "name": "after", "phase": "after"},
    ]
    cluster.build(status=ended("Succeeded", "Passed", "2 steps", steps=steps))
    lines = sentinel("describe", "hello").stdout.splitlines()
    at = lines.index("Images:   1 get: sha256:1")
    assert lines[at + 1] == "          2 test: none: PushFailed: no\ufffd[2J"
    assert not any("after" in line for line in lines[at:])


def test_a_step_s_name_that_a_shell_or_a_terminal_would_obey_is_not_pasted(
    cluster: Cluster, sentinel: Sentinel
) -> None:
    steps = [{"id": "script-1", "name": "script", "displayName": "x'; \n rm", "state": "Failed"}]
    cluster.build(status=ended("Failed", "ExitCode", steps=steps))
    assert sentinel("describe", "hello").stdout.splitlines()[-1].endswith("--step script-1")


def test_lines_as_a_terminal_would_show_them() -> None:
    assert last_lines(b"") == last_lines(b"\n\n") == []
    assert last_lines(b"10%\r50%\r100%\r\nnext\tcolumn\n") == ["100%", "next    column"]
    assert last_lines(b"\xff\x1b[2Ja" + b"y" * 1000)[0] == "\ufffda" + "y" * 297 + "…"
