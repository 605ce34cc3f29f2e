"""What the text of a scalar means, by wercker's rules (wercker.md "Steps", "Scalars").

Its library resolved YAML 1.1 in its own way: `y` is a boolean, `0123` is 83, `1:30` is text. Keys are always text.
Fields of boxes keep the source text; properties of steps get booleans and integers in one spelling. Where upstream
made a value empty (floats, dates, integers beyond 64 bits) ours keeps the text: `version: 0.13` should not be empty.
"""

from __future__ import annotations

import re

from sentinel.config.document import Node, Scalar

_TRUE = {w for word in ("y", "yes", "true", "on") for w in (word, word.title(), word.upper())}
_FALSE = {w for word in ("n", "no", "false", "off") for w in (word, word.title(), word.upper())}
_NULL = {"", "~", "null", "Null", "NULL"}
_INT64 = range(-(2**63), 2**63)


def is_null(node: Node | None) -> bool:
    """Whether nothing stands there: no node, a blank, `~` or `null`."""
    if node is None:
        return True
    if not isinstance(node, Scalar):
        return False
    if node.tag:
        return node.tag == "tag:yaml.org,2002:null"
    return node.plain and node.text in _NULL


def boolean(node: Scalar) -> bool | None:
    """The boolean that the scalar is, or None if it is none."""
    if not _resolves(node, "bool"):
        return None
    if node.text in _TRUE:
        return True
    return False if node.text in _FALSE else None


def integer(node: Scalar) -> int | None:
    """The integer of at most 64 bits that the scalar is, or None. Octal, hexadecimal, binary and `_` count."""
    if not _resolves(node, "int"):
        return None
    text = node.text.replace("_", "")
    match = re.fullmatch(r"([+-]?)(0[xX][0-9a-fA-F]+|0b[01]+|0[0-7]*|[1-9][0-9]*)", text)
    # Only what begins like a number is looked at: "_1" is text.
    if match is None or node.text.startswith("_"):
        return None
    digits = match[2]
    if digits[:2] in ("0x", "0X"):
        value = int(digits[2:], 16)
    elif digits[:2] == "0b":
        value = int(digits[2:], 2)
    else:
        value = int(digits, 8) if digits.startswith("0") and len(digits) > 1 else _decimal(digits)
    value = -value if match[1] == "-" else value
    return value if value in _INT64 else None


def number(node: Scalar) -> float | None:
    """The number that the scalar is, integers included, or None."""
    whole = integer(node)
    if whole is not None:
        return float(whole)
    if not (_resolves(node, "float") or _resolves(node, "int")):
        return None
    text = node.text.replace("_", "")
    if re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", text) is None:
        return None
    return float(text)


def source_text(node: Scalar) -> str:
    """The text of a field that is text whatever it looks like: of a box, `name`, `cwd`. Null is empty."""
    return "" if is_null(node) else node.text


def property_text(node: Scalar) -> str:
    """The text of a step's property: booleans as `true` and `false`, integers in decimal, the rest as written."""
    if is_null(node):
        return ""
    if (flag := boolean(node)) is not None:
        return "true" if flag else "false"
    if (whole := integer(node)) is not None:
        return str(whole)
    return node.text


def _decimal(digits: str) -> int:
    # More than 19 digits never fit; int() refuses to convert thousands of them.
    return int(digits) if len(digits) <= 20 else 2**63


def _resolves(node: Scalar, kind: str) -> bool:
    """Whether an unquoted, untagged scalar, or one that is tagged as `kind`."""
    return node.tag == f"tag:yaml.org,2002:{kind}" if node.tag else node.plain
