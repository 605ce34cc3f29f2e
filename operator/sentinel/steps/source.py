"""Finding steps: the one entrance.

Each step is looked up again, so that `*` is what is newest now (upstream kept the first answer for ever); what is then
fetched is kept by digest, and not fetched again while version and checksum stay.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit
from weakref import WeakValueDictionary

from sentinel import network
from sentinel.api.reasons import Reason
from sentinel.config.findings import visible
from sentinel.errors import InfrastructureError, UserError
from sentinel.settings import StepSettings
from sentinel.source.address import parse_address, parse_web_address
from sentinel.source.failure import Deadline
from sentinel.steps.cache import Cache, Key, Known, Stored
from sentinel.steps.folder import FolderRegistry, LocalStep
from sentinel.steps.pack import StepLimits, Unpackable
from sentinel.steps.project import Project, ProjectStep
from sentinel.steps.registry import Registry, Release
from sentinel.steps.remote import RemoteRegistry, UrlStep
from sentinel.steps.repositories import RepositoryTemplate
from sentinel.steps.standard import find_standard, notes_of, suggestion
from sentinel.steps.threads import in_thread
from sentinel.steps.versions import LATEST, bare, is_exact
from sentinel.steps.wanted import (
    FoundStep,
    WantedStep,
    check_wanted,
    invalid,
    not_found,
    unavailable,
    without_credentials,
)

AT_ONCE = 8
"""Steps that are looked up and fetched at the same time."""
SECONDS = 300.0
"""How long one step may take, tries together."""


class StepSource:
    """Finds steps in one registry, and keeps what it fetched. For one event loop.

    `registry` is None where the operator has none; `allow_local` and `allow_url` are about steps with a URL behind
    their name; `standard` lets our own steps stand in for what the registry does not have.
    """

    def __init__(
        self,
        registry: Registry | None,
        *,
        cache: Cache,
        limits: StepLimits,
        allow_local: bool = False,
        allow_url: bool = False,
        standard: bool = False,
        ca: str = "",
        pause: float = 0.3,
        policy: network.Policy | None = None,
    ) -> None:
        self._registry = registry
        self._standard = standard
        self._policy = policy
        self._cache = cache
        self._limits = limits
        self._allow_local = allow_local
        self._allow_url = allow_url
        self._ca = ca
        self._pause = pause
        self._pool = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="steps")
        # A second thread that looks for the same step waits for the first one, and finds it in the cache.
        self._locks: WeakValueDictionary[Key, _Lock] = WeakValueDictionary()
        self._locks_lock = threading.Lock()

    async def find(self, wanted: WantedStep, *, project: Project | None = None) -> FoundStep:
        """`find_now` in a thread; a cancel ends it."""
        deadline = Deadline(SECONDS)
        work = partial(self.find_now, wanted, deadline=deadline, project=project)
        return await in_thread(work, deadline, pool=self._pool)

    def find_now(
        self, wanted: WantedStep, *, deadline: Deadline, project: Project | None = None
    ) -> FoundStep:
        """The step, in the cache. `project` is where steps of the project's own source are looked for.

        UserError StepNotFound or StepInvalid; InfrastructureError RegistryUnavailable after three tries. A version
        that was fetched before is used, with a warning, where the registry cannot be asked.
        """
        check_wanted(wanted)
        if self._registry is None and (standard := self._find_standard(wanted)) is not None:
            return standard
        registry = self._choose(wanted, project)
        try:
            release = registry.look_up(wanted, deadline)
        except InfrastructureError as error:
            return self._known_before(registry, wanted, error)
        except UserError as error:
            if error.reason is not Reason.STEP_NOT_FOUND or wanted.url:
                raise
            if (standard := self._find_standard(wanted)) is not None:
                return standard
            raise not_found(error.message + suggestion(wanted)) from error
        except TimeoutError:
            late = unavailable(f"step {wanted}: {registry.title} did not answer in time")
            return self._known_before(registry, wanted, late)
        key = Key(
            registry=registry.title,
            owner=release.owner,
            name=release.name,
            version=release.version,
        )
        with self._locks_lock:
            lock = self._locks.setdefault(key, _Lock())
        with lock.inner:
            stored = self._kept(key, release)
            if stored is None:
                stored = self._fetch(registry, release, deadline)
                if release.settled:
                    self._cache.remember(key, Known(mark=release.mark, digest=stored.digest))
        return _found(release, stored)

    def _find_standard(self, wanted: WantedStep) -> FoundStep | None:
        step = find_standard(wanted) if self._standard else None
        if step is None:
            return None
        return FoundStep(
            owner=wanted.owner,
            name=step.name,
            version=step.manifest.version,
            digest="",
            size=0,
            archive=step.folder,
            manifest=step.manifest,
            origin="standard steps",
            warnings=notes_of(step, wanted),
            standard=True,
        )

    def _choose(self, wanted: WantedStep, project: Project | None) -> Registry:
        """Whom to ask. UserError for what the operator does not allow."""
        if not wanted.url:
            if self._registry is None:
                raise not_found(
                    f"step {wanted} is not a standard step, and the operator has no step registry"
                    f"{suggestion(wanted)}. `sentinel steps list` shows the standard steps; the operator's setting "
                    "steps.registry names a registry, for example a server that runs `sentinel steps serve`"
                )
            return self._registry
        shown = without_credentials(wanted.url)
        if path := wanted.path_in_source:
            if project is None:
                raise invalid(
                    f"step {wanted}: {shown} is looked for in the project's git repository, and this build's source is "
                    "none"
                )
            return ProjectStep(project, path, pause=self._pause)
        parts = urlsplit(wanted.url)
        if parts.scheme == "file":
            if not self._allow_local:
                raise not_found(
                    f"step {wanted}: {shown} is a path on the operator's machine, and its setting steps.allowLocal is "
                    "off. A step in the project itself is written with a relative path, file://./steps/x"
                )
            return LocalStep(Path(unquote(parts.path)))
        if parts.scheme in ("http", "https") and parts.netloc:
            if not self._allow_url:
                raise not_found(
                    f"step {wanted}: it is given by a URL, {shown}, and the operator's setting steps.allowUrl is off"
                )
            return UrlStep(wanted.url, ca=self._ca, pause=self._pause, policy=self._policy)
        raise invalid(
            f"step {wanted}: {visible(shown)!r} is not an address of a step. Steps come from file://./path in "
            "the project, "
            "file:///path, http:// and https://"
        )

    def _kept(self, key: Key, release: Release) -> Stored | None:
        if not release.settled:
            return None
        known = self._cache.look_up(key)
        if known is None or known.mark != release.mark:
            return None
        return self._cache.get(known.digest)

    def _fetch(self, registry: Registry, release: Release, deadline: Deadline) -> Stored:
        with self._cache.workdir() as workdir:
            try:
                tree = registry.fetch(release, workdir, limits=self._limits, deadline=deadline)
                deadline.left()
                return self._cache.put(tree, workdir, limits=self._limits)
            except TimeoutError:
                raise unavailable(
                    f"step {release.owner}/{release.name}: {release.origin} was not fetched within {SECONDS:g} seconds"
                ) from None
            except Unpackable as error:
                raise invalid(
                    f"step {release.owner}/{release.name}: {release.origin} {error}"
                ) from error

    def _known_before(
        self, registry: Registry, wanted: WantedStep, error: InfrastructureError
    ) -> FoundStep:
        """An exact version from the cache; else `error`."""
        if wanted.version == LATEST or wanted.url:
            raise error
        version = bare(wanted.version)
        key = Key(registry=registry.title, owner=wanted.owner, name=wanted.name, version=version)
        known = self._cache.look_up(key)
        stored = self._cache.get(known.digest) if known else None
        if stored is None:
            raise error
        release = Release(
            owner=wanted.owner,
            name=wanted.name,
            version=version,
            place="",
            origin=f"{registry.title}, fetched earlier",
            warnings=(f"the copy that was fetched earlier is used: {error.message}",),
        )
        return _found(release, stored)


async def find_all(
    source: StepSource, wanted: Sequence[WantedStep], *, project: Project | None = None
) -> list[FoundStep]:
    """All of them, in their order, looked for at the same time.

    UserError that names every step which is not there or is wrong, StepNotFound if any is not there; else
    InfrastructureError if some could not be looked for.
    """
    distinct = list(dict.fromkeys(wanted))
    results = await asyncio.gather(
        *(_outcome(source.find(each, project=project)) for each in distinct)
    )
    mistakes = [each for each in results if isinstance(each, UserError)]
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        missing = any(each.reason is Reason.STEP_NOT_FOUND for each in mistakes)
        raise UserError(
            f"{len(mistakes)} steps cannot be used: "
            + "; ".join(each.message for each in mistakes),
            reason=Reason.STEP_NOT_FOUND if missing else Reason.STEP_INVALID,
        )
    for each in results:
        if isinstance(each, InfrastructureError):
            raise each
    found = {want: each for want, each in zip(distinct, results, strict=True)}
    return [step for want in wanted if isinstance(step := found[want], FoundStep)]


def step_source(
    settings: StepSettings,
    *,
    cache_dir: Path,
    cache: Cache | None = None,
    ca: str = "",
    pause: float = 0.3,
    policy: network.Policy | None = None,
) -> StepSource:
    """The source that the settings describe; `pause` is the first one between tries, in seconds.

    `cache` replaces the one that would be made in `cache_dir`. `ca` holds certificates (PEM) that are trusted besides
    the system's. UserError(InvalidSpec) with a sentence for the operator where `registry` is none that is known.

    The registry is the operator's own choice, so its own host may be anywhere: `policy` is for what a tenant names, and
    for what a registry answers with.
    """
    cache = cache or Cache(cache_dir)
    return StepSource(
        _registry(settings, scratch=cache_dir / "work", ca=ca, pause=pause, policy=policy),
        cache=cache,
        limits=StepLimits(
            packed=settings.packed_bytes,
            unpacked=settings.unpacked_bytes,
            entries=settings.entries,
        ),
        allow_local=settings.allow_local,
        allow_url=settings.allow_url,
        standard=settings.standard,
        ca=ca,
        pause=pause,
        policy=policy,
    )


class _Lock:
    """A lock that a weak reference can be to."""

    def __init__(self) -> None:
        self.inner = threading.Lock()


def _registry(
    settings: StepSettings, *, scratch: Path, ca: str, pause: float, policy: network.Policy | None
) -> Registry | None:
    url, token = settings.registry.strip(), settings.token.get_secret_value().strip()
    if not url:
        return None
    kind, separator, _ = url.partition("://")
    if not separator and url.startswith("/"):
        return FolderRegistry(Path(url))
    if kind == "file" and url.startswith("file:///"):
        return FolderRegistry(Path(unquote(urlsplit(url).path)))
    try:
        if kind in ("http", "https") and urlsplit(url).hostname:
            allowed = (policy or network.STRICT).with_host(parse_web_address(url).hostname)
            return RemoteRegistry(url, token=token, ca=ca, pause=pause, policy=allowed)
        if kind in ("git+http", "git+https") and "{name}" in url:
            template = url.removeprefix("git+")
            host = parse_address(template.replace("{owner}", "x").replace("{name}", "x")).hostname
            return RepositoryTemplate(
                template,
                scratch=scratch,
                token=token,
                ca=ca,
                pause=pause,
                policy=(policy or network.STRICT).with_host(host),
            )
    except ValueError as error:
        raise _bad_registry(url, f": {error}") from error
    raise _bad_registry(url, "")


def _bad_registry(url: str, why: str) -> UserError:
    return UserError(
        f"the operator's setting steps.registry, {without_credentials(url)!r}, is not a step registry{why}. It is "
        "http://… or https://…, file:///… or a path, or git+https://… with {owner} and {name} in it",
        reason=Reason.INVALID_SPEC,
    )


def _found(release: Release, stored: Stored) -> FoundStep:
    warnings = release.warnings + stored.manifest.warnings
    if not stored.does_something:
        warnings += ("it has neither run.sh nor init.sh, so it does nothing",)
    stated = stored.manifest.version
    return FoundStep(
        owner=release.owner,
        name=release.name,
        version=release.version or (bare(stated) if is_exact(stated) else ""),
        digest=stored.digest,
        size=stored.size,
        archive=stored.archive,
        manifest=stored.manifest,
        origin=release.origin,
        warnings=warnings,
    )


async def _outcome(
    finding: Awaitable[FoundStep],
) -> FoundStep | UserError | InfrastructureError:
    try:
        return await finding
    except (UserError, InfrastructureError) as error:
        return error
