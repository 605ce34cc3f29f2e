"""The cache of a build: looked up while it is prepared, restored by its pod, saved when its box is closed.

Nothing here fails a build, and no byte of a cache comes through here: the pod gets a URL in a Secret of its own, and
the box one for exactly the archive that it has packed. One object is one cache, so that its PUT is the switch from the
old to the new: of builds that run at once the last one to pass wins, and two are never mixed.
"""

from __future__ import annotations

import asyncio
import base64
import logging

from sentinel.api.cache import CacheStatus
from sentinel.api.conditions import ConditionType
from sentinel.engine.attempt import Attempt
from sentinel.engine.run import Run
from sentinel.errors import NotVerified, SentinelError
from sentinel.kube.errors import AlreadyExists
from sentinel.kube.resources import NAMESPACES, SECRETS
from sentinel.layout import CACHE_DIR
from sentinel.plan.cache import CACHE_ENTRIES, SAVED_WITHIN, plan_cache
from sentinel.plan.keys import USED_AGAIN, cache_mark
from sentinel.plan.model import PlanCache, PlanSource
from sentinel.plan.pod import CACHE_URL, owner_reference
from sentinel.plan.seal import check_object, sign_object
from sentinel.session.journal import SessionState
from sentinel.session.messages import Collect
from sentinel.session.records import CacheSeen, CollectFailed

log = logging.getLogger(__name__)

CACHE = "cache"
"""What it is called in the journal."""

FOUND_WITHIN = 15.0
"""Seconds for looking whether there is a cache. The build is prepared meanwhile. A store or an operator that is slow
for a moment costs no more than this; without its cache a build takes minutes longer."""

URL_SECONDS = 1800
"""For which a URL is valid beside the time that a pod may be pending."""

PACKED_OVERHEAD = 64 * 1024 * 1024
"""Bytes that an archive may be larger than its files: headers, and what cannot be compressed."""

MOST_TEXT = 512


async def find_cache(run: Run, *, source: PlanSource, pipeline: str) -> PlanCache:
    """The build's cache, with its size where there is one. What cannot be found out is noticed: it starts empty."""
    store, settings = run.tools.store, run.tools.settings
    wanted = run.build.spec.cache.enabled and settings.cache.enabled
    if store is None or not wanted:
        return PlanCache()
    found = PlanCache()
    try:
        async with asyncio.timeout(FOUND_WITHIN):
            raw = await run.tools.kube.get(NAMESPACES, name=run.build.namespace)
            space = str(raw["metadata"]["uid"])
            found = plan_cache(
                run.build, source=source, pipeline=pipeline, settings=settings, space=space
            )
            info = await store.head(found.key)
    except TimeoutError:
        why = f"the store did not answer within {FOUND_WITHIN:.0f} s"
    except SentinelError as e:
        why = e.message
    else:
        size = info.size if info is not None else 0
        if info is not None and info.is_older(USED_AGAIN, now=run.tools.clock.now()):
            await _mark_used(run, found.key)
        return plan_cache(
            run.build, source=source, pipeline=pipeline, settings=settings, space=space, size=size
        )
    run.report.noticed(message=f"the cache starts empty: {why}")
    return found


async def _mark_used(run: Run, key: str) -> None:
    """Write the mark whose age is the cache's last use: an unchanged cache is not saved again."""
    store = run.tools.store
    assert store is not None  # noqa: S101 - find_cache has looked
    try:
        async with asyncio.timeout(FOUND_WITHIN):
            await store.put(cache_mark(key), b"sentinel")
    except (TimeoutError, SentinelError) as e:
        log.info("build %s/%s: its cache is not marked as used: %s", *run.key, e)


