from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.unit.fakeapi import FakeApi, Json

from sentinel.cli import main
from sentinel.kube.client import Kube
from sentinel.kube.errors import ApiError, NotFound
from sentinel.kube.resources import RESULTS, Resource

Sentinel = Callable[..., Result]


class Cluster(FakeApi):
    """An API server in memory as a kubeconfig with the namespace `team` leads to; `logs` by name of the pod."""

    def __init__(self) -> None:
        super().__init__(builds=[], events=[])
        self.namespace = "team"
        self.output: dict[str, bytes] = {}
        self.results: dict[str, bytes] | None = None
        """What the results API has: logs by the id of their step, and `output`. None: there is no such API."""
        self.downloads: list[tuple[str, tuple[int, int | None]]] = []
        self.script: list[Callable[[], Any]] = []
        """What happens before each of the next reads of an object."""

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def get(self, *args: Any, **words: Any) -> Json:
        if self.script:
            self.script.pop(0)()
        return await super().get(*args, **words)

    async def logs(self, *, namespace: str, pod: str, container: str, tail_lines: int) -> bytes:
        assert (namespace, container) == ("team", "box")
        if pod not in self.output:
            raise NotFound(f"no pod {pod}")
        return b"".join(self.output[pod].splitlines(keepends=True)[-tail_lines:])

    async def follow(self, *, namespace: str, pod: str, container: str) -> AsyncIterator[bytes]:
        self._answer("follow", pod)
        assert (namespace, container) == ("team", "box")
        data = self.output[pod]
        for at in range(0, len(data), 7):
            yield data[at : at + 7]

    async def download(
        self,
        resource: Resource,
        *,
        name: str,
        namespace: str,
        subresource: str,
        query: Mapping[str, str],
        span: tuple[int, int | None],
    ) -> AsyncIterator[bytes]:
        assert (resource, namespace) == (RESULTS, "team")
        self._answer("download", name)
        if self.results is None:
            raise NotFound("404 page not found", status=404)
        what = query.get("step", subresource)
        self.downloads.append((what, span))
        if what not in self.results:
            raise NotFound(f"no log of {what}", status=404, code="NotFound")
        data = self.results[what]
        if span[0] and span[0] >= len(data):
            raise ApiError("no such range", status=416)
        if lines := int(query.get("tailLines", 0)):
            data = b"".join(data.splitlines(keepends=True)[-lines:])
        for at in range(span[0], len(data) if span[1] is None else min(len(data), span[1]), 1000):
            yield data[at : min(at + 1000, span[1] or len(data))]

    async def exec(self, *, pod: str, **_: Any) -> Any:
        self._answer("exec", pod)
        raise NotFound(f"no pod {pod}")

    def build(self, name: str = "hello", **fields: Any) -> Json:
        """A new Build in the cluster; `fields` are its spec, status and more metadata."""
        raw = {
            "apiVersion": "sentinel.wercker.com/v1alpha1",
            "kind": "Build",
            "metadata": {
                "name": name,
                "namespace": "team",
                "uid": f"uid-of-{name}",
                "creationTimestamp": "2026-11-28T10:00:00Z",
                **fields.get("metadata", {}),
            },
            "spec": fields.get("spec", {"source": {"git": {"url": "https://x/y.git"}}}),
            "status": fields.get("status", {}),
        }
        self.add("builds", raw)
        return raw


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()

    async def connect(*, user_agent: str) -> Cluster:
        assert user_agent.startswith("sentinel-")
        return made

    monkeypatch.setattr(Kube, "connect", connect)
    for name in ("BUCKET", "ENDPOINT"):
        monkeypatch.delenv(f"SENTINEL_STORE__{name}", raising=False)
    return made


@pytest.fixture
def sentinel() -> Sentinel:
    """`sentinel WORDS…`, with standard output and error apart in the result."""

    def call(*words: str) -> Result:
        return CliRunner().invoke(main, words)

    return call


def ended(phase: str, reason: str, message: str = "", **more: Any) -> Json:
    """The status of a finished build."""
    result = "True" if phase == "Succeeded" else "False"
    return {
        "phase": phase,
        "startTime": "2026-11-28T10:00:01Z",
        "completionTime": "2026-11-28T10:00:43Z",
        "conditions": [
            {"type": "Accepted", "status": "True", "reason": "Valid"},
            {"type": "Succeeded", "status": result, "reason": reason, "message": message},
            {"type": "Finished", "status": "True", "reason": "Completed"},
        ],
        **more,
    }
