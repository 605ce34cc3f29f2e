"""Docker Engine as far as the agent asks it, over a real unix socket: the requests are those of the `docker` package.

For what a real engine cannot be brought to do: another storage driver, a foreign file system, errors at any moment.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

ROOT = "/var/lib/docker"
IMAGE = "sha256:" + "5" * 64


def image_layers() -> dict[str, Any]:
    """The directories of an image of two layers."""
    layers = f"{ROOT}/overlay2"
    return {"UpperDir": f"{layers}/l2/diff", "LowerDir": f"{layers}/l1/diff", "WorkDir": ""}


def box_layers() -> dict[str, Any]:
    """The directories of a container on that image."""
    layers = f"{ROOT}/overlay2"
    lowers = f"{layers}/box-init/diff:{layers}/l2/diff:{layers}/l1/diff"
    return {"UpperDir": f"{layers}/box/diff", "LowerDir": lowers}


@dataclass
class FakeDocker:
    """State that a test arranges, and `calls` that it looks at.

    `failures` are statuses by call, used once each, `failing` those of calls that fail every time. Where `slow` is set
    pausing takes until `paused`, even where the client does not wait for it.
    """

    labels: dict[str, str] = field(default_factory=dict)
    driver: str = "overlay2"
    root: str = ROOT
    layers: dict[str, Any] = field(default_factory=box_layers)
    below: dict[str, Any] = field(default_factory=image_layers)
    mounts: list[str] = field(default_factory=list)
    tmpfs: dict[str, str] = field(default_factory=dict)
    status: str | None = "running"
    volumes: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    failing: dict[str, int] = field(default_factory=dict)
    slow: bool = False
    pausing: asyncio.Event = field(default_factory=asyncio.Event)
    paused: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[str] = field(default_factory=list)

    def answer(self, call: str, name: str, body: Any) -> Any:
        """What an engine answers. Raises LookupError for 404."""
        if call == "info":
            return {"Driver": self.driver, "DockerRootDir": self.root, "ServerVersion": "20.10.24"}
        if call == "inspect_container":
            if self.status is None:
                raise LookupError(f"No such container: {name}")
            return {
                "Id": name,
                "Image": IMAGE,
                "Config": {"Labels": self.labels},
                "HostConfig": {"Tmpfs": self.tmpfs},
                "Mounts": [{"Destination": path} for path in self.mounts],
                "GraphDriver": {"Name": self.driver, "Data": self.layers},
                "State": {
                    "Status": self.status,
                    "Running": self.status in ("running", "paused"),
                    "Paused": self.status == "paused",
                },
            }
        if call == "inspect_image":
            driver = {"Name": self.driver, "Data": self.below}
            return {"Id": IMAGE, "Os": "linux", "Architecture": "arm64", "GraphDriver": driver}
        if call in ("pause", "unpause"):
            self.status = "paused" if call == "pause" else "running"
        elif call == "create_volume":
            self.volumes.setdefault(body["Name"], body["Labels"])
            return {"Name": body["Name"]}
        elif call == "remove_volume":
            del self.volumes[name]
        elif call == "volumes":
            return {"Volumes": [{"Name": n, "Labels": ls} for n, ls in self.volumes.items()]}
        return None


CALLS = {
    ("GET", "/info"): "info",
    ("GET", "/containers/{name}/json"): "inspect_container",
    ("GET", "/images/{name}/json"): "inspect_image",
    ("POST", "/containers/{name}/pause"): "pause",
    ("POST", "/containers/{name}/unpause"): "unpause",
    ("POST", "/volumes/create"): "create_volume",
    ("DELETE", "/volumes/{name}"): "remove_volume",
    ("GET", "/volumes"): "volumes",
}


@asynccontextmanager
async def serving(fake: FakeDocker, socket: Path) -> AsyncIterator[None]:
    """Serve at a socket's path."""

    async def version(_: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41", "Version": "20.10.24"})

    app = web.Application()
    app.router.add_get("/version", version)
    for (method, path), call in CALLS.items():

        async def handle(request: web.Request, call: str = call) -> web.Response:
            fake.calls.append(call)
            status = fake.failures.pop(call, None) or fake.failing.get(call)
            if status is not None:
                return web.json_response({"message": "as the test wants it"}, status=status)
            body = json.loads(await request.text() or "null")
            if call == "pause" and fake.slow:
                fake.pausing.set()
                await fake.paused.wait()
            try:
                answer = fake.answer(call, request.match_info.get("name", ""), body)
            except LookupError as error:
                return web.json_response({"message": str(error)}, status=404)
            return web.json_response(answer) if answer is not None else web.Response(status=204)

        app.router.add_route(method, f"/v1.41{path}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield
    finally:
        await runner.cleanup()
