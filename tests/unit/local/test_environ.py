"""The variables of a local build."""

from __future__ import annotations

from sentinel.local.environ import SECRET, given_variables


def test_the_file_and_the_callers_variables() -> None:
    text = "# comment\nX_A=from file\nXXX_TOKEN=secret\nX_B=$A and $C\nnonsense=1\n"
    environ = {
        "X_A": "from shell",
        "X_OTHER": "cost $(5)",
        "XXX_KEY": "hidden $(A)",
        "X_EMPTY": "",
        "HOME": "/root",
        "X_": "no name",
    }
    given = given_variables(text, environ)
    assert given.env == (
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "KEY"}}},
        {"name": "OTHER", "value": "cost $$(5)"},
        {"name": "A", "value": "from shell"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "TOKEN"}}},
        {"name": "B", "value": "$(A) and $C"},
    )
    assert given.secrets == {"KEY": b"hidden $(A)", "TOKEN": b"secret"}
    assert len(given.warnings) == 1
    assert "hidden" not in repr(given)
