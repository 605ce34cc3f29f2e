"""Which cache a build has, and what it may do with it: from the Build, its source and the settings alone.

A cache belongs to a namespace, an application, a pipeline and `spec.cache.key`. Nothing that a tenant writes can name
one of another namespace: the namespace's name and uid are segments of the key, and everything else is cut to shape or
hashed below them (`plan/keys.py`).
"""

from __future__ import annotations

import re

from sentinel.api.build import Build
from sentinel.api.model import quantity
from sentinel.plan.generic import application_id
from sentinel.plan.keys import cache_object
from sentinel.plan.model import PlanCache, PlanSource
from sentinel.settings import Settings

MIB = 1024 * 1024

CACHE_ENTRIES = 300_000
"""Files and directories that a cache may have: with so many, restoring it takes 210 MiB of memory."""

SAVED_WITHIN = 300.0
"""Seconds for saving one, after everything else of a build is done."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


def plan_cache(
    build: Build,
    *,
    source: PlanSource,
    pipeline: str,
    settings: Settings,
    space: str,
    size: int = 0,
) -> PlanCache:
    """The cache of a build. `space` is the uid of its namespace, without which there is none; `size` in bytes is what
    the object had when the build was planned, 0 where there was none."""
    wanted = build.spec.cache
    if not (wanted.enabled and settings.cache.enabled and settings.store.configured and space):
        return PlanCache()
    most = settings.cache.max_mib * MIB
    return PlanCache(
        key=cache_object(
            prefix=settings.store.prefix,
            namespace=build.namespace,
            space=space,
            app_id=application_id(build, source=source),
            pipeline=pipeline,
            key=wanted.key,
        ),
        space=space,
        size=size,
        save=not is_read_only(build, source),
        limit=min(quantity(wanted.max_size), most) if wanted.max_size else most,
    )


def is_read_only(build: Build, source: PlanSource) -> bool:
    """Whether the build leaves the cache as it is: as `spec.cache.readOnly` says, else if its source is a pull ref."""
    stated = build.spec.cache.read_only
    return is_pull_ref(source) if stated is None else stated


def is_pull_ref(source: PlanSource) -> bool:
    """Whether the source was fetched by a ref that is neither a branch nor a tag, like pull/7/head.

    The author of a pull request decides what is in it. A full commit id says nothing of where it comes from, and
    counts as the project's own.
    """
    ref = source.ref
    if source.digest or source.branch or source.tag or ref in ("", "HEAD"):
        return False
    if ref.startswith(("refs/heads/", "refs/tags/")):
        return False
    return _COMMIT.fullmatch(ref.lower()) is None
