"""What a failed test's namespace looks like: its Builds, pods and events, for people who see only pytest's output.

Everything is bounded, and no object is printed that can hold a Secret's content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tests.install import NAMESPACE
from tests.kubectl import Kubectl

MOST_LINES, LONGEST_LINE, MOST_CHARACTERS = 25, 300, 2500
"""Of each section: its last lines, so many characters of each, and its last characters."""
WITHIN = 30.0
"""Seconds for each request: the cluster may be what is broken."""

Json = dict[str, Any]


def sections(fixtures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Sections for pytest's report on a test with these fixtures; none without a namespace. Never raises."""
    kubectl = fixtures.get("kubectl")
    namespace = fixtures.get("namespace")
    if not isinstance(kubectl, Kubectl) or not isinstance(namespace, str):
        return []
    looks: tuple[tuple[str, str, str, Callable[[Json], list[str]]], ...] = (
        ("builds", namespace, "builds.sentinel.wercker.com", _build),
        ("commits", namespace, "imagecommits.sentinel.wercker.com", _commit),
        ("pods", namespace, "pods", _pod),
        ("events", namespace, "events", _event),
        (f"pods of {NAMESPACE}", NAMESPACE, "pods", _pod),
    )
    found = [
        (title, _text(partial(_objects, kubectl, where, kind, show)))
        for title, where, kind, show in looks
    ]
    found.append(("the operator's log", _text(partial(_operator_log, kubectl, namespace))))
    return [(f"{title} at the end", text) for title, text in found if text]


def _text(read: Callable[[], list[str]]) -> str:
    try:
        lines = read()
    except Exception as error:
        lines = [f"cannot be read: {type(error).__name__}: {error}"]
    text = "\n".join(line.replace("\n", " ")[:LONGEST_LINE] for line in lines[-MOST_LINES:])
    return text[-MOST_CHARACTERS:]


def _objects(
    kubectl: Kubectl, namespace: str, kind: str, show: Callable[[Json], list[str]]
) -> list[str]:
    items = sorted(kubectl.list(kind, namespace=namespace, timeout=WITHIN), key=_when)
    return [line for each in items for line in show(each)]


def _operator_log(kubectl: Kubectl, namespace: str) -> list[str]:
    """Its lines about the namespace, and its errors."""
    operators = ("-l", "app.kubernetes.io/component=operator", "-c", "operator", "--tail=3000")
    log = kubectl("logs", "-n", NAMESPACE, *operators, timeout=WITHIN)
    return [line for line in log.splitlines() if namespace in line or " ERROR " in line]


def _when(raw: Json) -> str:
    """When an event happened last; for all else, when it was created."""
    series = (raw.get("series") or {}).get("lastObservedTime")
    times = (series, raw.get("lastTimestamp"), raw.get("eventTime"))
    return next((str(each) for each in times if each), raw["metadata"]["creationTimestamp"])


def _build(raw: Json) -> list[str]:
    status = raw.get("status", {})
    steps = [
        f"{each.get('name')}={each.get('state')}/{each.get('reason', '')}"
        for each in status.get("steps", [])
    ]
    head = f"{raw['metadata']['name']}: {status.get('phase')}, {', '.join(steps)}"
    return [head, *(f"  {line}" for line in _conditions(status))]


def _commit(raw: Json) -> list[str]:
    status = raw.get("status", {})
    return [
        f"{raw['metadata']['name']}: {status.get('phase')} {status.get('reason', '')}: {status.get('message', '')}"
    ]


def _pod(raw: Json) -> list[str]:
    status = raw.get("status", {})
    every = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    containers = [
        f"{each['name']}={_state(each.get('state', {}))}"
        + (f" ({each['restartCount']} restarts)" if each.get("restartCount") else "")
        for each in every
    ]
    leaving = ", being deleted" if raw["metadata"].get("deletionTimestamp") else ""
    head = f"{raw['metadata']['name']}: {status.get('phase')}{leaving}, {', '.join(containers)}"
    bad = [each for each in status.get("conditions", []) if each.get("status") != "True"]
    return [head, *(f"  {line}" for line in _conditions({"conditions": bad}))]


def _state(state: Json) -> str:
    for name, each in state.items():
        more = each.get("reason", "")
        return f"{name} {more}".rstrip() if name != "terminated" else f"{more}({each['exitCode']})"
    return "?"


def _conditions(status: Json) -> list[str]:
    return [
        f"{each['type']}={each['status']} {each.get('reason', '')}: {each.get('message', '')}"
        for each in status.get("conditions", [])
    ]


def _event(raw: Json) -> list[str]:
    of = raw.get("involvedObject", {})
    what = f"{of.get('kind')}/{of.get('name')}"
    return [f"{_when(raw)} {what} {raw.get('reason')}: {raw.get('message')}"]
