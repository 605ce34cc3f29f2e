"""Which file of a project is its configuration, and what is said where there is none."""

from __future__ import annotations

import pytest

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.resolver.reading import config_text


@pytest.mark.parametrize(
    ("root", "remedy"),
    [
        (
            ("README.md",),
            "add one (`sentinel detect` makes a first one), or give its text in spec.config",
        ),
        (("wercker.yaml",), "wercker.yaml is not read: rename it to wercker.yml"),
    ],
)
def test_a_project_without_a_configuration(root: tuple[str, ...], remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        config_text("", {}, root, "commit abc", generate=False)

    assert caught.value.reason is Reason.CONFIG_MISSING
    assert caught.value.message == (
        f"commit abc has no wercker.yml (nor ewok.yml or .wercker.yml) at its root: {remedy}"
    )
