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
class Output:
    """The output of the Build of that name, of `size` bytes, for a directory of the source; "" is its root."""

    build: str
    directory: str
    sha256: str
    size: int

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Output:
        """From a map of the task's JSON. Raises LookupError or ValueError."""
        output = cls(
            build=str(data["build"]),
            directory=str(data["directory"]),
            sha256=str(data["sha256"]),
            size=int(data["size"]),
        )
        if not output.sha256 or "/" in output.directory or output.directory in (".", ".."):
            raise ValueError(f"{data!r} is no output")
        return output


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to fetch and where to.

    commit: 40 hexadecimal digits; ref, branch, tag: what it was found as, "" if it was not; dest: an existing or
    missing directory; kit: where boxkit installs itself, "" for nowhere; secret_dir: mounted Secret or "";
    ignore_file: what is not copied, "" for nothing; ca: certificates in PEM to trust besides the system's; max_bytes:
    of disk; network: a `network.Policy` as JSON. With sha256, 64 hexadecimal digits, url is an archive's, and
    there is no commit; with upload, its bytes, the archive is sent to the pod and has no url. steps: (id, digest) of
    those whose archives are in steps_dir; standard_steps: (id, name) of those that are in our image. outputs: those of
    other builds, which are the source then; outputs_dir has a file `<index>.url` for each. cache: a task for
    `boxkit restore`, or empty; store_ca: as ca, for the object store.
    """

    commit: str
    url: str = ""
    sha256: str = ""
    upload: int = 0
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
    store_ca: str = field(default="", repr=False)
    outputs: tuple[Output, ...] = ()
    outputs_dir: str = ""

    @classmethod
    def parse(cls, text: str) -> Task:
        """From the JSON that `plan` wrote. InternalError where it is none."""
        try:
            data: dict[str, Any] = json.loads(text)
            named = {_NAMES.get(key, key): value for key, value in data.items()}
            known = {each.name: named[each.name] for each in fields(cls) if each.name in named}
            outputs = tuple(Output.parse(each) for each in known.pop("outputs", None) or ())
            known["commit"] = "" if known.get("sha256") or outputs else str(named["commit"]).lower()
            steps = tuple((str(s["id"]), str(s["digest"])) for s in known.pop("steps", None) or ())
            standard = known.pop("standard_steps", None) or ()
            # "" and 0 stand for what is not said.
            task = cls(
                **{key: value for key, value in known.items() if value or key == "commit"},
                steps=steps,
                standard_steps=tuple((str(s["id"]), str(s["name"])) for s in standard),
                outputs=outputs,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _none(f"is no task: {error!r}") from error
        for digest in (task.sha256, *(each.sha256 for each in task.outputs)):
            if digest and (len(digest) != 64 or digest.strip("0123456789abcdef")):
                raise _none(f"{digest!r} is not a sha256")
        if not task.sha256 and not task.outputs and not is_commit(task.commit):
            raise _none(f"{task.commit!r} is not a full commit id")
        if not task.url and not task.upload and not task.outputs:
            raise _none("has neither a URL of the source nor an upload")
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
    "storeCa": "store_ca",
    "standardSteps": "standard_steps",
    "outputsDir": "outputs_dir",
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
