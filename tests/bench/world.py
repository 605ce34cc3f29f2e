"""What every benchmark uses: the lab with Sentinel in it, Builds made and watched by the API, and floor pods."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from sentinel.errors import NotYet
from sentinel.kube.client import Kube
from sentinel.kube.errors import Expired, NotFound
from sentinel.kube.resources import BUILDS, NAMESPACES, PODS
from sentinel.plan.names import AttemptId
from sentinel.session.client import Session
from sentinel.session.records import AnyRecord
from sentinel.session.stream import ByteStream
from tests.lab import git
from tests.lab.state import Lab

BOXKIT = ["/run/sentinel/kit/boxkit", "attach"]


@dataclass(frozen=True)
class World:
    """A namespace of the benchmark's own."""

    lab: Lab
    kube: Kube
    namespace: str

    def project(self, codes: list[str], *, more: str = "") -> str:
        """Publish a project whose build has these script steps, named s0, s1, …, and then `more` of them; its url."""
        lines = [f"box: {self.lab.registry}/box/debian:12", "build:", "  steps:"]
        lines += [
            f"    - script: {{name: s{n}, code: {json.dumps(c)}}}" for n, c in enumerate(codes)
        ]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "wercker.yml").write_text("\n".join(lines) + "\n" + more)
            return git.publish(self.lab, Path(folder), f"bench-{uuid.uuid4().hex[:8]}")

    async def build(self, url: str, *, commit: str = "never", **spec: Any) -> Made:
        """Create a Build; other fields of its spec as given."""
        body = {
            "apiVersion": BUILDS.api_version,
            "kind": "Build",
            "metadata": {"name": f"b-{uuid.uuid4().hex[:8]}", "namespace": self.namespace},
            "spec": {"source": {"git": {"url": url}}, "image": {"commit": commit}, **spec},
        }
        created = time.time_ns()
        raw = await self.kube.create(BUILDS, body, namespace=self.namespace)
        return Made(world=self, raw=raw, created_ns=created)

    async def floor(self, template: dict[str, Any], *, fetch: bool) -> float:
        """Seconds from a bare pod's creation until its box process starts; `fetch` false: `true` as init command."""
        pod = bare(template, fetch=fetch)
        pod["metadata"]["name"] = f"floor-{uuid.uuid4().hex[:8]}"
        created = time.time_ns()
        await self.kube.create(PODS, pod, namespace=self.namespace)
        name = pod["metadata"]["name"]
        try:
            await self.until_pod(name, lambda raw: raw["status"].get("phase") == "Succeeded")
            log = await self.kube.logs(namespace=self.namespace, pod=name, container="box")
        finally:
            await self.kube.delete(PODS, namespace=self.namespace, name=name, grace_seconds=0)
        return (int(log.split()[0]) - created) / 1e9

    async def template(self, url: str, **spec: Any) -> dict[str, Any]:
        """The pod of a build of that project, which floors are made of: the build runs to its end for it."""
        made = await self.build(url, **spec)
        template = await self.until_pod(made.pod, lambda raw: bool(raw["spec"].get("nodeName")))
        await made.finished()
        return template

    async def until_pod(self, name: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The pod once `holds`."""
        async with asyncio.timeout(120):
            while True:
                try:
                    raw = await self.kube.get(PODS, namespace=self.namespace, name=name)
                    if holds(raw):
                        return raw
                except NotFound:
                    pass
                await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Made:
    """A Build that was created at `created_ns` (Unix time)."""

    world: World
    raw: dict[str, Any]
    created_ns: int

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def pod(self) -> str:
        return AttemptId("", self.name, self.raw["metadata"]["uid"], 1).pod

    async def records(self, *, seconds: float = 180) -> list[AnyRecord]:
        """The whole journal, heard by an attach of our own beside the operator's."""
        heard: list[AnyRecord] = []
        async with Session(self._connect, on_record=heard.append) as session:
            async with asyncio.timeout(seconds):
                await session.wait_for(lambda state: state.closed is not None)
        return heard

    def log(self, raw: dict[str, Any], step: int = 0) -> str:
        """The log of a step, counted from 0, from the store. `raw` is the finished Build."""
        prefix, name = raw["status"]["results"]["prefix"], raw["status"]["steps"][step]["id"]
        lab = self.world.lab
        client = boto3.client(
            "s3",
            endpoint_url=lab.s3_endpoint,
            aws_access_key_id=lab.s3_access_key,
            aws_secret_access_key=lab.s3_secret_key,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )
        answer = client.get_object(Bucket=lab.s3_bucket, Key=f"{prefix}step/{name}/log.txt")
        text: str = answer["Body"].read().decode()
        return text

    def _connect(self) -> Awaitable[ByteStream]:
        async def connect() -> ByteStream:
            kube, namespace = self.world.kube, self.world.namespace
            try:
                return await kube.exec(
                    namespace=namespace, pod=self.pod, container="box", command=BOXKIT
                )
            except NotFound as e:
                raise NotYet(e.message) from e

        return connect()

    async def finished(self) -> tuple[dict[str, Any], float]:
        """The Build when it says Finished, and the seconds since its creation."""
        raw = await self.until(is_finished)
        return raw, (time.time_ns() - self.created_ns) / 1e9

    async def running(self, step: str) -> dict[str, Any]:
        """The Build once its status says that this step runs."""
        return await self.until(lambda raw: raw.get("status", {}).get("currentStep") == step)

    async def until(
        self, holds: Callable[[dict[str, Any]], bool], *, after: str = "", seconds: float = 180
    ) -> dict[str, Any]:
        """The Build at the first state for which `holds`, other than that of resourceVersion `after`.

        Raises TimeoutError with its last status.
        """
        last = self.raw
        try:
            async with asyncio.timeout(seconds):
                while True:
                    async for raw in self._states():
                        last = raw
                        if raw["metadata"]["resourceVersion"] != after and holds(raw):
                            return raw
        except TimeoutError as e:
            status = json.dumps(last.get("status"))
            raise TimeoutError(f"{self.name} did not get there in {seconds:.0f} s: {status}") from e

    async def _states(self) -> AsyncIterator[dict[str, Any]]:
        """The Build now, and at each change, until the watch ends."""
        kube, namespace = self.world.kube, self.world.namespace
        now = await kube.get(BUILDS, namespace=namespace, name=self.name)
        yield now
        with suppress(Expired):
            async for kind, raw in kube.watch(
                BUILDS,
                namespace=namespace,
                fields=f"metadata.name={self.name}",
                resource_version=now["metadata"]["resourceVersion"],
            ):
                if kind != "BOOKMARK":
                    yield raw

    async def version(self) -> str:
        """The Build's resourceVersion now."""
        namespace = self.world.namespace
        raw = await self.world.kube.get(BUILDS, namespace=namespace, name=self.name)
        return str(raw["metadata"]["resourceVersion"])

    async def cancel(self) -> int:
        """Set spec.cancel; the Unix time in nanoseconds just before."""
        asked = time.time_ns()
        await self.world.kube.patch(
            BUILDS,
            namespace=self.world.namespace,
            name=self.name,
            body={"spec": {"cancel": True}},
        )
        return asked


def is_finished(raw: dict[str, Any]) -> bool:
    """Whether a Build has ended."""
    conditions = raw.get("status", {}).get("conditions", [])
    return any(c["type"] == "Finished" and c["status"] == "True" for c in conditions)


def bare(template: dict[str, Any], *, fetch: bool) -> dict[str, Any]:
    """The floor: a build's pod with a box that says when it starts, and ends."""
    spec = json.loads(json.dumps(template["spec"]))
    for key in ("nodeName", "serviceAccount", "serviceAccountName", "tolerations", "priority"):
        spec.pop(key, None)
    box = next(each for each in spec["containers"] if each["name"] == "box")
    box["command"] = ["date", "+%s%N"]
    if not fetch:
        spec["initContainers"][0]["command"] = ["true"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": spec}


@asynccontextmanager
async def world(lab: Lab) -> AsyncIterator[World]:
    """A fresh namespace, deleted at the end."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    async with await Kube.connect(user_agent="sentinel-bench", kubeconfig=lab.kubeconfig) as kube:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await kube.create(NAMESPACES, body)
        try:
            yield World(lab, kube, namespace)
        finally:
            await kube.delete(NAMESPACES, name=namespace)
