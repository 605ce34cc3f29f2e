"""create-file, mktemp and bash-template."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.standard.conftest import Bench


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("one line", "one line\n"),
        ("a\\nb", "a\nb\n"),
        ("a\nb\\tc", "a\nb\\tc\n"),
        ("a\\tb", "a\\tb\n"),
        ("100% %s", "100% %s\n"),
        ("", ""),
    ],
)
async def test_create_file(bench: Bench, content: str, text: str) -> None:
    ran = await bench.run("create-file", filename="made", content=content)

    assert ran.exit == 0, ran.log
    assert (bench.source / "made").read_text() == text
    assert text in ran.log
    assert ("content is empty" in ran.log) == (not content)
    assert ran.exports == {}


async def test_create_file_of_a_private_key_is_for_its_owner_and_can_be_hidden(
    bench: Bench,
) -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\\nabc\\n-----END RSA PRIVATE KEY-----"

    ran = await bench.run("create-file", filename="key", content=key, hide_from_log="true")

    assert (bench.source / "key").stat().st_mode & 0o777 == 0o600
    assert (bench.source / "key").read_text().splitlines()[1] == "abc"
    assert "abc" not in ran.log


async def test_create_file_leaves_a_file_that_exists(bench: Bench) -> None:
    (bench.source / "made").write_text("old\n")

    ran = await bench.run("create-file", filename="made", content="new")

    assert (ran.exit, ran.message) == (1, "made exists. Set overwrite to true to replace it")
    assert (bench.source / "made").read_text() == "old\n"


async def test_create_file_overwrites(bench: Bench) -> None:
    (bench.source / "made").write_text("old\n")

    ran = await bench.run("create-file", filename="made", content="new", overwrite="true")

    assert (ran.exit, (bench.source / "made").read_text()) == (0, "new\n")


async def test_create_file_that_cannot_be_written_fails(bench: Bench) -> None:
    ran = await bench.run("create-file", filename="no/such/directory", content="x")

    assert (ran.exit, ran.message) == (1, "cannot write no/such/directory")
    assert "wrote" not in ran.log


async def test_mktemp_exports_the_path(bench: Bench) -> None:
    ran = await bench.run("mktemp", envvar="MY_FILE", times=2)

    assert list(ran.exports) == ["MY_FILE"]
    assert Path(str(ran.exports["MY_FILE"])).read_bytes() == b""


async def test_mktemp_of_a_directory(bench: Bench) -> None:
    ran = await bench.run("mktemp", envvar="MY_DIRECTORY", directory="true")

    assert list(Path(str(ran.exports["MY_DIRECTORY"])).iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "envvar is missing: write the name of the variable that gets the path"),
        ("A-B", "envvar is 'A-B', which cannot be the name of a variable"),
        ("1A", "envvar is '1A', which cannot be the name of a variable"),
    ],
)
async def test_mktemp_of_a_bad_name(bench: Bench, name: str, message: str) -> None:
    ran = await bench.run("mktemp", envvar=name)

    assert (ran.exit, ran.message, ran.exports) == (1, message, {})


async def test_bash_template(bench: Bench) -> None:
    bench.env["NAME"] = "world"
    (bench.source / "a.template.yml").write_text(
        "hello $NAME ${NOT_SET:-nobody} $(echo run) `echo too`\nEOF\necho not run \\$NAME 'quoted'"
    )
    (bench.source / "b.conf.template").write_text("$NAME\n")

    ran = await bench.run("bash-template", output="made/")

    assert ran.exit == 0, ran.log
    assert (bench.source / "made/a.yml").read_text() == (
        "hello world nobody run too\nEOF\necho not run $NAME 'quoted'\n"
    )
    assert (bench.source / "made/b.conf").read_text() == "world\n"
    assert ran.exports == {}


async def test_bash_template_into_one_file(bench: Bench) -> None:
    (bench.source / "x.template").write_text("a ${NOT_SET}b\n")

    ran = await bench.run("bash-template", input="x.template", output="y")

    assert (ran.exit, (bench.source / "y").read_text()) == (0, "a b\n")


async def test_bash_template_with_an_unset_variable_writes_nothing(bench: Bench) -> None:
    (bench.source / "x.template").write_text("a ${NOT_SET}b\n")

    ran = await bench.run("bash-template", error_on_empty="false")

    assert (ran.exit, ran.message) == (1, "x.template cannot be expanded: see the log")
    assert not (bench.source / "x").exists()


async def test_bash_template_without_a_match_makes_no_file(bench: Bench) -> None:
    ran = await bench.run("bash-template")

    assert ran.exit == 0
    assert "no file in" in ran.log
    assert list(bench.source.iterdir()) == []
