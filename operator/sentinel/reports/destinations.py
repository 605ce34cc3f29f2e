"""Where a Build is reported to: the receivers of the settings, and those that the Secret of its namespace names."""

from __future__ import annotations

import base64
import binascii
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from sentinel.api.model import findings
from sentinel.clock import Clock
from sentinel.kube.client import Kube
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import SECRETS
from sentinel.reports.cloudevents import cloudevents_post
from sentinel.reports.commitstatus import commitstatus_post, host_for, repository_of
from sentinel.reports.event import Event, Origin
from sentinel.reports.post import Post
from sentinel.reports.sequence import Reported
from sentinel.reports.wercker import wercker_post
from sentinel.settings.reports import (
    CloudEventsSettings,
    CommitStatusHost,
    ReportSettings,
    WerckerAPISettings,
)

log = logging.getLogger(__name__)

SECRET = "sentinel-reports"  # noqa: S105 - its name
"""The Secret in a Build's namespace. The reporter may read no other."""

SECRET_SECONDS = 30.0
"""How long what it says counts."""
MOST_SECRETS = 1024

MakePost = Callable[[Event, Origin, bytes | None], Post | None]


@dataclass(frozen=True, kw_only=True)
class Destination:
    """One receiver of a Build's reports.

    `kind` is its name in the cursors; `lane` the queue of all that go to this receiver; `label` is for messages.
    `ours`: an administrator named it. `secret`: requests hold a token. `logs`: it takes the chunks of logs.
    """

    kind: str
    lane: str
    label: str
    ours: bool
    secret: bool
    logs: bool
    make: MakePost


@dataclass(frozen=True, kw_only=True)
class _Receivers:
    """Settings and tokens of one owner: the release, or a namespace. `place` ends kinds and lanes."""

    wercker_api: WerckerAPISettings
    cloud_events: CloudEventsSettings
    commit_statuses: list[CommitStatusHost]
    token: Callable[[str], str]
    ours: bool
    place: str = ""


class Misconfigured(Exception):
    """A namespace's Secret that cannot be used. The message is for its owner, and holds no value of it."""


