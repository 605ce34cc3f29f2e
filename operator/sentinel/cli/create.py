"""New Builds made of one that exists: their names, and which labels they get."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sentinel.api import GROUP
from sentinel.cli.cluster import Found
from sentinel.errors import SentinelError
from sentinel.kube.client import Kube
from sentinel.kube.errors import AlreadyExists
from sentinel.kube.resources import BUILDS
from sentinel.plan.names import INSTANCE_LABEL

Json = dict[str, Any]

MOST_NAMES = 100
"""How many names are tried, with one request each."""
_NAME_LENGTH = 253
_NOT_COPIED = re.compile(
    rf"([^/]*\.)?{re.escape(GROUP)}/|app\.kubernetes\.io/(managed-by|instance)$|([^/]*\.)?argoproj\.io/"
)
"""Our own labels, and those by which Helm and Argo find what they manage: they might delete the new Build."""


def metadata_of(found: Found, name: str) -> Json:
    """A new Build's metadata: the labels of `found` but for our own, the installation's excepted; no owner."""
    metadata: Json = {"name": name, "namespace": found.namespace}
    labels = found.raw["metadata"].get("labels") or {}
    if kept := {
        key: value
        for key, value in labels.items()
        if key == INSTANCE_LABEL or not _NOT_COPIED.match(key)
    }:
        metadata["labels"] = kept
    return metadata


async def create_numbered(
    kube: Kube, base: str, word: str, make: Callable[[str], Json], *, first: int = 1
) -> Json:
    """Create `make(name)` for the first of <base>-<word>-<first>, … that is free. Raises SentinelError."""
    for number in range(first, first + MOST_NAMES):
        ending = f"-{word}-{number}"
        name = base[: _NAME_LENGTH - len(ending)].rstrip("-.") + ending
        try:
            return await kube.create(BUILDS, make(name))
        except AlreadyExists:
            continue
    raise SentinelError(
        f"{MOST_NAMES} Builds called {base}-{word}-… are there; choose another name: --name"
    )
