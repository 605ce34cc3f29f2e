"""Docker Engine, as a kubelet uses it through cri-dockerd: its own image store, storage driver overlay2.

Docker's part is small: it finds the container, pauses it, and says where its files are. `docker commit` would copy the
changes once more and write the container's variables into the image, so the layer is read from the upper directory and
pushed by the agent, as with containerd. The engine keeps neither manifests nor packed layers: both come from the
registry of the box's image.

Not here: the order of pausing and noting (`freezing.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import docker
from docker.errors import DockerException, NotFound
from requests.exceptions import RequestException

from sentinel.agent.failures import CommitFailure, RuntimeFailure
from sentinel.agent.runtimes import freezing
from sentinel.agent.runtimes.base import Box, Freeze, Identity, check_labels, reached
from sentinel.agent.runtimes.freezing import COMMIT_LABEL, Note, State
from sentinel.api.reasons import CommitReason
from sentinel.clock import Clock
from sentinel.image.reference import Reference

log = logging.getLogger(__name__)

T = TypeVar("T")
Json = dict[str, Any]

SCHEME = "docker://"
_DRIVER = "overlay2"
_ENGINE_SECONDS = 60
"""How long one request to the engine may take. Pausing waits for the kernel to freeze every process."""

_OWN_MOUNTS = (
    "/proc",
    "/sys",
    "/dev",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
)
"""What the engine mounts into every container without listing it."""


class DockerRuntime:
    """The Runtime of `base.py` over Docker Engine's socket.

    `root` is put before the socket's and the files' paths: "" on a node, another process's root in tests. `state` is
    the engine's data root, as the engine names it; of it only the directory `overlay2` is read. `instance` is our
    installation's name.

    One thread makes all requests, so that they reach the engine in order: a box whose pausing was cancelled is not
    looked at before the engine has answered that.
    """

    def __init__(
        self, *, socket: str, state: str, root: str = "", instance: str = "", clock: Clock
    ) -> None:
        self._url = f"unix://{root}{socket}"
        self._state = Path(state)
        self._root = root
        self._instance = instance
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="docker")
        self._client: docker.APIClient | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._ask(lambda api: api.close(), doing="closing the connections")
        self._thread.shutdown(wait=False)

    async def version(self) -> str:
        """Name and version. Raises CommitFailure where boxes of this engine cannot be committed."""
        info = await self._ask(lambda api: api.info(), doing="asking Docker Engine for its version")
        if info.get("Driver") != _DRIVER:
            raise _unsupported_driver(info.get("Driver"))
        if info.get("DockerRootDir") != str(self._state):
            raise CommitFailure(
                CommitReason.UNSUPPORTED,
                f"Docker Engine keeps its data at {info.get('DockerRootDir')}, not at {self._state}: set "
                "agent.docker.rootDir in the chart. With userns-remap boxes cannot be committed",
            )
        return f"Docker Engine {info.get('ServerVersion')}"

    async def locate(self, who: Identity) -> Box:
        """The container, its labels and base image checked (images.md)."""
        if not who.container_id.startswith(SCHEME):
            raise CommitFailure(
                CommitReason.UNSUPPORTED,
                f"container {who.container_id!r} is not Docker Engine's, and this node's agent commits from Docker "
                "Engine. Remove the label that the chart's values.yaml describes at agent.docker from this node",
            )
        key = who.container_id.removeprefix(SCHEME)
        container = await self._ask(
            lambda api: api.inspect_container(key),
            doing="reading the container",
            missing=lambda: CommitFailure(
                CommitReason.POD_GONE, f"Docker Engine has no container {who.container_id} any more"
            ),
        )
        labels = container["Config"].get("Labels") or {}
        check_labels(labels, who, kind=("io.kubernetes.docker.type", "container"))
        digest = str(container["Image"])
        image = await self._ask(
            lambda api: _inspect_image(api, digest),
            doing="reading the box's image",
            missing=lambda: CommitFailure(
                CommitReason.UNSUPPORTED,
                f"the image that the box was started from ({digest}) was removed from the node",
            ),
        )
        upper, lowers = self._directories(container, image)
        listed = [str(mount["Destination"]) for mount in container.get("Mounts") or ()]
        tmpfs = container["HostConfig"].get("Tmpfs") or {}
        return Box(
            id=str(container["Id"]),
            image=digest,
            platform=(str(image.get("Os") or "linux"), str(image.get("Architecture") or "amd64")),
            upper=upper,
            lowers=lowers,
            mounts=frozenset({*listed, *tmpfs, *_OWN_MOUNTS}),
        )

    def frozen(self, box: Box, *, commit: str) -> AbstractAsyncContextManager[Freeze]:
        """Pause and resume the container, noted in a volume."""
        return freezing.frozen(
            self, box.id, commit=commit, instance=self._instance, clock=self._clock
        )

    async def has_blob(self, digest: str, *, base: Reference | None) -> bool:
        """No: the engine unpacks layers and does not keep them."""
        return False

    def read_blob(self, digest: str) -> AsyncIterator[bytes]:
        """Raises CommitFailure: Docker keeps no blobs."""
        raise CommitFailure(CommitReason.RUNTIME_ERROR, f"Docker Engine does not keep {digest}")

    async def recover(self) -> tuple[str, ...]:
        """Resume the containers named in our volumes, and remove the volumes."""
        return await freezing.recover(self, instance=self._instance, clock=self._clock)

    def _directories(self, container: Json, image: Json) -> tuple[Path, tuple[Path, ...]]:
        """Upper and lower directories, after checking that the container stands on this very image.

        Between the two the engine has a layer of its own with the places of its mounts, `<id>-init`.
        """
        driver = container.get("GraphDriver") or {}
        if driver.get("Name") != _DRIVER:
            raise _unsupported_driver(driver.get("Name"))
        data, below = driver.get("Data") or {}, (image.get("GraphDriver") or {}).get("Data") or {}
        lowers = _paths(data.get("LowerDir"))
        layers = [*_paths(below.get("UpperDir")), *_paths(below.get("LowerDir"))]
        if lowers[1:] != layers or not lowers or not Path(lowers[0]).parent.name.endswith("-init"):
            raise CommitFailure(
                CommitReason.UNSUPPORTED,
                "the box's file system does not stand on the layers of its image: a wrong image would be made",
            )
        return self._reach(str(data.get("UpperDir"))), tuple(map(self._reach, lowers))

    def _reach(self, path: str) -> Path:
        return reached(
            path, state=self._state / _DRIVER, root=self._root, setting="agent.docker.rootDir"
        )

    async def state(self, container: str) -> State:
        """The container's state."""
        try:
            found = await self._ask(
                lambda api: api.inspect_container(container),
                doing="asking for the box's state",
                missing=LookupError,
            )
        except LookupError:
            return State.OTHER
        if found["State"].get("Paused"):
            return State.PAUSED
        return State.RUNNING if found["State"].get("Running") else State.OTHER

    async def pause(self, container: str) -> None:
        """Pause the container."""
        try:
            await self._ask(lambda api: api.pause(container), doing="pausing the box")
        except CommitFailure:
            if await self.state(container) is State.RUNNING:
                raise

    async def resume(self, container: str) -> None:
        """Resume the container."""
        await self._ask(lambda api: api.unpause(container), doing="resuming the box")

    async def note(self, note: Note) -> None:
        """Make an empty volume: the engine's only object that has labels and costs no more than a directory."""
        await self._ask(
            lambda api: api.create_volume(note.key, labels=note.labels),
            doing="noting that the box is paused",
        )

    async def forget(self, key: str) -> None:
        """Remove the volume."""
        try:
            await self._ask(
                lambda api: api.remove_volume(key),
                doing=f"removing volume {key}",
                missing=LookupError,
            )
        except LookupError:
            return
        except CommitFailure as error:
            log.warning("%s", error)

    async def notes(self) -> tuple[Note, ...]:
        """Our volumes."""
        answer = await self._ask(
            lambda api: api.volumes(filters={"label": COMMIT_LABEL}), doing="listing volumes"
        )
        return tuple(Note.of(each["Name"], each["Labels"]) for each in answer.get("Volumes") or ())

    async def _ask(
        self,
        request: Callable[[docker.APIClient], T],
        *,
        doing: str,
        missing: Callable[[], Exception] | None = None,
    ) -> T:
        """The answer to one request; `missing` makes the error for a 404. Raises RuntimeFailure."""

        def work() -> T:
            if self._client is None:
                if not Path(self._url.removeprefix("unix://")).is_socket():
                    raise DockerException(f"no socket at {self._url}")
                self._client = docker.APIClient(
                    base_url=self._url, version="auto", timeout=_ENGINE_SECONDS
                )
            return request(self._client)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except NotFound as error:
            raise (missing() if missing else _failure(doing, error)) from error
        except (DockerException, RequestException) as error:
            raise _failure(doing, error) from error


def _inspect_image(api: docker.APIClient, digest: str) -> Json:
    found: Json = api.inspect_image(digest)  # type: ignore[no-untyped-call]
    return found


def _paths(joined: str | None) -> list[str]:
    """The directories in a list of an overlay's."""
    return [path for path in (joined or "").split(":") if path]


def _unsupported_driver(name: object) -> CommitFailure:
    return CommitFailure(
        CommitReason.UNSUPPORTED,
        f"Docker Engine uses the storage driver {str(name)!r}; boxes can be committed from {_DRIVER} only. An engine "
        "whose driver is 'overlayfs' keeps its images in containerd: turn its feature containerd-snapshotter off",
    )


def _failure(doing: str, error: Exception) -> RuntimeFailure:
    return RuntimeFailure(f"{doing} failed: {str(error)[:300]}")
