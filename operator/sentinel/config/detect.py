"""A wercker.yml for a project that has none, from the names in its root directory (wercker.md "Detecting a project").

Upstream looked in whatever order the directory came and asked a server for the text. Here the order is fixed, and
the text needs nothing but public images and inline scripts: no step has to be fetched for it to run.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sentinel.text import printable

TEXT_LIMIT = 4096
"""Bytes of a generated text: it goes into a Build's status."""


@dataclass(frozen=True, kw_only=True)
class Detected:
    """What a project was taken for, the file that says so ("" for none), and the wercker.yml for it."""

    kind: str
    because: str
    text: str


_KINDS = (
    ("nodejs", ("package.json",)),
    ("python", ("requirements.txt", "pyproject.toml", "setup.py")),
    ("ruby", ("Gemfile",)),
    ("golang", ("go.mod", "*.go")),
    ("java-maven", ("pom.xml",)),
    ("java-gradle", ("gradlew", "*.gradle", "*.gradle.kts")),
)
"""Looked at in this order; the first that matches counts."""


def detect(names: Collection[str]) -> Detected:
    """The kind of project that has these names in its root directory, and a wercker.yml for it."""
    for kind, patterns in _KINDS:
        for pattern in patterns:
            found = sorted(name for name in names if fnmatchcase(name, pattern))
            if found:
                return Detected(kind=kind, because=found[0], text=_text(kind, found[0], names))
    return Detected(kind="default", because="", text=_text("default", "", names))


def _text(kind: str, because: str, names: Collection[str]) -> str:
    box, scripts = _recipe(kind, names)
    # A name is anything that git stores: it must neither end the comment nor reach a terminal raw.
    shown = printable(because, instead="?")[:80]
    why = f"a {kind} project, by its {shown}" if because else "no known project type was found"
    lines = [
        f"# Made by `sentinel detect`: {why}. Change it and add it to the project as wercker.yml.",
        f"box: {box}",
        "",
        "# Services run beside the box and are reached by their name.",
        "# services:",
        "#   - redis:7",
        "",
        "build:",
        "  steps:",
    ]
    for name, code in scripts:
        lines += ["    - script:", f"        name: {name}", f"        code: {code}"]
    return "\n".join(lines) + "\n"


def _recipe(kind: str, names: Collection[str]) -> tuple[str, list[tuple[str, str]]]:  # noqa: PLR0911
    """The box and its scripts, as (name, code) of one line each."""
    match kind:
        case "nodejs":
            install = "npm ci" if "package-lock.json" in names else "npm install"
            return "node:22", [
                ("versions", "node --version && npm --version"),
                ("install", install),
                ("test", "npm test --if-present"),
            ]
        case "python":
            source = "-r requirements.txt" if "requirements.txt" in names else "."
            return "python:3.13-slim", [
                ("versions", "python --version && pip --version"),
                ("install", f"pip install {source}"),
                ("compile", "python -m compileall -q ."),
            ]
        case "ruby":
            test = "bundle exec rspec" if ".rspec" in names or "spec" in names else "bundle check"
            return "ruby:3.4", [("install", "bundle install"), ("test", test)]
        case "golang":
            module = [] if "go.mod" in names else [("module", "go mod init app && go mod tidy")]
            return "golang:1.25", [
                *module,
                ("build", "go build ./..."),
                ("test", "go test ./..."),
            ]
        case "java-maven":
            return "maven:3-eclipse-temurin-21", [("build", "mvn --batch-mode verify")]
        case "java-gradle" if "gradlew" in names:
            return "eclipse-temurin:21", [("build", "sh ./gradlew --no-daemon build")]
        case "java-gradle":
            return "gradle:8-jdk21", [("build", "gradle --no-daemon build")]
        case _:
            return "debian:12", [("hello", "echo hello && ls -la")]
