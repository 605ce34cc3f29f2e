"""Names of refs as git prints them: what was fetched, and which names are like one that is not there. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sentinel.nearest import nearest
from sentinel.source.address import clean


def names(fetch_head: str) -> tuple[str, str]:
    """(branch, tag) from a line of FETCH_HEAD: `<id>\\t\\tbranch 'main' of <url>`."""
    note = fetch_head.rpartition("\t")[2]
    for prefix in ("branch '", "tag '"):
        if note.startswith(prefix):
            name = note.removeprefix(prefix).partition("' of ")[0]
            return (name, "") if prefix == "branch '" else ("", name)
    return "", ""


def suggest(ref: str, names: Sequence[str]) -> str:
    """ ". Close names: a, b", at most five; or what branches there are. Bounded, whatever the names are."""
    if not names:
        return ". It has no branches or tags at all"
    short = list(dict.fromkeys(_short(name) for name in names))
    wanted = _short(ref)
    low = wanted.lower()
    close = nearest(wanted, short, count=5, share=0.5, most=8)
    close = close or [name for name in short if low in name.lower() or name.lower() in low][:5]
    hint = ""
    if 7 <= len(ref) < 40 and not ref.lower().strip("0123456789abcdef"):
        hint = ". A commit that is no branch's or tag's newest needs all 40 digits of its id"
    listed = ", ".join(clean(name)[:100] for name in close or sorted(short)[:5])
    return (
        f"{hint}. Close names: {listed}" if close else f"{hint}. There are, for example: {listed}"
    )


def _short(name: str) -> str:
    return name.removeprefix("refs/heads/").removeprefix("refs/tags/")
