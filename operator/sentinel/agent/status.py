"""Writing an ImageCommit's status: each write on top of what we read, and only while the commit is ours.

Not here: what is written.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from sentinel.api.imagecommit import (
    ACTIVE_LABEL,
    Claim,
    CommitPhase,
    ImageCommit,
    ImageCommitStatus,
)
from sentinel.backoff import Backoff
from sentinel.clock import Clock, rfc3339
from sentinel.errors import GoneError
from sentinel.kube.client import Kube
from sentinel.kube.errors import ApiError, Conflict, Forbidden, NotFound
from sentinel.kube.resources import IMAGE_COMMITS
from sentinel.retry import retry

log = logging.getLogger(__name__)

_BACKOFF = Backoff(first=0.4, longest=5.0, tries=30)
_MESSAGE = 1024


class CommitStatus:
    """The status of one commit, worked on by one process: `agent_pod` in its run `boot_id`."""

    def __init__(
        self, raw: dict[str, Any], *, kube: Kube, clock: Clock, agent_pod: str, boot_id: str
    ) -> None:
        self._commit = ImageCommit.model_validate(raw)
        self._version = str(raw["metadata"]["resourceVersion"])
        self._kube = kube
        self._clock = clock
        self._agent_pod = agent_pod
        self._boot_id = boot_id
        self._claiming: Claim | None = None

    @property
    def commit(self) -> ImageCommit:
        """The commit as read last."""
        return self._commit

    @property
    def attempts(self) -> int:
        """How often an agent began it."""
        return self._commit.status.claim.attempt if self._commit.status.claim else 0

    async def claim(self) -> None:
        """Claim it for this run of the agent. The time of the first claim stays: the timeout counts from it.

        Raises GoneError when it was deleted, or when another agent has just claimed it.
        """
        claim = Claim(agent_pod=self._agent_pod, boot_id=self._boot_id, attempt=self.attempts + 1)
        self._claiming = claim
        await self.write(
            ImageCommitStatus(
                phase=CommitPhase.CLAIMED,
                claim=claim,
                message="",
                start_time=self._commit.status.start_time or rfc3339(self._clock.now()),
            )
        )

    async def end(self, status: ImageCommitStatus) -> None:
        """Write how it ended, and take it out of the agents' watch."""
        await self.write(
            status.model_copy(
                update={
                    "message": status.message[:_MESSAGE],
                    "completion_time": rfc3339(self._clock.now()),
                }
            )
        )
        await self.retire()

    async def retire(self) -> None:
        """Take an ended commit out of the agents' watch. A failure costs nothing but a look at every start."""
        commit = self._commit
        if commit.metadata.get("labels", {}).get(ACTIVE_LABEL) == "false":
            return
        try:
            await self._kube.patch(
                IMAGE_COMMITS,
                namespace=commit.namespace,
                name=commit.name,
                body={"metadata": {"labels": {ACTIVE_LABEL: "false"}}},
            )
        except NotFound:
            return
        except ApiError as error:
            log.warning("ImageCommit %s/%s stays active: %s", commit.namespace, commit.name, error)

    async def write(self, status: ImageCommitStatus) -> None:
        """Merge the fields that are set into the status. Retries while the API server is unavailable.

        Raises GoneError, ApiError.
        """
        fields = status.model_dump(by_alias=True, exclude_unset=True, mode="json")
        await retry(
            partial(self._patch, fields),
            clock=self._clock,
            backoff=_BACKOFF,
            what="writing a commit's status",
            unless=(Conflict, Forbidden),
        )

    async def _patch(self, fields: dict[str, Any]) -> None:
        for _ in range(_BACKOFF.tries):
            try:
                raw = await self._kube.patch(
                    IMAGE_COMMITS,
                    namespace=self._commit.namespace,
                    name=self._commit.name,
                    body={"metadata": {"resourceVersion": self._version}, "status": fields},
                    subresource="status",
                )
            except NotFound as error:
                raise GoneError(error.message) from error
            except Conflict:
                raw = await self._read_again()
            else:
                self._take(raw)
                return
            self._take(raw)
        raise GoneError(f"ImageCommit {self._commit.name} was changed on every try to write it")

    async def _read_again(self) -> dict[str, Any]:
        """The object after another writer changed it. Raises GoneError when it is not ours any more."""
        before = self._commit.status.claim
        try:
            raw = await self._kube.get(
                IMAGE_COMMITS, namespace=self._commit.namespace, name=self._commit.name
            )
        except NotFound as error:
            raise GoneError(error.message) from error
        now = ImageCommit.model_validate(raw)
        # Our own claim may be there already, where the answer to the request that wrote it was lost.
        if now.uid != self._commit.uid or now.status.claim not in (
            before,
            self._claiming or before,
        ):
            raise GoneError(f"ImageCommit {now.name} was claimed by another agent")
        return raw

    def _take(self, raw: dict[str, Any]) -> None:
        self._commit = ImageCommit.model_validate(raw)
        self._version = str(raw["metadata"]["resourceVersion"])
