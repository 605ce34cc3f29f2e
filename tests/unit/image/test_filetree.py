"""Trees of files as layers give them, and what differs between two."""

from __future__ import annotations

import pytest

from sentinel.errors import UserError
from sentinel.image.filetree import File, FileTree, differences

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
    deep = "/".join(["d"] * 5000)
    assert len(diff(tree(), tree({deep: file("x")}))) == 5000
    monkeypatch.setattr("sentinel.image.filetree.MOST_ENTRIES", 2)
    with pytest.raises(UserError, match="more than 2 entries"):
        tree({str(number): file("") for number in range(3)})
