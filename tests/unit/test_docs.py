"""What the documentation has users type exists: verbs and options of `sentinel`, values of the chart, and links."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from sentinel.cli import main

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "charts/sentinel/values.schema.json").read_text())
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "README.md",
    *(
        path
        for folder in ("explanation", "howto", "reference")
        for path in sorted((ROOT / "docs" / folder).glob("*.md"))
    ),
]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.M)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The language and text of each block of code."""
    for match in _FENCE.finditer(page.read_text()):
        yield match[2], match[3]


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """The words of each call of a program in the page's blocks, without what it is piped into."""
    for language, text in blocks(page):
        if language not in ("", "sh", "shell", "console", "bash"):
            continue
        lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
        # Where there is a prompt, the rest is what is printed.
        typed = [line[2:] for line in lines if line.startswith("$ ")] or lines
        for line in typed:
            command = re.split(r" [|>] | && | #", line)[0]
            if command.startswith(f"{program} "):
                yield words_of(command)[1:]


def words_of(command: str) -> list[str]:
    """The words of a command, also of one whose quotes end on another line."""
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def unknown_options(command: click.Command, words: list[str]) -> list[str]:
    """Which words are neither subcommands nor options of a command, though they look like it."""
    context = click.Context(command)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            return [words[0]]
        command, words = found, words[1:]
        context = click.Context(command, parent=context)
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    known |= {"-h", "--help"}
    given = (word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word))
    return [word for word in given if word not in known]


def unknown_value(keys: list[str], schema: dict[str, Any] = SCHEMA) -> str:
    """The first of these nested keys that is no value of the chart, "" where all are."""
    for key in keys:
        name = re.sub(r"\[\d+\]$", "", key)
        properties = schema.get("properties")
        if not properties:
            # Whatever Kubernetes has there.
            return ""
        if name not in properties:
            return name
        schema = properties[name]
    return ""


def unknown_values(values: Any, schema: dict[str, Any] = SCHEMA) -> list[str]:
    """The same for the content of a values file."""
    if not isinstance(values, dict) or not schema.get("properties"):
        return []
    found = []
    for key, value in values.items():
        if key not in schema["properties"]:
            found.append(key)
        else:
            found += unknown_values(value, schema["properties"][key])
    return found


def slug(heading: str) -> str:
    """A heading's anchor."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_is_one_of_ours(page: Path) -> None:
    wrong = {
        f"sentinel {' '.join(words)}": unknown
        for words in commands(page, "sentinel")
        if (unknown := unknown_options(main, words))
    }
    assert wrong == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_value_is_one_of_the_charts(page: Path) -> None:
    wrong = []
    for words in commands(page, "helm"):
        flags = ("--set", "--set-file", "--set-json", "--set-string")
        for flag, setting in pairwise(words):
            if flag in flags:
                wrong += [unknown_value(re.split(r"(?<!\\)\.", setting.partition("=")[0]))]
    for language, text in blocks(page):
        if language == "yaml" and text.lstrip().startswith("# values.yaml"):
            wrong += unknown_values(yaml.safe_load(text))
    assert [each for each in wrong if each] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for target in _LINK.findall(page.read_text()):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = (page.parent / path).resolve() if path else page
        headings = _HEADING.findall(there.read_text()) if there.suffix == ".md" else []
        if not there.exists() or (anchor and anchor not in map(slug, headings)):
            wrong.append(target)
    assert wrong == []


def test_the_index_links_to_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / path.partition("#")[0]).resolve()
        for path in _LINK.findall(index.read_text())
    }
    assert [page.name for page in PAGES if page not in {*linked, index}] == []


def test_pages_have_commands_values_and_links() -> None:
    """What is looked for is found."""
    assert sum(1 for page in PAGES for _ in commands(page, "sentinel")) > 20
    assert sum(1 for page in PAGES for _ in commands(page, "helm")) > 10
    assert unknown_options(main, ["logs", "--nonsense"]) == ["--nonsense"]
    assert unknown_options(main, ["nonsense"]) == ["nonsense"]
    assert unknown_value(["proxy", "nonsense"]) == "nonsense"
