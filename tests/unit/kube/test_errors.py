from __future__ import annotations

import json
from typing import Any

import pytest

from sentinel import errors as base
from sentinel.errors import NotYet, TransientError
from sentinel.kube import errors
from sentinel.kube.errors import from_exec, from_status


def status(code: int, reason: str, message: str, **more: Any) -> dict[str, Any]:
    return {"kind": "Status", "code": code, "reason": reason, "message": message, **more}


@pytest.mark.parametrize(
    ("code", "reason", "expected", "transient"),
    [
        (400, "BadRequest", errors.ApiError, False),
        (401, "Unauthorized", errors.Forbidden, False),
        (403, "Forbidden", errors.Forbidden, False),
        (404, "NotFound", errors.NotFound, False),
        (409, "AlreadyExists", errors.AlreadyExists, True),
        (409, "Conflict", errors.Conflict, True),
        (410, "Expired", errors.Expired, False),
        (422, "Invalid", errors.Invalid, False),
        (429, "TooManyRequests", errors.Unavailable, True),
        (500, "InternalError", errors.Unavailable, True),
        (504, "Timeout", errors.Unavailable, True),
    ],
)
def test_each_answer_has_its_exception(
    code: int, reason: str, expected: type[errors.ApiError], transient: bool
) -> None:
    error = from_status("get pods ci/a", code, json.dumps(status(code, reason, "words")).encode())
    assert type(error) is expected
    assert isinstance(error, TransientError) is transient
    assert (error.status, error.code) == (code, reason)
    assert error.message == f"get pods ci/a: words (HTTP {code} {reason})"


def test_an_existing_name_is_a_conflict_for_those_who_do_not_care() -> None:
    error = from_status("x", 409, status(409, "AlreadyExists", "there"))
    assert isinstance(error, errors.Conflict)
    assert isinstance(error, base.Conflict)


def test_retry_after_comes_from_the_header_or_the_status() -> None:
    named = from_status("x", 429, b"slow down", retry_after="7")
    hinted = from_status("x", 503, status(503, "", "", details={"retryAfterSeconds": 3}))
    assert (named.retry_after, hinted.retry_after) == (7.0, 3.0)
    assert from_status("x", 503, b"", retry_after="Mon, 23 Nov").retry_after is None


def test_an_answer_of_a_proxy_is_quoted() -> None:
    error = from_status("list pods", 502, b"<html>Bad Gateway</html>")
    assert error.message == "list pods: <html>Bad Gateway</html> (HTTP 502)"


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (500, 'unable to upgrade connection: container not found ("box")', NotYet),
        (400, "pod hello-1 does not have a host assigned", NotYet),
        (404, "unable to upgrade connection: pod does not exist", NotYet),
        (500, "rpc error: code = Unknown desc = container is in CONTAINER_CREATED state", NotYet),
        (
            500,
            "Internal error occurred: error executing command in container: failed to exec in container: "
            'failed to create exec "e": cannot exec in a paused state: unknown',
            errors.Paused,
        ),
        # A container that was killed a moment ago.
        (
            500,
            "Internal error occurred: error executing command in container: failed to exec in container: "
            'failed to create exec "c6": task 908e not found: not found',
            NotYet,
        ),
        (
            409,
            "Container 5f is paused, unpause the container before exec",
            errors.Paused,
        ),
        (404, 'pods "hello-1" not found', errors.NotFound),
        (403, 'pods "hello-1" is forbidden: User "u" cannot create pods/exec', errors.Forbidden),
        (
            500,
            "error dialing backend: dial tcp 10.0.0.1:10250: connection refused",
            errors.Unavailable,
        ),
        (400, "container nope is not valid for pod hello-1", errors.ApiError),
        (
            500,
            "OCI runtime exec failed: exec failed: unable to start container process: "
            'exec: "/nope": stat /nope: no such file or directory: unknown',
            errors.ApiError,
        ),
    ],
)
def test_why_a_command_did_not_start(code: int, text: str, expected: type[Exception]) -> None:
    error = from_exec("exec in pods ci/hello-1", code, status(code, "", text))
    assert type(error) is expected
    assert text in str(error)
