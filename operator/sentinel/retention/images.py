"""Images that builds pushed and nothing uses any more.

Only manifests that no tag but those of builds points at may go: `<uid>` of a Build, `<uid>-step<number>` of its box
after a step, and `<uid>-<attempt>-<name>-<hash>` of what its steps built. A digest is deleted with all its tags, so one
that `latest`, `green`, `red`, a branch or any other tag points at stays. So does what an existing Build's status names
or its steps built, its boxes after steps among them, and what a pod runs.

The tags are read first, then the Builds and pods (`Used`): an image whose Build is created meanwhile is not among the
candidates. Not here: which repositories, and the order of all that (`cli/prune.py`).
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from sentinel.clock import parse_rfc3339
from sentinel.errors import UserError
from sentinel.image import manifest as images
from sentinel.image.reference import Reference, parse_reference, parse_repository
from sentinel.kube.client import Kube
from sentinel.kube.resources import PODS
from sentinel.plan.names import BRANCH_LABEL
from sentinel.registry import RegistryClient
from sentinel.registry.pushing import Pushing, may_push
from sentinel.retention.builds import Referred
from sentinel.retention.found import Stale
from sentinel.settings import Settings
from sentinel.text import printable

IMAGE = "image"

MOST_TAGS = 10_000
"""Of one repository; one with more is left alone."""

AT_ONCE = 4
"""Requests to a registry at a time."""

_UID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_BUILD_TAG = re.compile(_UID)
_STEP_TAG = re.compile(rf"({_UID})-(?:step[0-9]+|[0-9]+(?:-[a-z0-9-]+)?-[0-9a-f]{{8}})")
_PINNED = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A manifest with tags of builds only, whose uids are `uids`.

    `parts` are the manifests of an index. `created` is None where it is not known: then the image stays, unless only
    steps tagged it (`of_steps`), which goes with its Build. One that is not `readable` stays in any case.
    """

    reference: Reference
    tags: tuple[str, ...]
    uids: frozenset[str]
    parts: tuple[str, ...] = ()
    of_steps: bool = False
    readable: bool = True
    created: datetime | None = None
    branch: str = ""


@dataclass
class Used:
    """Digests and names of images that pods are made of."""

    digests: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)


def chosen_repositories(builds: Referred, settings: Settings) -> list[Reference]:
    """The repositories that the settings name, and those that their patterns match among the Builds' own.

    A Build's repository counts where its namespace may push by the settings that there are now.
    """
    found: dict[str, Reference] = {}
    for pattern in settings.retention.images.repositories:
        if "*" not in pattern and "{namespace}" not in pattern:
            one = parse_repository(pattern, default_registry=settings.images.default_registry)
            found[one.name] = one
            continue
        for repository, namespaces in builds.repositories.items():
            for namespace in namespaces:
                match = _matching(pattern, repository, namespace, settings)
                if match is not None:
                    found[match.name] = match
    return [found[name] for name in sorted(found)]


def _matching(
    pattern: str, repository: str, namespace: str, settings: Settings
) -> Reference | None:
    try:
        one = parse_repository(repository, default_registry=settings.images.default_registry)
    except UserError:
        return None
    if may_push(one, images=settings.images, namespace=namespace) is Pushing.DENIED:
        return None
    return one if fnmatchcase(one.name, pattern.replace("{namespace}", namespace)) else None


async def find_candidates(
    client: RegistryClient, repository: Reference, *, keep_last: int
) -> list[Candidate]:
    """The manifests of a repository that only tags of builds point at; none where there are few enough.

    Raises the client's errors, but for what disappears meanwhile.
    """
    tags = await client.list_tags(repository, most=MOST_TAGS)
    places = asyncio.Semaphore(AT_ONCE)
    by_digest = await _by_digest(client, repository, tags)
    ours = {digest: tags for digest, tags in by_digest.items() if all(map(build_of, tags))}
    boxes = sum(any(map(_BUILD_TAG.fullmatch, tags)) for tags in ours.values())

    async def describe(digest: str, tags: list[str]) -> Candidate:
        found = Candidate(
            reference=repository.pinned(digest),
            tags=tuple(sorted(tags)),
            uids=frozenset(map(build_of, tags)),
            of_steps=not any(map(_BUILD_TAG.fullmatch, tags)),
        )
        if not found.of_steps and boxes <= keep_last:
            return found
        async with places:
            return await _described(client, found)

    return list(await asyncio.gather(*(describe(*each) for each in ours.items())))


async def tagged_otherwise(client: RegistryClient, repository: Reference) -> frozenset[str]:
    """The digests that tags point at now that are not those of builds: to be asked right before deleting."""
    tags = await client.list_tags(repository, most=MOST_TAGS)
    others = [tag for tag in tags if not build_of(tag)]
    return frozenset(await _by_digest(client, repository, others))


