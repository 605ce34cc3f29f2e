"""When the original dropped a service, a pipeline or the whole file (wercker.md "The file", "Steps").

It decoded into typed structures: an error of type lost whatever it was in, without a word; a step that is none
ended the whole file. We tell each of these and drop less, so that this is only needed to compare.
"""

from __future__ import annotations

from collections.abc import Iterable

from sentinel.config.boxes import BOX_KEYS
from sentinel.config.document import Items, Node, Scalar, Table
from sentinel.config.root import TOP_KEYS
from sentinel.config.scalars import boolean, is_null


def bad_step(root: Table) -> Node | None:
    """The first step of any pipeline for which it rejected the file."""
    for key, section in root.entries:
        if key.text in TOP_KEYS or not isinstance(section, Table):
            continue
        for name, steps in section.entries:
            if name.text in ("box", "services") or not isinstance(steps, Items):
                continue
            for item in steps.items:
                if _is_bad(item):
                    return item
    return None


def _is_bad(item: Node) -> bool:
    """A list, `{}`, or one key without options under it. Null was a step too, and crashed only later."""
    if is_null(item) or isinstance(item, Scalar):
        return False
    if isinstance(item, Items) or not item.entries:
        return True
    return len(item.entries) == 1 and not isinstance(item.entries[0][1], Table)


def is_lost(pipeline: Table) -> bool:
    """Whether something in it has a type for which the pipeline vanished."""
    return any(
        not is_null(node) and _is_wrong_in_pipeline(key.text, node)
        for key, node in pipeline.entries
    )


def _is_wrong_in_pipeline(key: str, node: Node) -> bool:
    match key:
        case "box":
            return is_mistyped(node)
        case "services":
            return not isinstance(node, Items) or any(
                is_mistyped(each) for each in node.items if not is_null(each)
            )
        case "docker":
            return not isinstance(node, Scalar) or boolean(node) is None
        case "base-path":
            return not isinstance(node, Scalar)
    return not isinstance(node, Items)


def is_mistyped(box: Node) -> bool:
    """Whether a box or service is a list, or has a key of the wrong type."""
    if isinstance(box, Scalar):
        return False
    return isinstance(box, Items) or any(
        not is_null(node) and _is_wrong_in_box(key.text, node) for key, node in box.entries
    )


def _is_wrong_in_box(key: str, node: Node) -> bool:
    if key == "env":
        return not isinstance(node, Table) or not _texts(each for _, each in node.entries)
    if key == "ports":
        return not isinstance(node, Items) or not _texts(node.items)
    if key == "aws-strict-auth":
        return not isinstance(node, Scalar) or boolean(node) is None
    return key in BOX_KEYS and not isinstance(node, Scalar)


def _texts(nodes: Iterable[Node]) -> bool:
    return all(isinstance(each, Scalar) for each in nodes)
