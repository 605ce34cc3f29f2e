"""YAML text → nodes with positions, within limits. What a scalar means is decided in `scalars`, not here.

PyYAML's events are walked with a stack of our own: its C constructor recurses, and crashes the process on deep
nesting. Aliases share nodes; what they would expand to is counted, so that an alias bomb is refused cheaply.
Merge keys are applied here, with the mapping's own keys winning.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias, cast

import yaml

from sentinel.config.codes import Code
from sentinel.config.decode import DocumentError, refused
from sentinel.config.findings import Findings, visible
from sentinel.config.syntax import explain

DEPTH_LIMIT = 64
"""Nested lists and maps, aliases followed."""

NODE_LIMIT = 50_000
"""Scalars, lists and maps of a file, each alias counted as everything it stands for."""


class Scalar(NamedTuple):
    """A text, a number, a word: `text` as in the file. `plain` without quotes; `tag` only where one is written."""

    text: str
    plain: bool
    tag: str
    line: int
    column: int


class Items(NamedTuple):
    """A list."""

    items: tuple[Node, ...]
    line: int
    column: int


class Table(NamedTuple):
    """A map, in the order of the file, each key once. Merge keys are applied."""

    entries: tuple[tuple[Scalar, Node], ...]
    line: int
    column: int

    def get(self, key: str) -> Node | None:
        """The value of `key`, or None where there is none."""
        return next((value for name, value in self.entries if name.text == key), None)


Node: TypeAlias = Scalar | Items | Table


class _Sized(NamedTuple):
    """A node with what it expands to."""

    node: Node
    size: int
    height: int


class _Open:
    """A list or map whose end has not come yet."""

    __slots__ = ("anchor", "children", "column", "height", "is_map", "line", "size")

    def __init__(self, *, is_map: bool, anchor: str | None, line: int, column: int) -> None:
        self.is_map = is_map
        self.anchor = anchor
        self.line = line
        self.column = column
        self.children: list[Node] = []
        self.size = 1
        self.height = 1


def parse(text: str, *, findings: Findings) -> Node | None:
    """The first document of `text`, or None where there is nothing in it.

    Oddities that do not stop the file go to `findings`. Raises DocumentError for what does.
    """
    try:
        return _Builder(findings).run(text)
    except yaml.YAMLError as error:
        raise DocumentError(explain(error, text=text)) from error


class _Builder:
    """Builds nodes from events, with an explicit stack."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Sized | None] = {}
        self._unused: dict[str, Any] = {}
        self._root: Node | None = None
        self._count = 0

    def run(self, text: str) -> Node | None:
        events = cast("Iterator[Any]", yaml.parse(text, yaml.CSafeLoader))
        for event in events:
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._begin(event)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self._end()
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentEndEvent):
                self._look_beyond(events)
                break
        for event in self._unused.values():
            self._refuse_anchor(event)
        return self._root

    def _look_beyond(self, events: Iterator[Any]) -> None:
        try:
            event = next(events, None)
        except yaml.YAMLError:
            return  # what stands behind the first document is none of ours
        if isinstance(event, yaml.DocumentStartEvent):
            self._findings.warning(
                Code.MORE_DOCUMENTS,
                "only the document above this line is read",
                at=_place(event),
                hint="remove the line --- or everything from here on",
            )

    def _scalar(self, event: Any) -> None:
        mark = event.start_mark
        node = Scalar(
            event.value, event.implicit[0], event.tag or "", mark.line + 1, mark.column + 1
        )
        if event.tag is not None and event.tag not in _TAGS:
            self._findings.error(
                Code.TAG_OR_ANCHOR,
                f"YAML takes {_written(event.tag)} at the beginning of this value as a tag and drops it: the value is "
                f"{_shortened(event.value)}",
                at=_place(event),
                hint=_QUOTE,
            )
        if event.anchor is not None:
            if (replaced := self._unused.pop(event.anchor, None)) is not None:
                self._refuse_anchor(replaced)
            if not event.style:
                self._unused[event.anchor] = event
        self._add(_Sized(node, 1, 0), event.anchor, event)

    def _refuse_anchor(self, event: Any) -> None:
        """`code: &bg sleep 5`: the shell's & at the beginning of a word is YAML's mark of an anchor."""
        self._findings.error(
            Code.TAG_OR_ANCHOR,
            f"YAML takes &{event.anchor} as an anchor and drops it: the value is {_shortened(event.value)}, and no "
            f"alias *{event.anchor} uses the anchor",
            at=_place(event),
            hint=_QUOTE,
        )

    def _begin(self, event: Any) -> None:
        if len(self._stack) >= DEPTH_LIMIT:
            raise _refused_at(event, Code.TOO_DEEP, f"more than {DEPTH_LIMIT} levels of nesting")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        place = _place(event)
        if event.tag is not None and event.tag not in _TAGS:
            self._findings.warning(
                Code.TAG_OR_ANCHOR, f"the tag {_written(event.tag)} has no meaning here", at=place
            )
        self._stack.append(
            _Open(
                is_map=isinstance(event, yaml.MappingStartEvent),
                anchor=event.anchor,
                line=place.line,
                column=place.column,
            )
        )
        self._tally(1, event)

    def _end(self) -> None:
        done = self._stack.pop()
        node: Node
        if done.is_map:
            node = Table(self._entries(done.children), done.line, done.column)
        else:
            node = Items(tuple(done.children), done.line, done.column)
        sized = _Sized(node, done.size, done.height)
        if done.anchor is not None:
            self._anchors[done.anchor] = sized
        self._attach(sized)

    def _alias(self, event: Any) -> None:
        target = self._anchors.get(event.anchor)
        if target is None:
            why = (
                f"*{event.anchor} is inside the value it refers to"
                if event.anchor in self._anchors
                else f"anchor &{event.anchor} of alias *{event.anchor} is not defined above"
            )
            hint = f"if it is meant as a string, put it in quotes: '*{event.anchor}'"
            raise _refused_at(event, Code.BAD_ALIAS, why, hint=hint)
        if len(self._stack) + target.height > DEPTH_LIMIT:
            raise _refused_at(event, Code.TOO_DEEP, f"more than {DEPTH_LIMIT} levels of nesting")
        self._unused.pop(event.anchor, None)
        self._tally(target.size, event)
        self._attach(target)

    def _add(self, sized: _Sized, anchor: str | None, event: Any) -> None:
        self._tally(sized.size, event)
        if anchor is not None:
            self._anchors[anchor] = sized
        self._attach(sized)

    def _attach(self, sized: _Sized) -> None:
        if not self._stack:
            self._root = sized.node
            return
        parent = self._stack[-1]
        parent.children.append(sized.node)
        parent.size += sized.size
        parent.height = max(parent.height, sized.height + 1)

    def _tally(self, size: int, event: Any) -> None:
        self._count += size
        if self._count > NODE_LIMIT:
            raise _refused_at(
                event, Code.TOO_MANY_NODES, f"more than {NODE_LIMIT} values, aliases followed"
            )

    def _entries(self, children: list[Node]) -> tuple[tuple[Scalar, Node], ...]:
        own: dict[str, tuple[Scalar, Node]] = {}
        merged: list[Table] = []
        for key, value in zip(children[::2], children[1::2], strict=True):
            if not isinstance(key, Scalar):
                self._findings.warning(
                    Code.BAD_KEY,
                    "a key must be a string: this one is a list or a map, and is ignored",
                    at=key,
                )
            elif key.text == "<<" and key.plain:
                merged += self._merge(value)
            else:
                self._look_at(key)
                if (first := own.get(key.text)) is not None:
                    self._findings.warning(
                        Code.DUPLICATE_KEY,
                        f"{key.text} is defined here and on line {first[0].line}: this one counts",
                        at=key,
                        hint=f"remove one of lines {first[0].line} and {key.line}",
                    )
                own[key.text] = (key, value)
        for table in merged:
            for key, value in table.entries:
                own.setdefault(key.text, (key, value))
        return tuple(own.values())

    def _look_at(self, key: Scalar) -> None:
        """A no-break space looks like a space and is not one: the key would be another one, further left.

        Every line below is read wrong then, so this is the only finding.
        """
        first = key.text[:1]
        if (
            key.plain
            and not first.isascii()
            and (first.isspace() or unicodedata.category(first) == "Cf")
        ):
            raise refused(
                Code.BAD_KEY,
                visible(
                    f"there is an invisible character before {key.text.strip().lstrip(first)} (U+{ord(first):04X}), "
                    "which YAML does not treat as a space"
                ),
                line=key.line,
                column=key.column,
                hint="replace it with a space, here and in the lines below",
            )

    def _merge(self, value: Node) -> list[Table]:
        values = value.items if isinstance(value, Items) else (value,)
        tables = [each for each in values if isinstance(each, Table)]
        if len(tables) < len(values):
            self._findings.warning(
                Code.BAD_MERGE, "<< merges maps; a value that is not a map is ignored", at=value
            )
        return tables


_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in (
        "binary",
        "bool",
        "float",
        "int",
        "map",
        "merge",
        "null",
        "seq",
        "str",
        "timestamp",
    )
)
"""YAML's own types. Any other tag in a wercker.yml is a `!` that was meant for the shell."""

_QUOTE = "put the whole value in quotes, or write it in a block: |, and the text on the next line, further in"


def _written(tag: str) -> str:
    """A tag as it stands in the file."""
    return tag.replace("tag:yaml.org,2002:", "!!", 1)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


class _Place(NamedTuple):
    line: int
    column: int


def _place(event: Any) -> _Place:
    return _Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _refused_at(event: Any, code: Code, message: str, *, hint: str = "") -> DocumentError:
    place = _place(event)
    return refused(code, message, line=place.line, column=place.column, hint=hint)