class Destinations:
    """Finds a Build's receivers. Reads tokens and Secrets again each time, so both can be changed while builds run."""

    def __init__(self, settings: ReportSettings, *, kube: Kube, clock: Clock) -> None:
        self._settings = settings
        self._kube = kube
        self._clock = clock
        self._secrets: OrderedDict[str, tuple[float, Mapping[str, str] | None]] = OrderedDict()

    def kinds(self) -> list[str]:
        """The kinds of receivers that there may be."""
        settings = self._settings
        kinds = [
            "wercker" if settings.wercker_api.url else "",
            "events" if settings.cloud_events.url else "",
            "commits" if settings.commit_statuses else "",
        ]
        if settings.namespace_secrets:
            kinds += ["wercker-ns", "events-ns", "commits-ns"]
        return [kind for kind in kinds if kind]

    async def find(self, seen: Reported) -> list[Destination]:
        """The receivers of this Build. Raises Misconfigured, and what reading the Secret raises."""
        found = list(self._of(self._release(), seen))
        if self._settings.namespace_secrets:
            data = await self._secret(seen.build.namespace)
            if data is not None:
                found += self._of(_from_secret(data), seen)
        return found

    def ours(self, seen: Reported) -> list[Destination]:
        """Those of the settings alone."""
        return list(self._of(self._release(), seen))

    def _release(self) -> _Receivers:
        settings = self._settings
        return _Receivers(
            wercker_api=settings.wercker_api,
            cloud_events=settings.cloud_events,
            commit_statuses=settings.commit_statuses,
            token=self._token,
            ours=True,
        )

    def _token(self, key: str) -> str:
        try:
            return (Path(self._settings.tokens) / key).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    async def _secret(self, namespace: str) -> Mapping[str, str] | None:
        now = self._clock.monotonic()
        known = self._secrets.get(namespace)
        if known is not None and now - known[0] < SECRET_SECONDS:
            return known[1]
        try:
            raw = await self._kube.get(SECRETS, namespace=namespace, name=SECRET)
            data: Mapping[str, str] | None = _decoded(raw.get("data") or {})
        except NotFound:
            data = None
        self._secrets[namespace] = now, data
        self._secrets.move_to_end(namespace)
        if len(self._secrets) > MOST_SECRETS:
            self._secrets.popitem(last=False)
        return data

    def _of(self, receivers: _Receivers, seen: Reported) -> Iterator[Destination]:
        ending = "" if receivers.ours else "-ns"
        place = "" if receivers.ours else f" of namespace {seen.build.namespace}"
        wercker, events = receivers.wercker_api, receivers.cloud_events
        if wercker.url:
            token = receivers.token("werckerAPI")
            yield Destination(
                kind=f"wercker{ending}",
                lane=f"wercker-api{place}",
                label=f"wercker-api at {_host(wercker.url)}",
                ours=receivers.ours,
                secret=bool(token),
                logs=True,
                make=lambda event, origin, chunk: wercker_post(
                    event,
                    origin,
                    url=wercker.url,
                    token=token,
                    extended=wercker.extended,
                    log=chunk,
                ),
            )
        if events.url:
            bearer = receivers.token("cloudEvents")
            yield Destination(
                kind=f"events{ending}",
                lane=f"CloudEvents{place}",
                label=f"CloudEvents at {_host(events.url)}",
                ours=receivers.ours,
                secret=bool(bearer),
                logs=False,
                make=lambda event, origin, _: cloudevents_post(
                    event, origin, url=events.url, token=bearer, mode=events.mode
                ),
            )
        if (status := self._commit_status(receivers, seen, f"commits{ending}", place)) is not None:
            yield status

    def _commit_status(
        self, receivers: _Receivers, seen: Reported, kind: str, place: str
    ) -> Destination | None:
        git, source = seen.build.spec.source.git, seen.build.status.source
        # A deploy without a source of its own has its parent's: the operator writes where that is.
        url = git.url if git is not None else source.url if source is not None else ""
        repository = repository_of(url) if url else None
        if repository is None:
            return None
        host = host_for(repository, receivers.commit_statuses, namespace=seen.build.namespace)
        if host is None:
            return None
        token = receivers.token(host.key)
        return Destination(
            kind=kind,
            lane=f"commit statuses at {host.host}{place}",
            label=f"commit statuses at {host.host}",
            ours=receivers.ours,
            secret=bool(token),
            logs=False,
            make=lambda event, origin, _: commitstatus_post(
                event,
                origin,
                host=host,
                repository=repository,
                commit=source.commit if source is not None else "",
                token=token,
            ),
        )


def _from_secret(data: Mapping[str, str]) -> _Receivers:
    """The receivers that a namespace's Secret names. Raises Misconfigured."""
    try:
        statuses = []
        if data.get("commitStatus.host"):
            statuses.append(
                CommitStatusHost(
                    host=data["commitStatus.host"],
                    kind=data.get("commitStatus.kind", ""),
                    api=data.get("commitStatus.api", ""),
                    context=data.get("commitStatus.context") or "wercker/{pipeline}",
                    repositories=["*"],
                    token_key="commitStatus",  # noqa: S106 - a key
                )
            )
        return _Receivers(
            wercker_api=WerckerAPISettings(url=data.get("werckerAPI.url", "")),
            cloud_events=CloudEventsSettings(
                url=data.get("cloudEvents.url", ""),
                mode=data.get("cloudEvents.mode") or "binary",
            ),
            commit_statuses=statuses,
            token=lambda key: data.get(f"{key}.token", ""),
            ours=False,
        )
    except ValidationError as error:
        raise Misconfigured(f"Secret {SECRET} cannot be used: {findings(error)}") from None


def _decoded(data: Mapping[str, str]) -> Mapping[str, str]:
    texts = {}
    for key, value in data.items():
        try:
            texts[key] = base64.b64decode(value).decode().strip()
        except (binascii.Error, UnicodeDecodeError):
            log.debug("a value of a Secret %s is no text", SECRET)
    return texts


def _host(url: str) -> str:
    return urlsplit(url).hostname or url
