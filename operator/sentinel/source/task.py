"""What the fetcher is told: the JSON that `plan.pod` wrote into the init container's environment, checked."""

# ruff: noqa: PTH123 - pathlib costs 5 ms of the fetcher's start

from __future__ import annotations

import json

from sentinel.source.address import is_commit, valid_ref
from sentinel.source.complaint import INTERNAL, FetchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "SENTINEL_FETCH"
TIMEOUT = 600.0
"""Seconds for everything together."""
MAX_BYTES = 10 * 1024**3
"""Disk that a checkout may take, its .git included, where the task says nothing."""


class Task:
    """What to fetch and where to, from the JSON that `plan` wrote.

    url, commit: 40 hexadecimal digits; ref, branch, tag: what the commit was found as, "" if it was not; dest: an
    existing or missing directory; kit: where boxkit installs itself, "" for nowhere; secretDir: mounted Secret or "";
    ignoreFile: what is not copied, "" for nothing.
    ca: certificates in PEM to trust besides the system's; maxBytes: of disk. With sha256, 64 hexadecimal digits, url
    is an archive's, and there is no commit. steps: (id, digest) of those whose archives are in stepsDir. standardSteps:
    (id, name) of those that are in our image.
    """

    def __init__(self, text: str) -> None:
        try:
            data: dict[str, Any] = json.loads(text)
            self.url = str(data["url"])
            self.sha256 = str(data.get("sha256") or "")
            self.commit = "" if self.sha256 else str(data["commit"]).lower()
            self.ref = str(data.get("ref") or "")
            self.branch = str(data.get("branch") or "")
            self.tag = str(data.get("tag") or "")
            self.submodules = bool(data.get("submodules"))
            self.dest = str(data.get("dest") or "/mnt/wercker/source")
            self.kit = str(data.get("kit") or "")
            self.secret_dir = str(data.get("secretDir") or "")
            self.ignore_file = str(data.get("ignoreFile") or "")
            self.termination_log = str(data.get("terminationLog") or "/dev/termination-log")
            self.allow_file = bool(data.get("allowFile"))
            self.ca = str(data.get("ca") or "")
            self.max_bytes = int(data.get("maxBytes") or MAX_BYTES)
            self.steps = [(str(each["id"]), str(each["digest"])) for each in data.get("steps", ())]
            self.steps_dir = str(data.get("stepsDir") or "")
            self.standard_steps = [
                (str(each["id"]), str(each["name"])) for each in data.get("standardSteps", ())
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FetchError(INTERNAL, f"${VARIABLE} is no task: {error!r}") from error
        if self.sha256:
            if len(self.sha256) != 64 or self.sha256.strip("0123456789abcdef"):
                raise FetchError(INTERNAL, f"${VARIABLE}: {self.sha256!r} is not a sha256")
        elif not is_commit(self.commit):
            raise FetchError(INTERNAL, f"${VARIABLE}: {self.commit!r} is not a full commit id")
        if any(name and not valid_ref(name) for name in (self.ref, self.branch, self.tag)):
            raise FetchError(INTERNAL, f"${VARIABLE}: a ref in it is none git would accept")


def read_secret(directory: str, name: str) -> str:
    """A key of the mounted Secret; "" where there is none."""
    if not directory:
        return ""
    try:
        with open(f"{directory}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
