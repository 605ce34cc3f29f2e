"""setup-go-workspace and golint."""

from __future__ import annotations

import pytest

from tests.standard.conftest import Bench

GIT = {
    "WERCKER_GIT_DOMAIN": "example.com",
    "WERCKER_GIT_OWNER": "owner",
    "WERCKER_GIT_REPOSITORY": "project",
}


async def test_the_source_is_in_the_workspace_and_later_steps_start_there(bench: Bench) -> None:
    gopath = bench.box.root / "go"
    bench.env |= {**GIT, "GOPATH": f"{gopath}:/elsewhere"}
    (bench.source / "main.go").write_text("package main\n")
    (bench.source / ".hidden").write_text("x")

    ran = await bench.run("setup-go-workspace", after='pwd > "$HOME/pwd"')

    target = gopath / "src/example.com/owner/project"
    assert ran.exit == 0, ran.log
    assert ran.exports["WERCKER_SOURCE_DIR"] == str(target)
    assert sorted(each.name for each in target.iterdir()) == [".hidden", "main.go"]
    assert (bench.box.root / "home/pwd").read_text().strip() == str(target)


async def test_a_second_run_replaces_the_copy(bench: Bench) -> None:
    bench.fake("go", out="go version go1.10.8 linux/amd64\n")
    bench.env |= GIT
    (bench.source / "main.go").write_text("package main\n")
    gopath = bench.box.root / "go"

    ran = await bench.run("setup-go-workspace", gopath=str(gopath), package_dir="x/y", times=2)

    assert ran.exit == 0, ran.log
    assert ran.exports == {"WERCKER_SOURCE_DIR": f"{gopath}/src/x/y"}
    assert [each.name for each in (gopath / "src/x/y").iterdir()] == ["main.go"]


@pytest.mark.parametrize(
    ("version", "module"),
    [("go1.22.1", "off"), ("go1.16", "off"), ("go1.15.3", None), ("go1.9", None)],
)
async def test_a_project_without_go_mod_on_a_newer_go(
    bench: Bench, version: str, module: str | None
) -> None:
    bench.fake("go", out=f"go version {version} linux/amd64\n")
    bench.env |= {**GIT, "GOPATH": str(bench.box.root / "go")}

    ran = await bench.run("setup-go-workspace")

    assert ran.exports.get("GO111MODULE") == module
    assert ("GO111MODULE is off from here on" in ran.log) == (module == "off")


async def test_a_workspace_that_cannot_be_written_fails(bench: Bench) -> None:
    (bench.box.root / "go").write_text("a file")
    bench.env |= {**GIT, "GOPATH": str(bench.box.root / "go")}

    ran = await bench.run("setup-go-workspace")

    assert (ran.exit, ran.exports) == (1, {})
    assert ran.message.startswith("cannot copy the source from ")


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            GIT,
            "GOPATH is not set. Use a box with Go, for example golang:1.10, or set the option gopath",
        ),
        ({"GOPATH": "/nowhere"}, "the source is not from git, so the package has no name."),
    ],
)
async def test_a_workspace_without_a_place(bench: Bench, env: dict[str, str], message: str) -> None:
    bench.env |= env

    ran = await bench.run("setup-go-workspace")

    assert ran.exit == 1
    assert ran.message.startswith(message)


@pytest.mark.parametrize(
    ("lines", "status", "message"),
    [
        (0, 0, ""),
        (4, 0, "golint found 4 problems"),
        (5, 0, "golint found 5 problems"),
        (10, 1, "golint found 10 problems; the step fails from 10 on"),
    ],
)
async def test_golint_counts(bench: Bench, lines: int, status: int, message: str) -> None:
    text = "".join(f"a.go:{n}:1: comment\n" for n in range(lines))
    bench.fake("golint", out=text)

    ran = await bench.run("golint")

    assert (ran.exit, ran.message, ran.argvs) == (status, message, [("golint", "./...")])
    assert (bench.source / "lint_results.txt").read_text() == text


async def test_golint_with_an_exclusion_and_thresholds(bench: Bench) -> None:
    bench.fake("golint", out="vendor/a.go:1: x\nb.go:1: y\n")

    ran = await bench.run("golint", exclude="^vendor/", threshold_warn="1", threshold_fail="2")

    assert (ran.exit, ran.message) == (0, "golint found 1 problems")
    assert (bench.source / "lint_results.txt").read_text() == "b.go:1: y\n"


async def test_golint_with_a_bad_threshold(bench: Bench) -> None:
    bench.fake("golint")

    ran = await bench.run("golint", threshold_fail="many")

    assert ran.message == "threshold-warn and threshold-fail are whole numbers, not 'many'"


async def test_golint_that_is_in_neither_box_nor_tools(bench: Bench) -> None:
    ran = await bench.run("golint")

    assert ran.message == (
        "golint is missing: this box has none, and the operator provides no tools (setting steps.tools). Use a box "
        "that has golint, install it in an earlier step, or have it added to the operator's tools (steps.tools)"
    )


async def test_golint_of_the_operators_tools(bench: Bench) -> None:
    bench.provide("golint", "1.0", "#!/bin/sh\necho from the tools\n")

    ran = await bench.run("golint")

    assert (ran.exit, ran.log) == (0, "from the tools\n")
