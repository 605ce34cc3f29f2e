"""One HTTP request that carries a report. Every receiver's format comes down to this."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Post:
    """A POST of JSON. `url` and `headers` may hold a token: neither is ever logged.

    `optional`: a receiver that does not know such a report (404, 405) misses nothing.
    """

    url: str = field(repr=False)
    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    optional: bool = False


def to_json(data: Mapping[str, Any]) -> bytes:
    """Compact JSON in ASCII: whatever a project wrote, no receiver sees bytes that are not UTF-8."""
    return json.dumps(data, separators=(",", ":")).encode()
