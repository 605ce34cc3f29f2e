"""What a commit says of its submodules: .gitmodules and the tree, which are not trusted. Pure.

git's own `submodule update` is not used: it reads a file that attributes may have changed on its way to the disk, and
gives every server the same environment. Here each submodule is one more checkout, with an address that was looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

from sentinel.source.address import Address, clean, parse_address


@dataclass(frozen=True)
class Submodule:
    """A commit to check out at `path`, which is relative to its parent's root and stays inside it."""

    name: str
    path: str
    address: Address
    commit: str


def find(*, modules: str, tree: str, parent: str, allow_file: bool = False) -> list[Submodule]:
    """The submodules to check out, in the tree's order.

    `modules` is .gitmodules as `git config --list -z` prints it, `tree` the output of `git ls-tree -r -z`, `parent` the
    URL of the repository they stand in. ValueError, with a sentence for the user, where one may not be checked out.
    """
    sections = _sections(modules)
    by_path: dict[str, tuple[str, dict[str, str]]] = {}
    for name, section in sections.items():
        if "path" in section:
            by_path.setdefault(section["path"], (name, section))
    found = []
    for path, commit in _links(tree):
        if path not in by_path:
            raise ValueError(
                f"submodule {clean(path)!r} has no entry in .gitmodules: git needs its url there"
            )
        name, section = by_path[path]
        update = section.get("update", "")
        if update == "none":
            continue
        if update.startswith("!"):
            raise ValueError(
                f"submodule {clean(path)!r} asks for a command to be run (update = {clean(update)[:80]!r} in "
                ".gitmodules), "
                "which is not allowed: remove that line"
            )
        _check_path(path)
        _check_name(name)
        url = section.get("url", "")
        try:
            address = parse_address(absolute(url, parent), allow_file=allow_file)
        except ValueError as error:
            raise ValueError(
                f"submodule {clean(path)!r}: its url in .gitmodules: {error}"
            ) from error
        found.append(Submodule(name, path, address, commit))
    return found


def absolute(url: str, parent: str) -> str:
    """The URL that `url` is, seen from a repository at `parent`; `./` and `../` count from its own (gitsubmodules(7)).

    ValueError where it leads outside the server.
    """
    if not url.startswith(("./", "../")):
        return url
    scheme, separator, rest = parent.partition("://")
    if separator:
        root, _, path = rest.partition("/")
        root, joint = f"{scheme}://{root}", "/"
    else:
        # The short form of ssh: everything behind the colon is path.
        host = parent.rpartition("]:")[0] + "]" if "]:" in parent else parent.partition(":")[0]
        root, joint, path = host, ":", parent[len(host) + 1 :]
        if path.startswith("/"):
            joint, path = ":/", path[1:]
    parts = path.strip("/").split("/")
    while url.startswith(("./", "../")):
        if url.startswith("../"):
            if not parts:
                raise ValueError(f"{clean(url)!r} leads outside the server")
            parts.pop()
        url = url.partition("/")[2]
    return f"{root}{joint}{'/'.join([*parts, url.rstrip('/')])}"


def _sections(listing: str) -> dict[str, dict[str, str]]:
    """Name → settings. Of a setting that stands twice the last counts, as in git."""
    sections: dict[str, dict[str, str]] = {}
    for entry in listing.split("\0"):
        key, _, value = entry.partition("\n")
        head, _, setting = key.rpartition(".")
        kind, _, name = head.partition(".")
        if kind == "submodule" and name:
            sections.setdefault(name, {})[setting] = value
    return sections


def _links(tree: str) -> list[tuple[str, str]]:
    """(path, commit) of the tree's links to other repositories."""
    found = []
    for entry in tree.split("\0"):
        about, _, path = entry.partition("\t")
        if about.startswith("160000 "):
            found.append((path, about.split()[2]))
    return found


def _check_path(path: str) -> None:
    """git checks the paths of a tree before it writes (verify_path); ours are checked again before we write there."""
    parts = [part.lower().rstrip(" .") for part in path.split("/")]
    if any(part in ("", ".git", "git~1") for part in parts):
        raise ValueError(
            f"submodule {clean(path)!r} has a path that leads outside the project or into git's own files"
        )


def _check_name(name: str) -> None:
    """The name becomes a section of the checkout's .git/config."""
    if any(
        ord(character) < 32 or ord(character) == 127 for character in name
    ) or ".." in name.split("/"):
        raise ValueError(
            f"submodule {name!r} has a name that git rejects: name it like its path in .gitmodules"
        )
