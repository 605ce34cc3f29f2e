"""Messages to boxkit: the JSON that operator/boxkit/README.md describes."""

from __future__ import annotations

from sentinel.session import messages
from sentinel.session.messages import (
    AttemptLimits,
    Collect,
    Copy,
    Open,
    Result,
    Service,
    StepSpec,
    Upload,
)


def test_open() -> None:
    opened = Open(
        build="uid",
        attempt=1,
        plan="sha",
        env=[("A", "1")],
        masks=[b"\xff\x00"],
        shell=["/bin/sh"],
        entrypoint=["/entry"],
        source_dir="/pipeline/source/sub",
        clear=["/pipeline/output"],
        dirs=["/report"],
        copies=[Copy(source="/mnt/wercker/source", target="/pipeline/source")],
        limits=AttemptLimits(log=10, build=1.5, grace=2, close=3),
        services=[Service(alias="db", ports=(5432,), hosts=True)],
        uploads={"log/1": Upload(url="http://store/1", headers={"X": "y"})},
        store=True,
        ca="PEM",
        proxy="http://proxy",
    )
    assert opened.message() == {
        "type": "open",
        "build": "uid",
        "attempt": 1,
        "plan": "sha",
        "env": [["A", "1"]],
        "masks": ["/wA="],
        "shell": ["/bin/sh"],
        "entrypoint": ["/entry"],
        "sourceDir": "/pipeline/source/sub",
        "pipelineDir": "/pipeline",
        "reportDir": "/report",
        "prepare": {
            "clear": ["/pipeline/output"],
            "dirs": ["/report"],
            "copies": [{"from": "/mnt/wercker/source", "to": "/pipeline/source"}],
        },
        "limits": {"log": 10, "build": 1.5, "grace": 2, "close": 3},
        "services": [{"alias": "db", "ports": [5432], "hosts": True}],
        "uploads": {"log/1": {"url": "http://store/1", "headers": {"X": "y"}}},
        "store": True,
        "ca": "PEM",
        "proxy": "http://proxy",
    }


def test_start() -> None:
    step = StepSpec(
        ordinal=2,
        id="deploy-1",
        name="deploy",
        phase="after",
        kind="step",
        dir="/mnt/wercker/deploy-1",
        exports=[("WERCKER_DEPLOY_X", "$Y")],
        cwd="sub",
        command_timeout=1500,
        no_response_timeout=300,
    )
    result = Result(result="failed", failed_step_display_name="store", failed_step_message="no")
    assert messages.start([step], result=result) == {
        "type": "start",
        "steps": [
            {
                "phase": "after",
                "ordinal": 2,
                "id": "deploy-1",
                "name": "deploy",
                "displayName": "deploy",
                "owner": "wercker",
                "kind": "step",
                "code": "",
                "dir": "/mnt/wercker/deploy-1",
                "exports": [["WERCKER_DEPLOY_X", "$Y"]],
                "cwd": "sub",
                "timeouts": {"command": 1500, "noResponse": 300},
            }
        ],
        "result": {"result": "failed", "failedStepDisplayName": "store", "failedStepMessage": "no"},
    }


def test_the_rest() -> None:
    collect = Collect(what="output", path="/o", upload=Upload(url="u"), limit=5, gzip=True)
    assert [
        collect.message(),
        messages.start([]),
        messages.hello(since=4, follow={1: 10}),
        messages.hello(since=0, follow=None),
        messages.cancel("why", after=True),
        messages.environment(),
        messages.close(),
        messages.ping(1),
        messages.pong(2),
    ] == [
        {
            "type": "collect",
            "what": "output",
            "path": "/o",
            "url": "u",
            "headers": {},
            "limit": 5,
            "gzip": True,
        },
        {"type": "start", "steps": []},
        {
            "type": "hello",
            "protocol": 1,
            "protocols": {"min": 1, "max": 1},
            "since": 4,
            "follow": {"1": 10},
        },
        {
            "type": "hello",
            "protocol": 1,
            "protocols": {"min": 1, "max": 1},
            "since": 0,
            "follow": None,
        },
        {"type": "cancel", "reason": "why", "after": True},
        {"type": "environment"},
        {"type": "close"},
        {"type": "ping", "n": 1},
        {"type": "pong", "n": 2},
    ]
