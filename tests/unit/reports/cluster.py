"""An API server as far as the reporter needs one: ConfigMaps and Secrets, with resourceVersions."""

from __future__ import annotations

import copy
from typing import Any

from sentinel.errors import Conflict
from sentinel.kube.errors import AlreadyExists, NotFound
from sentinel.kube.resources import Resource


class FakeKube:
    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.reads: list[tuple[str, str, str]] = []
        self.writes = 0
        self._version = 0

    def _stamp(self, body: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        self.writes += 1
        body = copy.deepcopy(body)
        body["metadata"]["resourceVersion"] = str(self._version)
        return body

    async def get(
        self, resource: Resource, *, name: str, namespace: str | None = None
    ) -> dict[str, Any]:
        key = (resource.plural, namespace or "", name)
        self.reads.append(key)
        if key not in self.objects:
            raise NotFound(f"{key} is not there", status=404)
        return copy.deepcopy(self.objects[key])

    async def create(
        self, resource: Resource, body: dict[str, Any], *, namespace: str | None = None
    ) -> dict[str, Any]:
        key = (resource.plural, namespace or "", body["metadata"]["name"])
        if key in self.objects:
            raise AlreadyExists(f"{key} is there", status=409)
        self.objects[key] = self._stamp(body)
        return copy.deepcopy(self.objects[key])

    async def replace(
        self, resource: Resource, body: dict[str, Any], *, subresource: str = ""
    ) -> dict[str, Any]:
        metadata = body["metadata"]
        key = (resource.plural, metadata["namespace"], metadata["name"])
        if key not in self.objects:
            raise NotFound(f"{key} is not there", status=404)
        if self.objects[key]["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise Conflict("it was changed")
        self.objects[key] = self._stamp(body)
        return copy.deepcopy(self.objects[key])
