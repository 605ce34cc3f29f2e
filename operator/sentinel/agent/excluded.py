"""Where `excludePaths` point in the upper directory.

Not here: whether a rule is a plain absolute path, which is checked before the Build runs, and leaving things out
(`upperdir.py`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

from sentinel.agent.residue import resolved


def excluded_places(rules: Sequence[str], *, layers: Sequence[Path]) -> dict[str, str]:
    """The paths relative to the upper directory that the rules leave out, each with its rule.

    A rule is normalised, and holds where its directory really is too: /var/run/token in an image whose /var/run is a
    link to /run is run/token. `layers` are the upper directory and those below it, topmost first.
    """
    found: dict[str, str] = {}
    for rule in rules:
        path = posixpath.normpath(f"/{rule}").strip("/")
        folder, _, name = path.rpartition("/")
        real = "/".join(filter(None, (resolved(layers, folder) if folder else "", name)))
        for place in filter(None, (path, real)):
            found.setdefault(place, rule)
    return found
