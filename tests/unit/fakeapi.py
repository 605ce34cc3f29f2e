"""An API server in memory, behind the methods of `sentinel.kube.client.Kube` that its callers use.

Not for tests of the client itself: those have `tests/unit/kube/server.py`, which speaks HTTP.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any

from sentinel.errors import SentinelError
from sentinel.kube.errors import AlreadyExists, Conflict, NotFound
from sentinel.kube.resources import Resource

Json = dict[str, Any]


class FakeApi:
    """Objects by the plural of their resource: `FakeApi(builds=[…], pods=[…])`.

    `objects` has them by plural and name: no two namespaces have one of the same name. `got`, `created`, `deleted` and
    `patched` have (plural, name), `listed` (plural, namespace), `replaced` bodies of PUT, each in order.
    """

    def __init__(self, **objects: list[Json]) -> None:
        self.objects: dict[str, dict[str, Json]] = {}
        for plural, given in objects.items():
            self.add(plural, *given)
            if len(self.objects[plural]) < len(given):
                raise ValueError(f"two of these {plural} have the same name")
        self.got: list[tuple[str, str]] = []
        self.created: list[tuple[str, str]] = []
        self.patched: list[tuple[str, str, Any]] = []
        self.deleted: list[tuple[str, str]] = []
        self.listed: list[tuple[str, str | None]] = []
        self.replaced: list[Json] = []
        self._failures: list[tuple[str, str, SentinelError]] = []
        self._version = 100

    def fail(self, verb: str, name: str, error: SentinelError, *, times: int = 1) -> None:
        """Answer the next requests of that verb for that object with an error."""
        self._failures += [(verb, name, error)] * times

    def add(self, plural: str, *given: Json) -> None:
        """Objects that are there, as they are."""
        self.objects.setdefault(plural, {}).update({raw["metadata"]["name"]: raw for raw in given})

    def change(self, plural: str, name: str, **fields: Any) -> Json:
        """Replace fields of an object, as somebody else would; the object, with its new resourceVersion."""
        found = self.find(plural, name)
        self._version += 1
        found.update(copy.deepcopy(fields))
        found["metadata"] = {**found["metadata"], "resourceVersion": str(self._version)}
        return found

    def find(self, plural: str, name: str) -> Json:
        """The object itself, not a copy."""
        try:
            return self.objects[plural][name]
        except KeyError:
            raise NotFound(f"no {plural} {name}") from None

    async def get(self, resource: Resource, *, name: str, namespace: str | None = None) -> Json:
        self.got.append((resource.plural, name))
        self._answer("get", name)
        found = self.find(resource.plural, name)
        if namespace not in (None, found["metadata"].get("namespace", namespace)):
            raise NotFound(f"no {resource.plural} {namespace}/{name}")
        return copy.deepcopy(found)

    async def each(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Json]:
        self.listed.append((resource.plural, namespace))
        for raw in list(self.objects.get(resource.plural, {}).values()):
            if _selected(raw["metadata"].get("labels", {}), labels):
                yield copy.deepcopy({"metadata": raw["metadata"]} if metadata_only else raw)

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
    ) -> tuple[list[Json], str]:
        self._answer("list", resource.plural)
        found = [
            raw
            async for raw in self.each(resource, namespace=namespace, labels=labels)
            if namespace in (None, raw["metadata"].get("namespace"))
            and all(_field(raw, *each.split("=")) for each in fields.split(",") if each)
        ]
        return found, str(self._version)

    async def create(self, resource: Resource, body: Json, *, namespace: str | None = None) -> Json:
        name = body["metadata"]["name"]
        self._answer("create", name)
        existing = self.objects.setdefault(resource.plural, {})
        if name in existing:
            raise AlreadyExists(f"{resource.plural} {name} already exists")
        self.created.append((resource.plural, name))
        self._version += 1
        made = copy.deepcopy(body)
        made["metadata"] = {
            "uid": f"uid-{name}",
            "resourceVersion": str(self._version),
            **made["metadata"],
            **({"namespace": namespace} if namespace else {}),
        }
        existing[name] = made
        return copy.deepcopy(made)

    async def replace(self, resource: Resource, body: Json, *, subresource: str = "") -> Json:
        meta = body["metadata"]
        self._answer("replace", meta["name"])
        if meta["resourceVersion"] != self.find(resource.plural, meta["name"])["metadata"].get(
            "resourceVersion"
        ):
            raise Conflict("changed")
        self.replaced.append(copy.deepcopy(body))
        fields = {subresource: body[subresource]} if subresource else body
        return copy.deepcopy(self.change(resource.plural, meta["name"], **fields))

    async def patch(self, resource: Resource, *, name: str, body: Any, **_: Any) -> Json:
        """A merge patch. A uid or a resourceVersion in it is a precondition."""
        self._answer("patch", name)
        found = self.find(resource.plural, name)
        for key in ("uid", "resourceVersion"):
            if body.get("metadata", {}).get(key, found["metadata"].get(key)) != found[
                "metadata"
            ].get(key):
                raise Conflict(f"{name} has another {key}")
        self.patched.append((resource.plural, name, body))
        _merge(found, body)
        return copy.deepcopy(self.change(resource.plural, name))

    async def delete(
        self,
        resource: Resource,
        *,
        name: str,
        namespace: str | None = None,
        uid: str | None = None,
        **_: Any,
    ) -> None:
        self._answer("delete", name)
        found = self.find(resource.plural, name)
        if uid is not None and found["metadata"]["uid"] != uid:
            raise Conflict(f"{name} has another uid")
        self.deleted.append((resource.plural, name))
        del self.objects[resource.plural][name]

    def _answer(self, verb: str, name: str) -> None:
        for at, (of, what, error) in enumerate(self._failures):
            if (of, what) == (verb, name):
                del self._failures[at]
                raise error


def _selected(labels: dict[str, str], selector: str) -> bool:
    """Selectors of the forms `a`, `a=b` and `a!=b`, joined by commas."""
    for each in filter(None, selector.split(",")):
        name, _, value = each.partition("=")
        if name.endswith("!"):
            if labels.get(name[:-1]) == value:
                return False
        elif name not in labels or (value and labels[name] != value):
            return False
    return True


def _field(raw: Json, path: str, value: str) -> bool:
    found: Any = raw
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found == value


def _merge(into: Json, patch: Json) -> None:
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
