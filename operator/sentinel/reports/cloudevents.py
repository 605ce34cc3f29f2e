"""CloudEvents 1.0 over HTTP, in binary or structured mode. Logs are not sent.

https://github.com/cloudevents/spec: spec.md §3, bindings/http-protocol-binding.md §3.1 and §3.2, extension `sequence`.
"""

from __future__ import annotations

from urllib.parse import quote

from sentinel.api import GROUP, VERSION
from sentinel.reports.event import Event, Kind, Origin, Rank
from sentinel.reports.post import Post, to_json

TYPE_PREFIX = "com.wercker.sentinel.build."
_JSON = "application/json"
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def cloudevents_post(
    event: Event, origin: Origin, *, url: str, token: str, mode: str
) -> Post | None:
    """The request for an event, None for a log. `mode`: binary or structured."""
    if event.kind is Kind.STEP_LOG:
        return None
    attributes = {
        "specversion": "1.0",
        "id": origin.event_id(event.rank),
        "source": f"/apis/{GROUP}/{VERSION}/namespaces/{origin.namespace}/builds/{origin.name}",
        "type": f"{TYPE_PREFIX}{event.kind}",
        "time": event.time,
        "sequence": sequence(event.rank),
    }
    if event.step:
        attributes["subject"] = event.step
    data = {
        "namespace": origin.namespace,
        "build": origin.name,
        "uid": origin.uid,
        "pipeline": origin.pipeline,
        "url": origin.url,
        **event.data,
    }
    login = {"Authorization": f"Bearer {token}"} if token else {}
    if mode == "structured":
        body = to_json({**attributes, "datacontenttype": _JSON, "data": data})
        return Post(
            url=url,
            body=body,
            headers={"Content-Type": "application/cloudevents+json; charset=utf-8", **login},
        )
    headers = {
        f"ce-{name}": quote(value, safe=_PLAIN) for name, value in attributes.items() if value
    }
    return Post(url=url, body=to_json(data), headers={"Content-Type": _JSON, **headers, **login})


def sequence(rank: Rank) -> str:
    """A text that sorts as the events of a build were sent (the extension's rule: lexicographically)."""
    return ".".join(f"{number:04d}" for number in rank)
