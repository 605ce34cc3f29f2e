"""The files of an image as its layers give them, and how two images differ. Pure: entries in, values out.

Layers come from strangers: nothing is written anywhere, nothing recurses, and the numbers of entries and characters are
bounded, and with them memory and time. Not here: reading archives (`source/tarreader.py`) and registries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from sentinel.errors import UserError

WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"

MOST_ENTRIES = 2_000_000
"""Of all layers of an image together, with the directories that only a path implies: about 1 GiB of memory."""
MOST_TEXT = 512 * 1024**2
"""Characters of all these paths and of where links lead."""
MOST_PATH = 4096
"""Characters of one of them, which is what Linux takes."""

Kind = Literal["added", "changed", "removed"]


@dataclass(frozen=True, slots=True)
class File:
    """What is at a path. `what` is the digest of a file's content, or where a link leads."""

    kind: str
    mode: int = 0o755
    what: str = ""


@dataclass(slots=True)
class Node:
    """A place in a tree; `layer` is the number of the last one that wrote it.

    `hidden` is the number of the last one in which nothing of earlier ones is below it.
    """

    file: File
    layer: int = 0
    hidden: int = 0
    below: dict[str, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One path that differs. A directory's ends in a slash."""

    kind: Kind
    path: str


class FileTree:
    """The files of an image, laid layer by layer: `begin`, then `add` for each entry in the layer's order."""

    def __init__(self) -> None:
        self.root = Node(File("dir"))
        self._layer = 0
        self._entries = 0
        self._text = 0

    def begin(self) -> None:
        """The next layer."""
        self._layer += 1

    def add(self, path: str, file: File) -> None:
        """An entry of the layer: a file or directory, or the mark of a deletion. Raises UserError for too many."""
        self._count(path, file.what)
        *folders, name = _parts(path) or [""]
        if not name:
            return
        folder = self._folder(folders)
        if name == _OPAQUE:
            self._hide(folder)
        elif name.startswith(WHITEOUT):
            folder.below.pop(name.removeprefix(WHITEOUT), None)
        else:
            known = folder.below.get(name)
            if file.kind == "hardlink":
                file = self._linked(file)
            if known is not None and known.file.kind == file.kind == "dir":
                known.file, known.layer = file, self._layer
            else:
                folder.below[name] = Node(file, self._layer)

    def _count(self, *texts: str) -> None:
        """One entry more, with its path and where it leads."""
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            raise UserError(f"the image has more than {MOST_ENTRIES} entries")
        for text in texts:
            if len(text) > MOST_PATH:
                raise UserError(f"the image has a path of more than {MOST_PATH} characters")
            self._text += len(text)
        if self._text > MOST_TEXT:
            raise UserError(f"the paths of the image have more than {MOST_TEXT} characters")

    def _folder(self, parts: list[str]) -> Node:
        """The directory at a path, made where a layer leaves it out."""
        node = self.root
        for part in parts:
            inner = node.below.get(part)
            if inner is None or inner.file.kind != "dir":
                self._count()
                inner = node.below[part] = Node(File("dir"))
            inner.layer = self._layer
            node = inner
        return node

    def _hide(self, folder: Node) -> None:
        """Drop what earlier layers have below a directory, wherever in this layer the mark is."""
        folders = [folder]
        while folders:
            node = folders.pop()
            if node.hidden == self._layer:
                # What this layer has added since is its own: a layer of nothing but marks takes no longer than others.
                continue
            node.hidden = self._layer
            for name, inner in list(node.below.items()):
                if inner.layer != self._layer:
                    del node.below[name]
                elif inner.file.kind == "dir":
                    folders.append(inner)

    def _linked(self, link: File) -> File:
        node: Node | None = self.root
        for part in _parts(link.what):
            node = node.below.get(part) if node is not None else None
        return replace(node.file) if node is not None else link


def differences(before: FileTree, after: FileTree) -> Iterator[Difference]:
    """How one image differs from another, sorted by path. Owners and times do not count."""
    stack = [("", "", before.root, after.root)]
    while stack:
        folder, name, old, new = stack.pop()
        path = f"{folder}/{name}" if name else ""
        if path:
            yield from _one(path, old, new)
        # Siblings share the text of their directory's path.
        stack += [
            (path, name, old.below.get(name, _NOTHING), new.below.get(name, _NOTHING))
            for name in sorted({*old.below, *new.below}, reverse=True)
        ]


_NOTHING = Node(File("nothing"))


def _one(path: str, old: Node, new: Node) -> Iterator[Difference]:
    if old is _NOTHING:
        yield Difference("added", _shown(path, new))
    elif new is _NOTHING:
        yield Difference("removed", _shown(path, old))
    elif old.file != new.file:
        yield Difference("changed", _shown(path, new))


def _shown(path: str, node: Node) -> str:
    return f"{path}/" if node.file.kind == "dir" else path


def _parts(path: str) -> list[str]:
    """The names of a path; what leads upwards stays at the root, as in a runtime that unpacks below a directory."""
    found: list[str] = []
    for part in path.split("/"):
        if part == "..":
            found[-1:] = []
        elif part not in ("", "."):
            found.append(part)
    return found
