"""What the API server, or the way to it, refuses: one exception for each thing a caller does about it.

::

    ApiError                      the server said no; `status`, `code` (its reason) and its text
    ├── NotFound          404     the object is not there
    ├── Conflict          409     changed since we read it (also sentinel.errors.Conflict)
    │   └── AlreadyExists 409     it was created before, perhaps by us
    ├── Forbidden     401 403     credentials, RBAC, quota or admission
    ├── Invalid           422     the object breaks the schema or a rule of it
    ├── Expired           410     the resourceVersion is too old: list again
    └── Unavailable  5xx 429 -    try again (also TransientError); `-` is no answer at all
    Paused                        the container is frozen for a commit: try again (a NotYet)
    (sentinel.errors.NotYet)      the container, or the pod's place on a node, is not there yet

Every message says what we asked for, of which object, and the server's own words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sentinel import errors
from sentinel.errors import NotYet, SentinelError, TransientError


class ApiError(SentinelError):
    """The API server refused. `status` is HTTP's number, 0 where there was no answer; `code` is the Status's reason
    and `text` its message, without what we asked for."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        text: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.text = text or message
        self.retry_after = retry_after


class NotFound(ApiError):
    """There is no such object, namespace or resource."""


class Conflict(ApiError, errors.Conflict):
    """The object changed since we read it: read it again."""


class AlreadyExists(Conflict):
    """An object of this name is there. Names are locks: look whether it is ours."""


class Forbidden(ApiError):
    """Not allowed: who we are (401), RBAC, a quota or an admission rule."""


class Invalid(ApiError):
    """The body breaks the schema. Ours are generated, so it is our mistake or the user's spec."""


class Expired(ApiError):
    """The resourceVersion is too old for a watch or a page: begin with a new list."""


class Unavailable(ApiError, TransientError):
    """No answer, a cut connection, 5xx or 429. `unsent`: the request certainly never reached the server."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        retry_after: float | None = None,
        unsent: bool = False,
    ) -> None:
        super().__init__(message, status=status, code=code, retry_after=retry_after)
        self.unsent = unsent


class Paused(NotYet):
    """The container is frozen while its layer is read; it takes an exec again when that is done."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    422: Invalid,
}


def from_status(
    what: str, status: int, body: bytes | Mapping[str, Any], *, retry_after: str | None = None
) -> ApiError:
    """The exception for an answer that is not a success. `what` opens its message; `body` is a Status or any text."""
    answer = body if isinstance(body, Mapping) else _status(body)
    code = str(answer.get("reason") or "")
    text = str(answer.get("message") or "no text")
    message = f"{what}: {text} (HTTP {status}{' ' + code if code else ''})"
    seconds = _seconds(retry_after or (answer.get("details") or {}).get("retryAfterSeconds"))
    if status == 429 or status >= 500:
        return Unavailable(message, status=status, code=code, retry_after=seconds)
    kind = _BY_STATUS.get(status, ApiError)
    if kind is Conflict and code == "AlreadyExists":
        kind = AlreadyExists
    return kind(message, status=status, code=code, text=text)


def _status(body: bytes) -> Mapping[str, Any]:
    """A metav1.Status, or any other body put in place of its message: proxies answer in HTML."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and answer.get("kind") == "Status":
        return answer
    return {"message": body[:1024].decode("utf-8", "replace").strip()}


def _seconds(value: object) -> float | None:
    try:
        return max(0.0, float(str(value)))
    except ValueError:
        return None


# What API server, kubelet, containerd and Docker say, in this order, while a container is being made or is ending.
_EARLY = re.compile(
    r"container not found|does not have a host assigned|pod does not exist|pod not found \("
    r"|is waiting to start|ContainerCreating|PodInitializing"
    r"|container is in CONTAINER_\w+ state|container \S+ is not running|container not running"
    r"|cannot exec in a (stopped|created|deleted) (container|state|process)"
    r"|task \S+ not found",
    re.IGNORECASE,
)
_PAUSED = re.compile(r"cannot exec in a paus\w+|is paused, unpause", re.IGNORECASE)
_NO_COMMAND = re.compile(
    r"exec:? \S+:.*(no such file|not found|permission denied|exec format error)"
    r"|exec format error",
    re.IGNORECASE,
)


def from_exec(what: str, status: int, body: bytes | Mapping[str, Any]) -> SentinelError:
    """Why a command was not started, from an HTTP answer or from a Status on channel 3 (operator/boxkit/README.md).

    NotYet, Paused, NotFound, Forbidden, Unavailable; a plain ApiError where another try cannot help: no such
    container in the pod, no such command in the container.
    """
    error = from_status(what, status, body)
    if _PAUSED.search(error.message):
        return Paused(error.message)
    if isinstance(error, Forbidden):
        return error
    # The kubelet answers 404 for a pod that it has not heard of yet; the API server's own 404 names the resource.
    if isinstance(error, NotFound) and "pod does not exist" not in error.message:
        return error
    if _EARLY.search(error.message):
        return NotYet(error.message)
    if _NO_COMMAND.search(error.message):
        return ApiError(error.message, status=error.status, code=error.code)
    return error
