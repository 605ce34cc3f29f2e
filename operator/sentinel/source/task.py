"""The fetcher's task: the JSON that `plan.pod` wrote into the init container's environment, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.errors import InternalError
from sentinel.layout import FETCHED_SOURCE
from sentinel.source.address import is_commit, valid_ref

VARIABLE = "SENTINEL_FETCH"
TIMEOUT = 600.0
"""Seconds for everything together."""
MAX_BYTES = 10 * 1024**3
"""Disk that a checkout may take, its .git included, where the task says nothing."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to fetch and where to.

    commit: 40 hexadecimal digits; ref, branch, tag: what it was found as, "" if it was not; dest: an existing or
    missing directory; kit: where boxkit installs itself, "" for nowhere; secret_dir: mounted Secret or "";
    ignore_file: what is not copied, "" for nothing; ca: certificates in PEM to trust besides the system's; max_bytes:
    of disk; network: a `network.Policy` as JSON. With sha256, 64 hexadecimal digits, url is an archive's, and
    there is no commit. steps: (id, digest) of those whose archives are in steps_dir; standard_steps: (id, name) of
    those that are in our image. cache: a task for `boxkit restore`, or empty.
    """

    url: str
    commit: str
    sha256: str = ""
    ref: str = ""
    branch: str = ""
    tag: str = ""
    submodules: bool = False
    dest: str = FETCHED_SOURCE
    kit: str = ""
    secret_dir: str = ""
    ignore_file: str = ""
    termination_log: str = "/dev/termination-log"
    allow_file: bool = False
    ca: str = field(default="", repr=False)
    max_bytes: int = MAX_BYTES
    network: dict[str, list[str]] = field(default_factory=dict)
    steps: tuple[tuple[str, str], ...] = ()
    steps_dir: str = ""
    standard_steps: tuple[tuple[str, str], ...] = ()
    cache: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Task:
        """From the JSON that `plan` wrote. InternalError where it is none."""
        try:
            data: dict[str, Any] = json.loads(text)
            named = {_NAMES.get(key, key): value for key, value in data.items()}
            known = {each.name: named[each.name] for each in fields(cls) if each.name in named}
            known["commit"] = "" if known.get("sha256") else str(named["commit"]).lower()
            steps = tuple((str(s["id"]), str(s["digest"])) for s in known.pop("steps", None) or ())
            standard = known.pop("standard_steps", None) or ()
            # "" and 0 stand for what is not said.
            task = cls(
                **{key: value for key, value in known.items() if value or key == "commit"},
                steps=steps,
                standard_steps=tuple((str(s["id"]), str(s["name"])) for s in standard),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _none(f"is no task: {error!r}") from error
        if task.sha256:
            if len(task.sha256) != 64 or task.sha256.strip("0123456789abcdef"):
                raise _none(f"{task.sha256!r} is not a sha256")
        elif not is_commit(task.commit):
            raise _none(f"{task.commit!r} is not a full commit id")
        if any(name and not valid_ref(name) for name in (task.ref, task.branch, task.tag)):
            raise _none("a ref in it is none git would accept")
        return task


_NAMES = {
    "secretDir": "secret_dir",
    "ignoreFile": "ignore_file",
    "terminationLog": "termination_log",
    "allowFile": "allow_file",
    "maxBytes": "max_bytes",
    "stepsDir": "steps_dir",
    "standardSteps": "standard_steps",
}


def _none(why: str) -> InternalError:
    return InternalError(f"${VARIABLE}: {why}", reason=Reason.INTERNAL)


def read_secret(directory: str, name: str) -> str:
    """A key of the mounted Secret; "" where there is none."""
    if not directory:
        return ""
    try:
        return Path(directory, name).read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""
