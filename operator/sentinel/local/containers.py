"""The containers of a run: the box, which starts with boxkit, and its services in the box's network.

Files come in through a container that is never started and has the same volumes, writable: in the box they are
read-only, as in a pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from docker import errors
from docker.types import Mount

from sentinel.api.build import PodContainer
from sentinel.api.reasons import Reason
from sentinel.config.findings import visible
from sentinel.errors import InfrastructureError, UserError
from sentinel.layout import (
    BASE_PATH,
    BOXKIT,
    FETCHED_CACHE,
    KIT_DIR,
    PIPELINE_DIR,
    REPORT_DIR,
    SESSION_DIR,
    WERCKER_DIR,
)
from sentinel.local.docker import Docker
from sentinel.local.files import packed
from sentinel.local.leftovers import LABEL
from sentinel.plan.links import ADDRESS
from sentinel.plan.model import Plan, PlanService
from sentinel.plan.names import is_dns_name
from sentinel.plan.users import is_root


@dataclass(kw_only=True)
class Containers:
    """The containers of one run. `network` is Docker's network mode of the box, "" for the engine's default."""

    docker: Docker
    plan: Plan
    run: str
    network: str = ""
    box: str = field(init=False, default="")
    services: dict[str, str] = field(init=False, default_factory=dict)

    async def start(
        self,
        *,
        root: Path,
        names: Iterable[str],
        archives: Mapping[str, Path],
        boxkit: Path,
        cache: Path | None,
    ) -> None:
        """Create everything, copy the files in, start the box and then its services.

        Raises UserError, InfrastructureError.
        """
        filler, self.box = await asyncio.gather(self._create_filler(), self._create_box())
        await self.docker.do(
            self._fill, filler, root=root, names=names, archives=archives, boxkit=boxkit
        )
        if cache is not None:
            await self.docker.do(self._restore, filler, cache)
        await self._start(self.box, "box")
        await asyncio.gather(*(self._start_service(each) for each in self.plan.services))

    def _fill(self, filler: str, **what: Any) -> None:
        # A user that is not root writes to the session too; a pod's volumes are for everybody.
        writable = [SESSION_DIR, *self._writable()]
        try:
            with packed(self.plan, writable=writable, **what) as tar:
                self.docker.api.put_archive(filler, "/", tar)
        except requests.RequestException:
            raise
        except OSError as error:
            raise UserError(
                f"the project's files cannot be read: {visible(str(error))}",
                reason=Reason.SOURCE_NOT_FOUND,
            ) from error

    def _restore(self, filler: str, cache: Path) -> None:
        """Put a cache that was kept where the box looks for it. There may be none."""
        with suppress(FileNotFoundError), cache.open("rb") as tar:
            self.docker.api.put_archive(filler, str(Path(FETCHED_CACHE).parent), tar)

    async def _create_filler(self) -> str:
        mounts = [
            self._mount("wercker", WERCKER_DIR),
            self._mount("kit", KIT_DIR),
            self._mount("session", SESSION_DIR),
            *self._user_volumes(),
        ]
        return await self._create(
            "files",
            image=self.plan.box.reference,
            entrypoint=[BOXKIT],
            host_config=self.docker.api.create_host_config(mounts=mounts, network_mode="none"),
        )

    async def _create_box(self) -> str:
        mounts = [
            self._mount("wercker", WERCKER_DIR, read_only=True),
            self._mount("kit", KIT_DIR, read_only=True),
            self._mount("session", SESSION_DIR),
            *self._user_volumes(),
        ]
        aliases = [each.alias for each in self.plan.services if is_dns_name(each.alias)]
        options: dict[str, Any] = {"network_mode": self.network} if self.network else {}
        host = self.docker.api.create_host_config(
            mounts=mounts, extra_hosts=dict.fromkeys(aliases, ADDRESS), **options
        )
        return await self._create(
            "box",
            image=self.plan.box.reference,
            # Where the image has no entrypoint the box gets none: a commit could not take it away again.
            **{"entrypoint" if self.plan.box.entrypoint else "command": [BOXKIT, "init"]},
            user=self.plan.user or None,
            host_config=host,
        )

    async def _start_service(self, service: PlanService) -> None:
        host = self.docker.api.create_host_config(network_mode=f"container:{self.box}")
        name = await self._create(
            service.container,
            image=service.image.reference,
            entrypoint=list(service.entrypoint) or None,
            command=list(service.cmd) or None,
            environment=dict(service.env),
            user=service.user or None,
            host_config=host,
        )
        self.services[service.alias] = name
        await self._start(name, f"service {service.alias}")

    def _writable(self) -> list[str]:
        """What a box that is not root's could not make."""
        if is_root(self.plan.box_user(PodContainer())):
            return []
        places = [PIPELINE_DIR, REPORT_DIR]
        base = self.plan.base_path
        return (
            places if base.startswith(f"{PIPELINE_DIR}/") or base == BASE_PATH else [*places, base]
        )

    def _user_volumes(self) -> list[Mount]:
        return [self._mount(f"user{at}", path) for at, path in enumerate(self._writable())]

    def _mount(self, name: str, target: str, *, read_only: bool = False) -> Mount:
        return Mount(
            target=target,
            source=f"{self._named(name)}",
            type="volume",
            read_only=read_only,
            no_copy=True,
            labels={LABEL: self.run},
        )

    def _named(self, what: str) -> str:
        return f"sentinel-run-{self.run[:8]}-{what}"

    async def _create(self, what: str, **options: Any) -> str:
        try:
            made = await self.docker.do(
                self.docker.api.create_container,
                name=self._named(what),
                labels={LABEL: self.run},
                **options,
            )
        except errors.APIError as error:
            raise _refused(what, error) from error
        return str(made["Id"])

    async def _start(self, container: str, what: str) -> None:
        try:
            await self.docker.do(self.docker.api.start, container)
        except errors.APIError as error:
            raise _refused(what, error) from error


def _refused(what: str, error: errors.APIError) -> UserError | InfrastructureError:
    text = f"{what}: {visible(str(error.explanation or error))}"
    if "exec format error" in text:
        return UserError(text, reason=Reason.ARCHITECTURE_MISMATCH)
    return InfrastructureError(text, reason=Reason.CONTAINER_CREATE_FAILED)
