"""A document as an editor's YAML library gives it: booleans, numbers and null where they are written so."""

from __future__ import annotations

from typing import Any

from sentinel.config.document import Items, Node, Table
from sentinel.config.scalars import boolean, integer, is_null, number


def plain(node: Node | None) -> Any:
    """Lists, dicts and values."""
    if isinstance(node, Items):
        return [plain(each) for each in node.items]
    if isinstance(node, Table):
        return {key.text: plain(value) for key, value in node.entries}
    if node is None or is_null(node):
        return None
    for kind in (boolean, integer, number):
        if (value := kind(node)) is not None:
            return value
    return node.text
