"""The operator's network policy reaches whatever a child connects to."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sentinel.resolver.messages import (
    ArchiveWanted,
    FactsRequest,
    GitWanted,
    ProjectWanted,
    Request,
    SourceRequest,
    StepRules,
    StepWanted,
    WorkflowRequest,
)
from sentinel.resolver.work import work

NETWORK = {"denied": ["192.0.2.0/24"]}
RULES = StepRules(allow_url=True, packed_bytes=1000, unpacked_bytes=1000, entries=10)


def step(url: str) -> StepWanted:
    return StepWanted(identifier="o/n", owner="o", name="n", version="*", url=url)


@pytest.mark.parametrize(
    "request_",
    [
        SourceRequest(
            git=GitWanted(url="http://192.0.2.1/p.git", ref=""), pipeline="build", network=NETWORK
        ),
        SourceRequest(
            archive=ArchiveWanted(url="http://192.0.2.1/p.tar", sha256=""),
            pipeline="build",
            network=NETWORK,
        ),
        WorkflowRequest(git=GitWanted(url="http://192.0.2.1/p.git", ref=""), network=NETWORK),
        FactsRequest(steps=(step("http://192.0.2.1/s.tgz"),), rules=RULES, network=NETWORK),
        FactsRequest(
            steps=(step("file://./steps/x"),),
            rules=RULES,
            project=ProjectWanted(url="http://192.0.2.1/p.git", commit="1" * 40),
            network=NETWORK,
        ),
    ],
    ids=["git", "archive", "workflow", "step by URL", "step of the project"],
)
def test_a_denied_address_is_denied_to_every_kind_of_request(
    request_: Request, tmp_path: Path
) -> None:
    failure = work(request_, tmp_path, asyncio.run).answer.failure
    assert failure is not None
    assert "an address of the cluster itself, which builds may not reach" in failure.message


def test_a_login_goes_by_plain_http_where_the_operator_allows_it(tmp_path: Path) -> None:
    request = SourceRequest(
        archive=ArchiveWanted(
            url="http://192.0.2.1/p.tar", sha256="", credentials={"token": "t0ken"}
        ),
        pipeline="build",
        network=NETWORK | {"plain_http": ["192.0.2.1"]},
    )
    failure = work(request, tmp_path, asyncio.run).answer.failure
    assert failure is not None
    assert "builds may not reach" in failure.message, "and is not refused for its login"
