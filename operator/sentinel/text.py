"""Text in messages and names: foreign text made safe for terminals and the API server, counted nouns. Pure."""

from __future__ import annotations

import re


def printable(text: str, *, instead: str = " ") -> str:
    """`text` with every control character, which could rewrite a terminal, replaced."""
    return "".join(char if char.isprintable() else instead for char in text)


def count_of(number: int, noun: str, plural: str = "") -> str:
    """`1 step`, `2 steps`; `plural` where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def dns_label(text: str, *, limit: int) -> str:
    """`text` as a DNS label of at most `limit` characters: lower case, other characters a dash. May be empty."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:limit].rstrip("-")
