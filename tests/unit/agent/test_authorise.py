"""What a commit is allowed to do: which Secrets it may pull with, and for how long it may run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from tests.unit.clocks import Hasty
from tests.unit.fakeapi import FakeApi

from sentinel.agent.authorise import Permit, authorise
from sentinel.agent.failures import CommitRefused
from sentinel.api import API_VERSION
from sentinel.api.imagecommit import ACTIVE_LABEL, ImageCommit
from sentinel.api.reasons import CommitReason
from sentinel.settings import Settings
from sentinel.settings.images import ImageSettings

UID = "6f0d3a52-9b1c-4e7e-8a55-3d2f10c4b7aa"
OWNER = {"apiVersion": API_VERSION, "kind": "Build", "name": "b", "uid": UID, "controller": True}


BUILD = {
    "metadata": {"name": "b", "uid": UID},
    "spec": {"image": {"pullSecretRefs": [{"name": "named"}]}},
}
POD = {
    "metadata": {"name": "p", "uid": "pod-uid", "ownerReferences": [OWNER]},
    "spec": {"nodeName": "n", "containers": [{"name": "box"}]},
    "status": {"containerStatuses": [{"name": "box", "containerID": "containerd://c"}]},
}
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def commit(
    secret: str = "named", *, started: str = "", active: str = "true", **spec: Any
) -> ImageCommit:
    return ImageCommit.model_validate(
        {
            "metadata": {
                "name": "c",
                "namespace": "ns",
                "uid": "u",
                "ownerReferences": [OWNER],
                "labels": {ACTIVE_LABEL: active},
            },
            "spec": {
                "nodeName": "n",
                "podName": "p",
                "podUid": "pod-uid",
                "containerName": "box",
                "containerId": "containerd://c",
                "repository": "registry.example.com/ns/x",
                "tags": ["t"],
                "pullSecretRefs": [{"name": secret}],
                "deadline": "2026-11-27T01:00:00Z",
                **spec,
            },
            "status": {"startTime": started},
        }
    )


async def permit(asked: ImageCommit) -> Permit:
    return await authorise(
        asked,
        kube=cast(Any, FakeApi(builds=[BUILD], pods=[POD])),
        settings=Settings(node_name="n", images=ImageSettings(prefix="registry.example.com")),
        clock=Hasty(NOW),
    )


async def allowed(secret: str) -> bool:
    try:
        await permit(commit(secret))
    except CommitRefused as error:
        assert f"does not name Secret {secret!r} to pull with" in error.message
        return False
    return True


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("named", True),
        ("b-6f0d3a52-pull", True),
        ("other-6f0d3a52-pull", False),
        ("b-00000000-pull", False),
        ("tokens", False),
    ],
)
async def test_a_commit_pulls_with_its_builds_own_secrets_only(secret: str, expected: bool) -> None:
    assert await allowed(secret) == expected


async def test_the_timeout_counts_from_the_first_claim_and_not_from_the_queue() -> None:
    assert (await permit(commit())).seconds == 1800
    assert (await permit(commit(timeoutSeconds=60, deadline="2026-11-27T00:00:01Z"))).seconds == 60
    again = commit(started="2026-11-26T23:50:00Z", deadline="2026-11-26T23:55:00Z")
    assert (await permit(again)).seconds == 1200


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (commit(deadline="2026-11-26T23:59:59Z"), "was not started before its deadline"),
        (commit(started="2026-11-26T23:29:59Z"), "did not end within 1800 s"),
    ],
)
async def test_a_commit_that_is_too_late_is_refused(asked: ImageCommit, words: str) -> None:
    with pytest.raises(CommitRefused, match=words) as caught:
        await permit(asked)
    assert caught.value.why is CommitReason.DEADLINE


async def test_where_the_crd_dropped_scratch_from_the_whole_box_is_not_pushed() -> None:
    await permit(commit(active="scratch", scratchFrom=["/pipeline/output"]))
    with pytest.raises(CommitRefused, match="the CRD imagecommits is older than the operator") as e:
        await permit(commit(active="scratch"))
    assert e.value.why is CommitReason.UNSUPPORTED


@pytest.mark.parametrize("more", [{"previous": "sha256:" + "1" * 64}, {"remember": True}])
async def test_an_image_from_scratch_stands_on_no_other(more: dict[str, Any]) -> None:
    with pytest.raises(CommitRefused, match="cannot be combined") as e:
        await permit(commit(active="scratch", scratchFrom=["/pipeline/output"], **more))
    assert e.value.why is CommitReason.UNSUPPORTED
