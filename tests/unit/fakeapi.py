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

    `deleted` has (plural, name), `listed` (plural, namespace), `replaced` bodies of PUT, each in order.
    """

    def __init__(self, **objects: list[Json]) -> None:
        self.objects = objects
        self.deleted: list[tuple[str, str]] = []
        self.listed: list[tuple[str, str | None]] = []
        self.replaced: list[Json] = []
        self._failures: list[tuple[str, str, SentinelError]] = []
        self._version = 100

    def fail(self, verb: str, name: str, error: SentinelError, *, times: int = 1) -> None:
        """Answer the next requests of that verb for that object with an error."""
        self._failures += [(verb, name, error)] * times

    def change(self, plural: str, name: str, **fields: Any) -> Json:
        """Replace fields of an object, as somebody else would; the object, with its new resourceVersion."""
        found = self.find(plural, name)
        self._version += 1
        found.update(copy.deepcopy(fields))
        found["metadata"] = {**found["metadata"], "resourceVersion": str(self._version)}
        return found

    def find(self, plural: str, name: str) -> Json:
        """The object itself, as it stands."""
        for raw in self.objects.get(plural, []):
            if raw["metadata"]["name"] == name:
                return raw
        raise NotFound(f"no {plural} {name}")

    async def get(self, resource: Resource, *, name: str, namespace: str | None = None) -> Json:
        self._answer("get", name)
        return copy.deepcopy(self.find(resource.plural, name))

    async def each(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Json]:
        self.listed.append((resource.plural, namespace))
        for raw in self.objects.get(resource.plural, []):
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
        existing = self.objects.setdefault(resource.plural, [])
        if any(raw["metadata"]["name"] == name for raw in existing):
            raise AlreadyExists(f"{resource.plural} {name} already exists")
        existing.append(copy.deepcopy(body))
        return copy.deepcopy(body)

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

    async def patch(self, resource: Resource, *, name: str, body: Json, **_: Any) -> Json:
        """A merge patch."""
        self._answer("patch", name)
        _merge(self.find(resource.plural, name), body)
        return copy.deepcopy(self.change(resource.plural, name))

    async def delete(
        self, resource: Resource, *, name: str, namespace: str | None = None, uid: str | None = None
    ) -> None:
        self._answer("delete", name)
        found = self.find(resource.plural, name)
        if uid is not None and found["metadata"]["uid"] != uid:
            raise Conflict(f"{name} has another uid")
        self.deleted.append((resource.plural, name))
        self.objects[resource.plural].remove(found)

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
