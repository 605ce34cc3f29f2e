"""The closed list of reasons: whose failure one is decides the class of its exception, wherever it is raised."""

from __future__ import annotations

import ast
from pathlib import Path

import sentinel
from sentinel.api.reasons import Blame, Reason, read_reason
from sentinel.errors import InfrastructureError, UserError

CLASSES = {
    "UserError": Blame.USER,
    "CancelledByUser": Blame.CANCEL,
    "InfrastructureError": Blame.PLATFORM,
    "InternalError": Blame.PLATFORM,
    "NotVerified": Blame.PLATFORM,
    "ProtocolMismatch": Blame.PLATFORM,
    "SessionLost": Blame.PLATFORM,
}


def raised() -> list[tuple[str, str, Reason]]:
    """(place, class, reason) of every error that is made with a reason written beside it."""
    found: list[tuple[str, str, Reason]] = []
    for path in Path(sentinel.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id=kind), keywords=keywords) if kind in CLASSES:
                    for each in keywords:
                        match each:
                            case ast.keyword(
                                arg="reason",
                                value=ast.Attribute(value=ast.Name(id="Reason"), attr=name),
                            ):
                                found.append((f"{path.name}:{node.lineno}", kind, Reason[name]))
    return found


def test_every_error_is_of_the_class_that_its_reason_has() -> None:
    found = raised()
    assert len(found) > 100
    assert [each for each in found if CLASSES[each[1]] is not each[2].blame] == []


def test_a_reason_makes_its_own_error() -> None:
    mine, theirs = Reason.CONFIG_INVALID.error("line 3"), Reason.NODE_LOST.error("node a")
    assert (type(mine), mine.message, mine.reason) == (
        UserError,
        "line 3",
        Reason.CONFIG_INVALID,
    )
    assert (type(theirs), theirs.reason) == (InfrastructureError, Reason.NODE_LOST)


def test_a_reason_is_its_name() -> None:
    assert read_reason("ConfigInvalid") is Reason.CONFIG_INVALID
    assert f"{Reason.CONFIG_INVALID}" == Reason.CONFIG_INVALID == "ConfigInvalid"
    assert all(each.meaning.endswith(".") for each in Reason)