async def deliver_cache(attempt: Attempt) -> None:
    """Put the URL of the cache where the attempt's pod looks for it. Doing it again changes nothing.

    Raises NotVerified where a Secret of that name is not the operator's. Without one the cache starts empty.
    """
    store, cache = attempt.tools.store, attempt.plan.cache
    if store is None or not cache.size:
        return
    seconds = int(attempt.plan.pending_timeout) + URL_SECONDS
    url = store.presign_get(cache.key, seconds=seconds)
    identity = attempt.id.of_build
    body = {
        "apiVersion": SECRETS.api_version,
        "kind": "Secret",
        "metadata": {
            "name": attempt.id.cache,
            "namespace": attempt.plan.namespace,
            "labels": attempt.id.labels,
            "ownerReferences": [owner_reference(attempt.build)],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {CACHE_URL: base64.b64encode(url.encode()).decode()},
    }
    body = sign_object(body, identity=identity, keys=attempt.tools.keys)
    kube, namespace = attempt.tools.kube, attempt.plan.namespace
    try:
        await kube.create(SECRETS, namespace=namespace, body=body)
    except AlreadyExists:
        old = await kube.get(SECRETS, namespace=namespace, name=attempt.id.cache)
        check_object(old, kind="Secret", identity=identity, keys=attempt.tools.keys)
    except NotVerified:
        raise
    except SentinelError as e:
        attempt.report.noticed(message=f"the cache starts empty: no Secret for it: {e.message}")


def note_restored(attempt: Attempt, record: CacheSeen) -> None:
    """What became of the cache in the pod."""
    if not attempt.plan.cache.size:
        return
    known = attempt.writer.status.cache or CacheStatus()
    if known.restored == record.state:
        return
    change: dict[str, object] = {"restored": record.state, "restored_bytes": record.size}
    if record.state in ("Invalid", "Failed"):
        change["message"] = f"starts empty: {record.text}"[:MOST_TEXT]
        attempt.report.noticed(message=f"the cache starts empty: {record.text}")
    attempt.writer.change(cache=known.model_copy(update=change))


def may_save(attempt: Attempt) -> bool:
    """Whether the build's cache is saved: it has passed, and nothing happened to its box since."""
    return (
        attempt.tools.store is not None
        and bool(attempt.plan.cache.key)
        and attempt.plan.cache.save
        and attempt.writer.holds(ConditionType.SUCCEEDED) is True
        and attempt.run.lost is None
    )


async def save_cache(attempt: Attempt) -> None:
    """Ask the box for the cache; it is packed when the box is closed, and no process of the steps is left."""
    if may_save(attempt):
        await attempt.session.collect(
            Collect(
                what=CACHE,
                path=CACHE_DIR,
                limit=attempt.plan.cache.limit,
                cache=True,
                entries=CACHE_ENTRIES,
                seconds=SAVED_WITHIN,
            )
        )


def note_saved(attempt: Attempt, state: SessionState) -> None:
    """What became of it, once the box is closed or lost."""
    if not may_save(attempt):
        return
    known = attempt.writer.status.cache or CacheStatus()
    record = state.collected.get(CACHE)
    change: dict[str, object]
    if record is None and CACHE not in state.packed:
        # Most often it is empty or unchanged, and the stream broke before we heard so.
        why = ""
        change = {"message": "the box ended before it said what became of the cache"}
    elif record is None:
        why = f"it was not stored within {SAVED_WITHIN:.0f} s, or the box ended before"
        change = {"saved": "Failed", "message": f"not saved: {why}"}
    elif isinstance(record, CollectFailed):
        too_large = record.reason == "TooLarge"
        change = {"saved": "TooLarge" if too_large else "Failed"}
        change["message"] = f"not saved: {record.text}"[:MOST_TEXT]
        why = record.text
        if too_large:
            why += ". Remove from $WERCKER_CACHE_DIR what is not needed, or raise spec.cache.maxSize or cache.maxMib"
    else:
        why = ""
        saved = "Empty" if record.empty else "Unchanged" if record.unchanged else "Saved"
        change = {"saved": saved, "saved_bytes": record.size, "message": known.message}
        if record.notice:
            change["message"] = record.notice[:MOST_TEXT]
            attempt.report.noticed(message=f"the cache: {record.notice}")
        log.info("build %s/%s: cache %s, %d bytes", *attempt.run.key, saved, record.size)
    if why:
        attempt.report.noticed(message=f"the cache is not saved, and stays as it was: {why}")
    attempt.writer.change(cache=known.model_copy(update=change))
