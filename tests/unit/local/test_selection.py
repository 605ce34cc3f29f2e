"""Which steps `sentinel run` runs: --step, --from, --until."""

from __future__ import annotations

import pytest

from sentinel.config.model import Pipeline, Step
from sentinel.errors import UserError
from sentinel.local.selection import Selection


def script(name: str) -> Step:
    return Step(name="script", kind="script", identifier="script", display_name=name)


MAIN = tuple(script(name) for name in ("setup", "build", "test", "pack"))
AFTER = (script("tidy"), script("notify"))
PIPELINE = Pipeline(
    name="build", steps=MAIN, after_steps=AFTER, targets={"prod": (script("ship"), script("check"))}
)


def chosen(selection: Selection, *, target: str = "") -> tuple[list[str], list[str]]:
    found = selection.apply(PIPELINE, target=target)
    assert not found.targets or found is PIPELINE
    return [s.display_name for s in found.steps], [s.display_name for s in found.after_steps]


@pytest.mark.parametrize(
    ("selection", "main", "after"),
    [
        (Selection(first="build"), ["build", "test", "pack"], ["tidy", "notify"]),
        (Selection(last="build"), ["setup", "build"], ["tidy", "notify"]),
        (Selection(first="2", last="3"), ["build", "test"], ["tidy", "notify"]),
        (Selection(only=("test",)), ["test"], []),
        (Selection(only=("test", "setup")), ["setup", "test"], []),
        (Selection(only=("notify",)), [], ["notify"]),
        (Selection(only=("pack", "5")), ["pack"], ["tidy"]),
        (Selection(only=("script",)), ["setup", "build", "test", "pack"], ["tidy", "notify"]),
    ],
)
def test_steps_are_chosen_by_name_and_number(
    selection: Selection, main: list[str], after: list[str]
) -> None:
    assert chosen(selection) == (main, after)


def test_no_selection_leaves_the_pipeline_as_it_is() -> None:
    assert Selection().apply(PIPELINE, target="prod") is PIPELINE


def test_a_target_s_steps_are_chosen_from() -> None:
    assert chosen(Selection(first="check"), target="prod") == (["check"], ["tidy", "notify"])


def test_an_unknown_step_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"no step 'tests'; its steps are: 1 setup, 2 build"):
        Selection(last="tests").apply(PIPELINE, target="")


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(UserError, match="--from pack is behind --until build"):
        Selection(first="pack", last="build").apply(PIPELINE, target="")
