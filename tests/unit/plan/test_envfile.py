"""wercker's ENVIRONMENT files: which lines are variables, and that a Build gets the same values."""

from __future__ import annotations

import pytest
from tests.unit.plan.examples import build

from sentinel.plan.envfile import EnvFile, FileVariable, read_env_file
from sentinel.plan.environment import resolve, user_variables

FILE = """\
# a comment = of no interest
X_BASE=/srv
no equals sign

X_URL = is not a name
X_PATH=  $BASE/x/${BASE}/$OTHER/$(id)
XXX_TOKEN='it is $BASE'
X_QUOTED="say \\"hi\\"\\nand bye"
X_HALF="open
WERCKER_HOST=https://x
XXX_A=1=2
X_BASE=/later
XXX_EMPTY=
"""


def test_a_file_whole() -> None:
    assert read_env_file(FILE) == EnvFile(
        variables=(
            FileVariable(name="PATH", value="$(BASE)/x/$(BASE)/$OTHER/$$(id)", protected=False),
            FileVariable(name="TOKEN", value="it is $BASE", protected=True),
            FileVariable(name="QUOTED", value='say "hi"\nand bye', protected=False),
            FileVariable(name="HALF", value='"open', protected=False),
            FileVariable(name="A", value="1=2", protected=True),
            FileVariable(name="BASE", value="/later", protected=False),
            FileVariable(name="EMPTY", value="", protected=True),
        ),
        warnings=(
            "line 5: 'URL ' cannot be the name of a variable",
            "line 7: $BASE in TOKEN stays as it is: values of a Secret are never expanded",
            "line 10: WERCKER_HOST begins with neither X_ nor XXX_ and is no variable of builds",
        ),
    )


def test_a_variable_of_the_environment_that_is_not_empty_goes_before_the_files() -> None:
    found = read_env_file("X_A=file\nX_B=file\n", environ={"X_A": "mine", "X_B": "", "X_C": "c"})

    assert [(each.name, each.value) for each in found.variables] == [("A", "mine"), ("B", "file")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("X_A=1\nX_V=$A-${A}-$B", "1-1-$B"),
        ("X_V=$(echo no)$$(A)`x`\\", "$(echo no)$$(A)`x`\\"),
        ('X_V="it\'s"', "it's"),
        ("X_V=ü # no comment", "ü # no comment"),
    ],
)
def test_a_build_gets_the_values_that_the_file_means(text: str, value: str) -> None:
    env = [{"name": each.name, "value": each.value} for each in read_env_file(text).variables]

    resolved = resolve(user_variables(build(env=env)), secrets={}, config_maps={})

    assert dict(resolved.env)["V"] == value
