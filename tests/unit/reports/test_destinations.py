"""Which receivers a Build has."""

from __future__ import annotations

from typing import Any, cast

from tests.unit.clocks import Hasty
from tests.unit.reports.stories import COMMIT, created

from sentinel.reports.destinations import Destinations
from sentinel.reports.sequence import Reported
from sentinel.settings.reports import CommitStatusHost, ReportSettings

SETTINGS = ReportSettings(
    commit_statuses=[
        CommitStatusHost(host="git.example", kind="gitea", repositories=["{namespace}/*"])
    ]
)


def kinds(raw: dict[str, Any]) -> list[str]:
    destinations = Destinations(SETTINGS, kube=cast(Any, None), clock=Hasty())
    return [each.kind for each in destinations.ours(Reported.parse(raw))]


def test_a_deploy_without_a_source_marks_the_commit_of_its_parent() -> None:
    """The repository is the one that the operator found, and the same patterns allow or deny it."""
    deploy = created("deploy", parent={"name": "b"})
    del deploy["spec"]["source"]
    assert kinds(deploy) == []
    deploy["status"] = {"source": {"url": "https://git.example/team/shop.git", "commit": COMMIT}}
    assert kinds(deploy) == ["commits"]
    deploy["status"]["source"]["url"] = "https://git.example/other/shop.git"
    assert kinds(deploy) == []


def test_the_spec_says_which_repository_a_build_with_a_source_marks() -> None:
    assert kinds(created()) == ["commits"]
