"""What the agent requires of its surroundings before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentinel.agent.app import check_capabilities, check_settings, empty_spool, selector
from sentinel.errors import UserError
from sentinel.settings import Settings


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        ("000001ffffffffff", None),
        ("0000000000200004", None),
        ("0000000000200000", "CAP_DAC_READ_SEARCH"),
        ("0000000000000004", "CAP_SYS_ADMIN"),
        ("0000000000000000", "CAP_DAC_READ_SEARCH and CAP_SYS_ADMIN"),
    ],
)
def test_missing_capabilities_are_named(effective: str, missing: str | None) -> None:
    status = f"Name:\tpython\nCapPrm:\t0000000000000000\nCapEff:\t{effective}\n"
    if missing is None:
        check_capabilities(status)
    else:
        with pytest.raises(UserError, match=f"lacks {missing}: run it as uid 0"):
            check_capabilities(status)


def test_an_agent_must_know_its_node() -> None:
    with pytest.raises(UserError, match="SENTINEL_NODE_NAME is not set"):
        check_settings(Settings(node_name=""))


def test_only_the_nodes_own_open_commits_are_watched() -> None:
    ours = "sentinel.wercker.com/node=node-1,sentinel.wercker.com/active in (true,scratch)"
    assert selector(Settings(node_name="node-1")) == ours
    second = Settings(node_name="node-1", instance="second")
    assert selector(second) == f"{ours},sentinel.wercker.com/instance=second"


def test_the_spool_is_emptied_of_our_own_leftovers_only(tmp_path: Path) -> None:
    (tmp_path / "spool/commit-old").mkdir(parents=True)
    (tmp_path / "spool/commit-old/layer.tar").touch()
    (tmp_path / "spool/other").touch()
    empty_spool(tmp_path / "spool")
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["other"]
