"""Names of refs as git prints them: what was fetched, which names are like a wrong one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentinel.nearest import nearest
from sentinel.source.address import clean

if TYPE_CHECKING:
    from collections.abc import Sequence


def names(fetch_head: str) -> tuple[str, str]:
    """(branch, tag) from a line of FETCH_HEAD: `<id>\\t\\tbranch 'main' of <url>`."""
    note = fetch_head.rpartition("\t")[2]
    for prefix in ("branch '", "tag '"):
        if note.startswith(prefix):
            name = note.removeprefix(prefix).partition("' of ")[0]
            return (name, "") if prefix == "branch '" else ("", name)
    return "", ""


def suggest(ref: str, names: Sequence[str]) -> str:
    """ ". Close names: a, b", at most five; or what branches there are."""
    short = {
        clean(name).removeprefix("refs/heads/").removeprefix("refs/tags/"): name for name in names
    }
    if not short:
        return ". It has no branches or tags at all"
    wanted = ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    close = nearest(wanted, short, count=5, share=0.5, most=8)
    if not close:
        close = [
            name
            for name in short
            if wanted.lower() in name.lower() or name.lower() in wanted.lower()
        ][:5]
    hint = ""
    if 7 <= len(ref) < 40 and all(character in "0123456789abcdef" for character in ref.lower()):
        hint = ". A commit that is no branch's or tag's newest needs all 40 digits of its id"
    if close:
        return f"{hint}. Close names: {', '.join(close)}"
    return f"{hint}. There are, for example: {', '.join(sorted(short)[:5])}"
