"""Trees of files as layers give them, and what differs between two."""

from __future__ import annotations

from collections.abc import ItemsView

import pytest

from sentinel.errors import UserError
from sentinel.image.filetree import File, FileTree, Node, differences

Entries = dict[str, File]
DIR = File("dir", 0o755)


def file(text: str, mode: int = 0o644) -> File:
    return File("file", mode, text)


def tree(*layers: Entries) -> FileTree:
    made = FileTree()
    for layer in layers:
        made.begin()
        for path, each in layer.items():
            made.add(path, each)
    return made


def diff(before: FileTree, after: FileTree) -> list[tuple[str, str]]:
    return [(each.kind, each.path) for each in differences(before, after)]


BASE: Entries = {
    "etc/": DIR,
    "etc/passwd": file("root"),
    "etc/app.d/": DIR,
    "etc/app.d/a": file("a"),
    "./usr/bin/sh": file("sh", 0o755),
    "bin": File("symlink", 0o777, "usr/bin"),
}


def test_what_a_layer_adds_changes_and_removes() -> None:
    layer: Entries = {
        "etc/": DIR,
        "etc/.wh.app.d": file(""),
        "etc/passwd": file("root and others"),
        "new/": DIR,
        "new/x": file("x"),
        "usr/bin/sh": file("sh", 0o4755),
        "bin": file("no link any more"),
    }
    assert diff(tree(BASE), tree(BASE, layer)) == [
        ("changed", "/bin"),
        ("removed", "/etc/app.d/"),
        ("removed", "/etc/app.d/a"),
        ("changed", "/etc/passwd"),
        ("added", "/new/"),
        ("added", "/new/x"),
        ("changed", "/usr/bin/sh"),
    ]
    assert diff(tree(BASE), tree(BASE)) == []


@pytest.mark.parametrize("last", [True, False], ids=["at the end", "at the beginning"])
def test_an_opaque_directory_hides_what_is_below_and_nothing_of_its_own_layer(last: bool) -> None:
    mark, rest = {"etc/.wh..wh..opq": file("")}, {"etc/": DIR, "etc/app.d/b": file("b")}
    layer = rest | mark if last else {"etc/": DIR} | mark | rest
    assert diff(tree(BASE), tree(BASE, layer)) == [
        ("removed", "/etc/app.d/a"),
        ("added", "/etc/app.d/b"),
        ("removed", "/etc/passwd"),
    ]


def test_a_file_in_place_of_a_directory_and_back() -> None:
    away: Entries = {"etc/app.d": file("now a file")}
    back: Entries = {"etc/app.d/": DIR, "etc/app.d/c": file("c")}
    assert diff(tree(BASE), tree(BASE, away)) == [
        ("changed", "/etc/app.d"),
        ("removed", "/etc/app.d/a"),
    ]
    assert diff(tree(BASE), tree(BASE, away, back)) == [
        ("removed", "/etc/app.d/a"),
        ("added", "/etc/app.d/c"),
    ]


def test_a_hard_link_is_the_file_that_it_leads_to() -> None:
    linked: Entries = {"one": file("x"), "two": File("hardlink", 0o644, "one")}
    assert diff(tree(linked), tree({"one": file("x"), "two": file("x")})) == []


def test_paths_stay_in_the_tree_and_entries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert diff(tree(), tree({"../../x": file("x")})) == [("added", "/x")]
    deep = "/".join(["d"] * 2000)
    assert len(diff(tree(), tree({deep: file("x")}))) == 2000
    monkeypatch.setattr("sentinel.image.filetree.MOST_ENTRIES", 2)
    with pytest.raises(UserError, match="more than 2 entries"):
        tree({str(number): file("") for number in range(3)})
    with pytest.raises(UserError, match="more than 2 entries"):
        tree({"directories/that/are/implied": file("")})


@pytest.mark.parametrize(
    ("path", "what", "message"),
    [
        ("x" * 4097, "", "a path of more than 4096 characters"),
        ("link", "x" * 4097, "a path of more than 4096 characters"),
        ("x" * 300, "x" * 300, "have more than 500 characters"),
    ],
)
def test_the_text_of_paths_and_links_is_bounded(
    monkeypatch: pytest.MonkeyPatch, path: str, what: str, message: str
) -> None:
    monkeypatch.setattr("sentinel.image.filetree.MOST_TEXT", 500)
    with pytest.raises(UserError, match=message):
        tree({path: File("symlink", 0o777, what)})


class Watched(dict[str, Node]):
    """Counts how often all of it is looked through."""

    looks = 0

    def items(self) -> ItemsView[str, Node]:  # type: ignore[override]
        self.looks += 1
        return super().items()


def test_a_layer_of_opaque_marks_looks_through_no_directory_twice() -> None:
    made = tree({"a/b/c": file("x")})
    inner = made.root.below["a"].below["b"]
    inner.below = watched = Watched(inner.below)
    made.begin()
    # Else an archive of a few kilobytes takes hours.
    for place in ("a/b/d", "a/b/.wh..wh..opq", "a/b/e", "a/.wh..wh..opq", ".wh..wh..opq") * 3:
        made.add(place, file("y"))
    assert watched.looks == 1
    assert sorted(watched) == ["d", "e"]
