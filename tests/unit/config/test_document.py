"""Bytes to nodes: what is taken, with which positions, and what is refused before it can hurt."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sentinel.config.codes import Code
from sentinel.config.decode import DocumentError, decode
from sentinel.config.document import Items, Node, Scalar, Table, parse
from sentinel.config.findings import Findings


def plain(node: Node | None) -> Any:
    """The node as lists, dicts and texts."""
    if isinstance(node, Items):
        return [plain(each) for each in node.items]
    if isinstance(node, Table):
        return {key.text: plain(value) for key, value in node.entries}
    return None if node is None else node.text


def read(text: str | bytes) -> Any:
    data = text if isinstance(text, bytes) else text.encode()
    return plain(parse(decode(data), findings=Findings()))


def refused(data: bytes) -> tuple[Code, int, int]:
    with pytest.raises(DocumentError) as caught:
        parse(decode(data), findings=Findings())
    found = caught.value.diagnostic
    return Code(found.code), found.line, found.column


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xef\xbb\xbfa: 1\r\nb: |\r\n  x\r\n  y\r\n", {"a": "1", "b": "x\ny\n"}),
        (b"---\n  a:\n    - b\n", {"a": ["b"]}),
        (b"a: 1\n---\n[not, read\n", {"a": "1"}),
        (b"# nothing\n", None),
        (b"", None),
        (b"on: yes\n1: 2\n~: 3\n", {"on": "yes", "1": "2", "~": "3"}),
        (b"a: &x [1]\nb: *x\n", {"a": ["1"], "b": ["1"]}),
        (b"a: !foo bar\nb: !!str 1.10\n", {"a": "bar", "b": "1.10"}),
        (b"a: {x: 1, y: 2}\na: 3\n", {"a": "3"}),
    ],
)
def test_a_document_is_read(data: bytes, value: Any) -> None:
    assert read(data) == value


def test_merge_keys_add_what_does_not_exist() -> None:
    text = """\
one: &one {a: 1, b: 1}
two: &two {b: 2, c: 2}
both: {c: own, <<: [*one, *two]}
text: {"<<": kept}
"""

    assert read(text) == {
        "one": {"a": "1", "b": "1"},
        "two": {"b": "2", "c": "2"},
        "both": {"c": "own", "a": "1", "b": "1"},
        "text": {"<<": "kept"},
    }


def test_every_node_knows_its_place() -> None:
    root = parse("a:\n  - b: 'c'\n", findings=Findings())

    inner = Table(((Scalar("b", True, "", 2, 5), Scalar("c", False, "", 2, 8)),), 2, 5)
    assert root == Table(((Scalar("a", True, "", 1, 1), Items((inner,), 2, 3)),), 1, 1)


@pytest.mark.parametrize(
    ("text", "code", "line", "message"),
    [
        (
            "a: 1\nb: 2\na: 3\n",
            Code.DUPLICATE_KEY,
            3,
            "a is defined here and on line 1: this one counts",
        ),
        ("a: 1\n---\nb: 2\n", Code.MORE_DOCUMENTS, 2, "only the document above this line is read"),
        (
            "? [a]\n: b\n",
            Code.BAD_KEY,
            1,
            "a key must be a string: this one is a list or a map, and is ignored",
        ),
        (
            "a:\n  <<: 1\n",
            Code.BAD_MERGE,
            2,
            "<< merges maps; a value that is not a map is ignored",
        ),
    ],
)
def test_oddities_are_reported_and_survived(text: str, code: Code, line: int, message: str) -> None:
    findings = Findings()

    assert parse(text, findings=findings) is not None

    (found,) = findings.sorted()
    assert (found.code, found.severity, found.line, found.message) == (
        code,
        "warning",
        line,
        message,
    )


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"a: \xff\n", (Code.NOT_UTF8, 1, 4)),
        (b"ok: 1\nb: x\x07y\n", (Code.SYNTAX, 2, 5)),
        (b"a: *x\n", (Code.BAD_ALIAS, 1, 4)),
        (b"a: &x [1, *x]\n", (Code.BAD_ALIAS, 1, 11)),
        (b"a: [1\n", (Code.SYNTAX, 2, 1)),
        (b"a:\n\t- b\n", (Code.TAB, 2, 1)),
        (b"x" * (1024 * 1024 + 1), (Code.TOO_BIG, 0, 0)),
    ],
)
def test_what_is_not_a_document_is_refused_with_its_place(
    data: bytes, place: tuple[Code, int, int]
) -> None:
    assert refused(data) == place


def alias_bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for n in range(1, 12):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]")
    return "\n".join(lines).encode()


def deep_aliases() -> bytes:
    chain = ["a0: &a0 [x]", *(f"a{n}: &a{n} [[[[*a{n - 1}]]]]" for n in range(1, 40))]
    return "\n".join(chain).encode()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[" * 40_000, Code.TOO_DEEP),
        (b"- " * 40_000, Code.TOO_DEEP),
        (b"{a: " * 40_000, Code.TOO_DEEP),
        (alias_bomb(), Code.TOO_MANY_NODES),
        (deep_aliases(), Code.TOO_DEEP),
        ("\n".join(f"k{n}: v" for n in range(100_000)).encode(), Code.TOO_MANY_NODES),
    ],
)
def test_a_hostile_file_is_refused_at_once(data: bytes, code: Code) -> None:
    began = time.process_time()

    assert refused(data)[0] is code
    assert time.process_time() - began < 2.0


def test_a_large_text_is_not_an_attack() -> None:
    text = "x" * (1024 * 1024 - 8)

    assert read(f"a: '{text}'") == {"a": text}
