"""Where a build's results lie in the bucket: pure functions of names (`wercker-semantics.md` §5.6).

`<prefix>/<namespace>/project-artifacts/<app id>/<build uid>/<attempt>/` and below it `output.tar`,
`step/<step id>/log.txt`, `step/<step id>/artifacts.tar`. The uid and attempt make every key the attempt's own.
"""

from __future__ import annotations

import hashlib
import re

OUTPUT = "output.tar"
LOG = "log.txt"
ARTIFACTS = "artifacts.tar"
CONTEXT = "context.tar.gz"

_SAFE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


def segment(text: str) -> str:
    """`text` as one segment of a key: letters, digits, `.`, `_`, `-`, at most 100 characters.

    What already is one stays as it is. Anything else is cut to shape and gets eight hexadecimal digits of its hash,
    so two different ids never share a segment.
    """
    if _SAFE.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    shape = _ODD.sub("-", text).strip("-._")[:80].rstrip("-._")
    return f"{shape}-{digest}" if shape else digest


def results_prefix(
    *, prefix: str, namespace: str, app_id: str, build_uid: str, attempt: int
) -> str:
    """The prefix of everything an attempt stores, with a slash at its end. `app_id` may be any text."""
    parts = [
        *_segments(prefix),
        namespace,
        "project-artifacts",
        segment(app_id),
        build_uid,
        str(attempt),
    ]
    return "/".join(parts) + "/"


def output(results: str) -> str:
    """The key of the build's output; `results` is a `results_prefix`."""
    return results + OUTPUT


def step_log(results: str, step_id: str) -> str:
    """The key of a step's log."""
    return f"{results}step/{segment(step_id)}/{LOG}"


def step_artifacts(results: str, step_id: str) -> str:
    """The key of a step's report artifacts."""
    return f"{results}step/{segment(step_id)}/{ARTIFACTS}"


def step_context(results: str, step_id: str) -> str:
    """The key of the build context of a step that builds an image, until it is built."""
    return f"{results}step/{segment(step_id)}/{CONTEXT}"


def step_archive(prefix: str, digest: str) -> str:
    """The key of a step's archive, the same for all builds; `prefix` is the store's."""
    return "/".join((*_segments(prefix), "steps", f"{digest}.tar.gz"))


def _segments(prefix: str) -> list[str]:
    return [segment for segment in prefix.split("/") if segment]