async def _by_digest(
    client: RegistryClient, repository: Reference, tags: Sequence[str]
) -> dict[str, list[str]]:
    """The tags by what they point at. One that points at nothing is left out; any other that cannot be read ends it."""
    places = asyncio.Semaphore(AT_ONCE)

    async def resolve(tag: str) -> tuple[str, str]:
        async with places:
            return tag, await client.find_digest(repository.tagged(tag))

    found: dict[str, list[str]] = defaultdict(list)
    for tag, digest in await asyncio.gather(*map(resolve, tags)):
        if digest:
            found[digest].append(tag)
    return dict(found)


def build_of(tag: str) -> str:
    """The uid of the Build that made this tag, "" for any other tag."""
    if _BUILD_TAG.fullmatch(tag):
        return tag
    match = _STEP_TAG.fullmatch(tag)
    return match[1] if match else ""


async def read_pods(kube: Kube, settings: Settings) -> Used:
    """The images of all pods that can be seen: of their specs, and what nodes made of them."""
    places: list[str | None] = [*settings.namespaces] or [None]
    used = Used()
    for place in places:
        async for raw in kube.each(PODS, namespace=place):
            for image in _images_of(raw):
                used.digests |= set(_PINNED.findall(image))
                with suppress(UserError):
                    used.names.add(str(parse_reference(image)))
    return used


def _images_of(pod: dict[str, Any]) -> Iterator[str]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for each in spec.get(kind) or ():
            yield str(each.get("image") or "")
    for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for each in status.get(kind) or ():
            yield str(each.get("imageID") or "")
    for volume in spec.get("volumes") or ():
        yield str((volume.get("image") or {}).get("reference") or "")


def stale_images(
    candidates: Sequence[Candidate],
    builds: Referred,
    used: Used,
    *,
    settings: Settings,
    now: datetime,
) -> Iterator[tuple[Candidate, Stale]]:
    """The candidates of one repository that go, the oldest first."""
    rules = settings.retention.images
    oldest = now - timedelta(days=rules.keep_days)
    for branch, group in _by_branch(candidates):
        for each in reversed(group[rules.keep_last :]):
            if each.created is not None and each.created < oldest and _unused(each, builds, used):
                of = f"branch {branch}" if branch else "the repository"
                yield (
                    each,
                    _stale(
                        each,
                        f"older than {rules.keep_days} days, and not among the last {rules.keep_last} of {of}",
                    ),
                )
    for each in candidates:
        if each.of_steps and _unused(each, builds, used):
            yield each, _stale(each, "a step built it, and its Build is gone")


def _by_branch(candidates: Iterable[Candidate]) -> Iterator[tuple[str, list[Candidate]]]:
    """The boxes of each branch, the newest first; those of unknown age count as the newest."""
    latest = datetime.max.replace(tzinfo=UTC)

    def age(each: Candidate) -> tuple[datetime, str]:
        return each.created or latest, each.reference.digest

    groups: dict[str, list[Candidate]] = defaultdict(list)
    for each in candidates:
        if not each.of_steps:
            groups[each.branch].append(each)
    for branch in sorted(groups):
        yield branch, sorted(groups[branch], key=age, reverse=True)


def _unused(each: Candidate, builds: Referred, used: Used) -> bool:
    digests = {each.reference.digest, *each.parts}
    names = {str(each.reference.tagged(tag)) for tag in each.tags}
    referred = each.uids & builds.uids or digests & builds.digests
    return each.readable and not (referred or digests & used.digests or names & used.names)


def _stale(each: Candidate, why: str) -> Stale:
    return Stale(kind=IMAGE, name=f"{each.reference} ({', '.join(each.tags)})", why=why)


async def _described(client: RegistryClient, found: Candidate) -> Candidate:
    """With what the image says of itself: its parts, or when and of which branch it was made."""
    what = str(found.reference)
    try:
        content, media_type = await client.get_manifest_bytes(found.reference)
        parsed = images.parse_json_object(content, what=what)
        if images.media_type_of(parsed, header=media_type) in images.INDEXES:
            entries = parsed.get("manifests")
            parts = [images.parse_descriptor(e, what=what) for e in _list(entries)]
            return replace(found, parts=tuple(part.digest for part in parts))
        if found.of_steps:
            return found
        manifest = images.parse_manifest(content, header=media_type, what=what)
        blob = await client.get_blob(found.reference, manifest.config, limit=images.CONFIG_LIMIT)
        config = images.parse_json_object(blob, what=what)
        return replace(found, created=_created(config), branch=_branch(config))
    except UserError:
        return replace(found, readable=False)


def _created(config: dict[str, Any]) -> datetime | None:
    try:
        return parse_rfc3339(str(config.get("created")))
    except ValueError:
        return None


def _branch(config: dict[str, Any]) -> str:
    run = config.get("config")
    labels = run.get("Labels") if isinstance(run, dict) else None
    return printable(str(labels.get(BRANCH_LABEL) or ""))[:256] if isinstance(labels, dict) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
