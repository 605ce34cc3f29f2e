"""wercker-api's wire format (wercker.md "Reports"): `POST <url>/<path>?wercker_token=<token>` with JSON.

Beyond that, `extended` sends what the original design wanted reported besides ("get code", "parse", "environment
variables"): paths of their own, which a receiver may answer with 404.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

from sentinel.reports.event import Event, Kind, Origin
from sentinel.reports.post import Post, to_json
from sentinel.reports.sequence import SETUP, STORE

PATHS = {
    Kind.STARTED: "runstarted",
    Kind.SOURCE_FETCHED: "runsourcefetched",
    Kind.CONFIG_PARSED: "runconfigparsed",
    Kind.STEPS_DETECTED: "runstepsadded",
    Kind.ENVIRONMENT_SET: "runenvironmentset",
    Kind.STEP_STARTED: "runstepstarted",
    Kind.STEP_LOG: "runsteplogs",
    Kind.STEP_FINISHED: "runstepfinished",
    Kind.FINISHED: "runfinished",
    Kind.COMPLETED: "runcompleted",
}
EXTENDED = frozenset(
    {Kind.SOURCE_FETCHED, Kind.CONFIG_PARSED, Kind.ENVIRONMENT_SET, Kind.COMPLETED}
)

_STEP = ("stepSafeId", "name", "displayName", "phase")


def wercker_post(
    event: Event, origin: Origin, *, url: str, token: str, extended: bool, log: bytes | None = None
) -> Post | None:
    """The request for an event, None for one that is not sent. `log` is the chunk of a STEP_LOG."""
    if event.kind in EXTENDED and not extended:
        return None
    body = {
        "runId": origin.uid,
        **_fields(event, log),
        "namespace": origin.namespace,
        "build": origin.name,
    }
    query = f"?wercker_token={quote(token, safe='')}" if token else ""
    event_id = origin.event_id(event.rank)
    return Post(
        url=f"{url.rstrip('/')}/{PATHS[event.kind]}{query}",
        body=to_json(body),
        headers={"Content-Type": "application/json", "Idempotency-Key": event_id},
        optional=event.kind in EXTENDED,
    )


def _fields(event: Event, log: bytes | None) -> dict[str, Any]:
    data = event.data
    fields: dict[str, Any] = dict(data)
    match event.kind:
        case Kind.STEPS_DETECTED:
            fields = {"steps": [{key: step[key] for key in _STEP} for step in data["steps"]]}
        case Kind.STEP_STARTED:
            fields = {"stepSafeId": event.step, "order": data["order"]}
        case Kind.STEP_LOG:
            fields = {
                "stepSafeId": event.step,
                "logs": base64.b64encode(log or b"").decode(),
                "stream": "stdout",
                "chunk": event.rank.chunk,
            }
        case Kind.STEP_FINISHED:
            more = {}
            if event.step == SETUP:
                more = {"werckerYamlContents": data["werckerYamlContents"]}
            elif event.step == STORE:
                more = {key: data[key] for key in ("artifactUrl", "packageUrl")}
            fields = {
                "stepSafeId": event.step,
                "result": data["result"],
                "message": data["message"],
                **more,
            }
        case Kind.FINISHED:
            fields = {key: data[key] for key in ("result", "reason", "message")}
        case Kind.STARTED:
            fields = {key: data[key] for key in ("pipeline", "startedBy")}
    return fields
