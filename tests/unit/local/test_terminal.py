"""The user's terminal and the box: bytes both ways, and which steps are opened there."""

from __future__ import annotations

import os
import socket
import threading

from tests.unit.plan import examples

from sentinel.local.livesteps import with_terminal
from sentinel.local.planning import Planned
from sentinel.local.terminal import join
from sentinel.plan.environment import ResolvedEnvironment
from sentinel.plan.internal import about_internal

YML = """\
box: debian:12
build:
  steps:
    - script: {name: one, code: "true"}
    - internal/shell: {code: echo hello, cmd: zsh}
"""


def test_bytes_go_both_ways_until_the_box_ends() -> None:
    ours, theirs = socket.socketpair()
    keyboard, type_ = os.pipe()
    shown, screen = os.pipe()
    sizes: list[tuple[int, int]] = []
    joined = threading.Thread(
        target=join, args=(ours, keyboard, screen), kwargs={"resize": sizes.append}
    )
    joined.start()
    try:
        os.write(type_, b"ls\n\x03")
        assert theirs.recv(100) == b"ls\n\x03"
        theirs.sendall(b"\x1b[1mfiles\r\n")
        assert os.read(shown, 100) == b"\x1b[1mfiles\r\n"
        os.close(type_)
        assert theirs.recv(100) == b""
        theirs.close()
        joined.join(timeout=150)
        assert not joined.is_alive()
        assert len(sizes) == 1
    finally:
        for each in (keyboard, shown, screen):
            os.close(each)
        ours.close()


def planned(yml: str) -> tuple[Planned, Planned]:
    facts = examples.facts_of(examples.build(), yml=yml)
    steps = [step for _, step in facts.steps]
    plan = examples.plan(yml=yml, services=())
    before = Planned(
        plan=plan,
        environment=ResolvedEnvironment(env=(), masks=()),
        archives={},
        notes=("first", *about_internal(steps)),
    )
    return before, with_terminal(before, steps)


def test_a_shell_waits_for_the_terminal_as_long_as_it_takes() -> None:
    before, after = planned(YML)
    script, shell = after.plan.steps
    assert script == before.plan.steps[0]
    assert (shell.kind, shell.code, dict(shell.properties)["cmd"]) == (
        "operator",
        "echo hello",
        "zsh",
    )
    assert (shell.command_timeout, shell.no_response_timeout) == (0, 0)
    assert after.plan.build_timeout == 0
    assert len(before.notes) == 2
    assert after.notes == ("first",)


def test_a_stop_presses_ctrl_c_once() -> None:
    ours, theirs = socket.socketpair()
    keyboard, type_ = os.pipe()
    shown, screen = os.pipe()
    found: list[bool] = []
    joined = threading.Thread(
        target=lambda: found.append(
            join(ours, keyboard, screen, resize=lambda _: None, stop=lambda: True)
        )
    )
    joined.start()
    try:
        assert theirs.recv(100) == b"\x03"
        theirs.close()
        joined.join(timeout=150)
        assert found == [False]
    finally:
        for each in (keyboard, type_, shown, screen):
            os.close(each)
        ours.close()


def test_without_interactive_steps_nothing_changes() -> None:
    before, after = planned(
        YML.replace("internal/shell: {code: echo hello, cmd: zsh}", "script: {code: x}")
    )
    assert after is before
