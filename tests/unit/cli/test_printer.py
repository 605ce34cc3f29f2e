"""What `sentinel logs` writes: every byte once, headlines on lines of their own, nothing that a terminal would obey."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.api.build import StepStatus
from sentinel.cli.printer import Printer, TerminalFilter

STEPS = [
    StepStatus(id=f"s{n}", name="script", display_name=name, phase="main", state="Passed")
    for n, name in enumerate(("first", "second", "ugly\x1b[2J\nname\x07"), start=1)
]


def printed(*pieces: tuple[int, int, bytes], only: str = "", terminal: bool = False) -> bytes:
    out = io.BytesIO()
    printer = Printer(out, only=only, terminal=terminal)
    for ordinal, offset, data in pieces:
        printer.take(STEPS, ordinal, offset, data, ran={1, 2, 3})
    return out.getvalue()


def test_a_headline_begins_on_a_line_of_its_own() -> None:
    assert printed((1, 0, b"no newline"), (2, 0, b"x\n")) == (
        "▶ first\nno newline\n▶ second\nx\n".encode()
    )


def test_a_name_is_printable_in_a_pipe_too() -> None:
    assert printed((3, 0, b"")) == "▶ first\n▶ second\n▶ ugly\ufffd[2J\ufffdname\ufffd\n".encode()


@pytest.mark.parametrize("ordinal", [-1, 0, 4, 2**32 - 1])
def test_bytes_of_a_step_that_the_build_does_not_have_are_dropped(ordinal: int) -> None:
    assert printed((ordinal, 0, b"x"), (1, 0, b"y")) == "▶ first\ny".encode()


def test_a_pipe_gets_the_bytes_as_they_are() -> None:
    data = bytes(range(256))

    assert printed((1, 0, data), only="first") == data


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"\x1b[31mred\x1b[0m \x1b[38;5;9m.", b"\x1b[31mred\x1b[0m \x1b[38;5;9m."),
        (b"a\x1b[2Jb\x1b[1;1Hc\x1b[?1049hd", b"abcd"),
        (b"a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c\x1bPq#0\x1b\\d", b"abcd"),
        (b"a\x07b\x08c\x00d\x7f", b"abcd"),
        (b"a\x1bcb\x1b(0c\x1b7d", b"abcd"),
        (b"a\xc2\x9b2Jb", b"a2Jb"),
        ("tab\t cr\r ünï ✓\n".encode(), "tab\t cr\r ünï ✓\n".encode()),
        (b"a\x1b\x1b[2Jb", b"ab"),
        (b"a\x1b[3\x1b[31mb", b"a[3\x1b[31mb"),
    ],
)
def test_a_terminal_gets_text_and_colours(data: bytes, shown: bytes) -> None:
    assert TerminalFilter().feed(data) == shown
    cut = TerminalFilter()
    assert b"".join(cut.feed(data[n : n + 1]) for n in range(len(data))) == shown


@given(
    st.lists(
        st.binary(max_size=20) | st.sampled_from([b"\x1b", b"\x1b[", b"\x1b]", b"0;m", b"\xc2"])
    )
)
def test_no_chunks_bring_another_sequence_than_colours_to_a_terminal(pieces: list[bytes]) -> None:
    cut = TerminalFilter()
    shown = b"".join(cut.feed(piece) for piece in pieces)

    rest = shown
    while (at := rest.find(b"\x1b")) >= 0:
        end = rest.index(b"m", at)
        assert set(rest[at + 1 : end]) <= set(b"[0123456789;:")
        rest = rest[end:]
    assert not set(shown) & {*range(9), 11, 12, *range(14, 27), *range(28, 32), 127}


def test_a_sequence_that_never_ends_holds_back_a_bounded_number_of_bytes() -> None:
    cut = TerminalFilter()
    cut.feed(b"\x1b]0;" + b"x" * 10_000)

    assert cut.feed(b"after\x07 the end\n").endswith(b" the end\n")
