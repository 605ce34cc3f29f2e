"""A step's manifest: which properties it has and their defaults (wercker.md "Manifests").

Two files and two shapes are read: `step.yml` with a list of properties, and its predecessor `wercker-step.yml` with a
map; either shape in either file. A step runs without a manifest, so a broken one costs its defaults and a warning,
never the build. Pure: bytes in, values out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sentinel.config.decode import DocumentError, decode
from sentinel.config.document import Items, Node, Scalar, Table, parse
from sentinel.config.findings import Findings, TooManyFindings, visible
from sentinel.config.scalars import boolean, is_null, source_text

MANIFESTS = ("step.yml", "wercker-step.yml")
"""Names of the file in a step's root. The first that is there counts, whatever is in it."""


@dataclass(frozen=True, kw_only=True)
class Property:
    """A property that a step declares. `default` is its text as written, "" for none; `type` is for people only."""

    name: str
    type: str = ""
    required: bool = False
    default: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a manifest says. `file` is its name, "" where the step has none; properties are in the file's order.

    `warnings` are sentences for the build's author, each with the file and line it is about.
    """

    name: str = ""
    version: str = ""
    summary: str = ""
    properties: tuple[Property, ...] = ()
    file: str = ""
    warnings: tuple[str, ...] = ()


def read_manifest(files: Mapping[str, bytes]) -> Manifest:
    """The manifest among the files of a step's root, by name. Never raises: what is wrong becomes a warning."""
    name = next((name for name in MANIFESTS if name in files), "")
    if not name:
        return Manifest()
    findings, warnings = Findings(), _Warnings(name)
    try:
        root = parse(decode(files[name]), findings=findings)
    except DocumentError as error:
        where = f"{name}:{error.diagnostic.line}" if error.diagnostic.line else name
        return Manifest(
            file=name,
            warnings=(f"{where}: {error.diagnostic.message}; the step runs without defaults",),
        )
    except TooManyFindings:
        return Manifest(
            file=name, warnings=(f"{name}: too many errors; the step runs without defaults",)
        )
    for each in findings.sorted():
        warnings.add(each.message, each.line)
    if root is None:
        return Manifest(file=name)
    if not isinstance(root, Table):
        warnings.add("not a manifest: expected a map with name, version, properties", 0)
        return Manifest(file=name, warnings=warnings.all())
    return Manifest(
        name=_text(root, "name", warnings),
        version=_text(root, "version", warnings),
        summary=_text(root, "summary", warnings) or _text(root, "description", warnings),
        properties=_properties(root.get("properties"), warnings),
        file=name,
        warnings=warnings.all(),
    )


class _Warnings:
    """Sentences about one file, a bounded number of them."""

    _MOST = 20

    def __init__(self, file: str) -> None:
        self._file = file
        self._all: list[str] = []

    def add(self, message: str, line: int) -> None:
        where = f"{self._file}:{line}" if line else self._file
        self._all.append(f"{where}: {visible(message)}")

    def all(self) -> tuple[str, ...]:
        if len(self._all) <= self._MOST:
            return tuple(self._all)
        more = len(self._all) - self._MOST
        return (*self._all[: self._MOST], f"{self._file}: and {more} more")


def _text(table: Table, key: str, warnings: _Warnings) -> str:
    value = table.get(key)
    if value is None:
        return ""
    if isinstance(value, Scalar):
        return source_text(value)
    warnings.add(f"{key} should be a string; the value is ignored", value.line)
    return ""


def _properties(node: Node | None, warnings: _Warnings) -> tuple[Property, ...]:
    if node is None or is_null(node):
        return ()
    if isinstance(node, Scalar):
        warnings.add("properties should be a list or a map; they are left out", node.line)
        return ()
    named = _of_list(node, warnings) if isinstance(node, Items) else iter(node.entries)
    found: dict[str, Property] = {}
    for name, value in named:
        if name.text in found:
            warnings.add(f"property {name.text} is declared twice; the last one counts", name.line)
        found[name.text] = _property(name, value, warnings)
    return tuple(found.values())


def _of_list(node: Items, warnings: _Warnings) -> Iterator[tuple[Scalar, Node]]:
    """Name and description of each item: `name: x` beside the rest, or x as the key above it, or x alone."""
    for item in node.items:
        if isinstance(item, Scalar) and not is_null(item):
            yield item, Table((), item.line, item.column)
            continue
        if isinstance(item, Table):
            name = item.get("name")
            if isinstance(name, Scalar) and not is_null(name):
                yield name, item
                continue
            if len(item.entries) == 1 and isinstance(item.entries[0][1], Table):
                yield item.entries[0]
                continue
        warnings.add("a property without a name is left out", item.line)


def _property(name: Scalar, node: Node, warnings: _Warnings) -> Property:
    if not isinstance(node, Table):
        if not is_null(node):
            warnings.add(
                f"property {name.text} should have type, required and default under it; the value is ignored",
                node.line,
            )
        return Property(name=name.text)
    return Property(
        name=name.text,
        type=_text(node, "type", warnings),
        required=_required(name.text, node.get("required"), warnings),
        default=_text(node, "default", warnings),
    )


def _required(name: str, node: Node | None, warnings: _Warnings) -> bool:
    if node is None or is_null(node):
        return False
    flag = boolean(Scalar(node.text, True, "", 0, 0)) if isinstance(node, Scalar) else None
    if flag is None:
        warnings.add(f"required of property {name} should be true or false", node.line)
    return bool(flag)
