"""Foreign text made safe: for a message that a terminal shows, for a name that the API server takes. Pure."""

from __future__ import annotations

import re


def printable(text: str, *, instead: str = " ") -> str:
    """`text` with every control character, which could rewrite a terminal, replaced."""
    return "".join(char if char.isprintable() else instead for char in text)


def dns_label(text: str, *, limit: int) -> str:
    """`text` as a DNS label of at most `limit` characters: lower case, other characters a dash. May be empty."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:limit].rstrip("-")
