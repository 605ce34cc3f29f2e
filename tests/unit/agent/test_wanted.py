"""Which builds still wait for their image: only those get their moving tags."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.clocks import Hasty
from tests.unit.fakeapi import FakeApi

from sentinel.agent.commit import is_wanted
from sentinel.agent.tools import Tools
from sentinel.api import API_VERSION
from sentinel.api.imagecommit import ImageCommit

OWNER = {"apiVersion": API_VERSION, "kind": "Build", "name": "b", "uid": "u", "controller": True}


def build(uid: str = "u", *, cancel: bool = False, finished: str = "") -> dict[str, Any]:
    conditions = [{"type": "Finished", "status": finished}] if finished else []
    return {
        "metadata": {"name": "b", "uid": uid},
        "spec": {"cancel": cancel},
        "status": {"conditions": conditions},
    }


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (build(), True),
        (build(finished="False"), True),
        # Given up, as when no agent took the commit in time: `latest` must not move afterwards.
        (build(finished="True"), False),
        (build(cancel=True), False),
        (build(uid="of another Build of that name"), False),
        (None, False),
    ],
)
async def test_a_build_that_ended_or_was_cancelled_moves_no_tags(
    found: dict[str, Any] | None, wanted: bool
) -> None:
    commit = ImageCommit.model_validate(
        {
            "metadata": {"name": "c", "namespace": "ns", "uid": "c", "ownerReferences": [OWNER]},
            "spec": {
                "nodeName": "n",
                "podName": "p",
                "podUid": "p",
                "containerId": "containerd://c",
                "repository": "registry.example.com/x",
                "tags": ["t"],
                "deadline": "2026-11-27T01:00:00Z",
            },
        }
    )
    api = FakeApi(builds=[found] if found else [])
    tools = cast(Tools, SimpleNamespace(kube=api, clock=Hasty()))
    assert await is_wanted(commit, tools) is wanted
