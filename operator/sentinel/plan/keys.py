"""Where a build's results lie in the bucket: pure functions of names (wercker.md "Output, reports and cache").

`<prefix>/<namespace>/project-artifacts/<app id>/<build uid>/<attempt>/` and below it `output.tar`,
`step/<step id>/log.txt`, `step/<step id>/artifacts.tar`. The uid and attempt make every key the attempt's own.

A cache outlives its builds: `<prefix>/<namespace>/cache/<namespace's uid>/<app id>/<pipeline>/<key>.tar.zst`. With the
uid a namespace that is created again under its old name does not find what its predecessor left. Beside it `<key>.used`
is written when a cache that was saved long ago is restored: an unchanged one is not saved again.

`<prefix>/.sentinel-clusters/<uid>` says that an operator of a cluster keeps its builds' files under that prefix.

What is read back (`parse_results`, `parse_cache`, `parse_step_archive`) is exactly what is made here: nothing else in a
bucket is ever taken for ours.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta

OUTPUT = "output.tar"
LOG = "log.txt"
ARTIFACTS = "artifacts.tar"
CONTEXT = "context.tar.gz"

CACHES = "cache"
CACHE_SUFFIX = ".tar.zst"
USED_SUFFIX = ".used"
CLUSTERS = ".sentinel-clusters"

USED_AGAIN = timedelta(days=1)
"""Age of a step's archive, or of a cache and its mark, from which on a build that uses it writes it, or the mark."""

_NO_KEY = "default"  # 32 digits otherwise

_SAFE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RESULTS = re.compile(r"output\.tar|step/([^/]+)/(?:log\.txt|artifacts\.tar|context\.tar\.gz)")
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_ANY_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,200}")
_LONGEST_KEY = 1024


def segment(text: str) -> str:
    """`text` as one segment of a key: letters, digits, `.`, `_`, `-`, at most 100 characters.

    What already is one stays as it is. Anything else is cut to shape and gets eight hexadecimal digits of its hash,
    so two different ids never share a segment.
    """
    if _SAFE.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    shape = _ODD.sub("-", text).strip("-._")[:80].rstrip("-._")
    return f"{shape}-{digest}" if shape else digest


def check_key(key: str) -> str:
    """The key, where every segment of it is one that a directory can have as a name. Raises ValueError.

    All keys made here pass, unless the store's prefix or a namespace has other characters.
    """
    parts = key.split("/")
    if len(key) > _LONGEST_KEY or not all(map(_is_name, parts)):
        raise ValueError(
            f"{key[:200]!r} is not a key: it must be names of letters, digits, '.', '_' and '-' with slashes between"
        )
    return key


def check_prefix(prefix: str) -> str:
    """The same for what keys may begin with: it may be empty, and end within a name. Raises ValueError."""
    whole, _, last = prefix.rpartition("/")
    if whole:
        check_key(whole)
    if (last and not _ANY_SEGMENT.fullmatch(last)) or prefix.startswith("/"):
        raise ValueError(f"{prefix[:200]!r} is not the beginning of a key")
    return prefix


def _is_name(part: str) -> bool:
    return part not in (".", "..") and _ANY_SEGMENT.fullmatch(part) is not None


def results_prefix(
    *, prefix: str, namespace: str, app_id: str, build_uid: str, attempt: int
) -> str:
    """The prefix of everything an attempt stores, with a slash at its end. `app_id` may be any text."""
    parts = [
        *_segments(prefix),
        namespace,
        "project-artifacts",
        segment(app_id),
        build_uid,
        str(attempt),
    ]
    return "/".join(parts) + "/"


def output(results: str) -> str:
    """The key of the build's output; `results` is a `results_prefix`."""
    return results + OUTPUT


def step_log(results: str, step_id: str) -> str:
    """The key of a step's log."""
    return f"{results}step/{segment(step_id)}/{LOG}"


def step_artifacts(results: str, step_id: str) -> str:
    """The key of a step's report artifacts."""
    return f"{results}step/{segment(step_id)}/{ARTIFACTS}"


def step_context(results: str, step_id: str) -> str:
    """The key of the build context of a step that builds an image, until it is built."""
    return f"{results}step/{segment(step_id)}/{CONTEXT}"


def step_archive(prefix: str, digest: str) -> str:
    """The key of a step's archive, the same for all builds; `prefix` is the store's."""
    return "/".join((*_segments(prefix), "steps", f"{digest}.tar.gz"))


def parse_step_archive(object_key: str, *, prefix: str) -> str | None:
    """The digest of a key that `step_archive` made; None for any other."""
    digest = object_key.rpartition("/")[2].removesuffix(".tar.gz")
    ours = re.fullmatch(r"[0-9a-f]{64}", digest) and step_archive(prefix, digest) == object_key
    return digest if ours else None


@dataclass(frozen=True, kw_only=True)
class ResultsKey:
    """Whose result an object is."""

    namespace: str
    application: str
    build_uid: str
    attempt: int


def parse_results(object_key: str, *, prefix: str) -> ResultsKey | None:
    """Whose output, log, report or build context it is; None for any other object."""
    parts = _below(object_key, prefix=prefix)
    if len(parts) < 6 or parts[1] != "project-artifacts" or not parts[4].isdecimal():
        return None
    found = ResultsKey(
        namespace=parts[0], application=parts[2], build_uid=parts[3], attempt=int(parts[4])
    )
    file = _RESULTS.fullmatch("/".join(parts[5:]))
    made = (
        _NAMESPACE.fullmatch(found.namespace)
        and _SAFE.fullmatch(found.application)
        and _UID.fullmatch(found.build_uid)
        and parts[4] == str(found.attempt)
        and file is not None
        and (file[1] is None or _SAFE.fullmatch(file[1]))
    )
    return found if made else None


def cluster_mark(*, prefix: str, cluster: str) -> str:
    """The key that says that a cluster's builds keep their files here; `cluster` is its uid."""
    return clusters_prefix(prefix=prefix) + cluster


def clusters_prefix(*, prefix: str) -> str:
    """What the keys of all clusters' marks begin with."""
    return "/".join((*_segments(prefix), CLUSTERS)) + "/"


@dataclass(frozen=True, kw_only=True)
class CacheKey:
    """The segments of a cache's key. `key` is 32 hexadecimal digits, or "" for a build that names none."""

    namespace: str
    space: str
    application: str
    pipeline: str
    key: str

    @classmethod
    def of(cls, *, namespace: str, space: str, app_id: str, pipeline: str, key: str) -> CacheKey:
        """The segments for names as people write them: `key` may be any text."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return cls(
            namespace=namespace,
            space=segment(space),
            application=segment(app_id),
            pipeline=segment(pipeline),
            key=digest if key else "",
        )


def cache_object(
    *, prefix: str, namespace: str, space: str, app_id: str, pipeline: str, key: str
) -> str:
    """The key of a cache. `space` is the namespace's uid; the other names may be any text."""
    of = CacheKey.of(namespace=namespace, space=space, app_id=app_id, pipeline=pipeline, key=key)
    name = f"{of.key or _NO_KEY}{CACHE_SUFFIX}"
    return cache_prefix(prefix=prefix, namespace=namespace) + "/".join(
        (of.space, of.application, of.pipeline, name)
    )


def cache_prefix(*, prefix: str, namespace: str) -> str:
    """What the keys of all caches of a namespace begin with, with a slash at its end."""
    return "/".join((*_segments(prefix), namespace, CACHES)) + "/"


def parse_cache(object_key: str, *, prefix: str) -> CacheKey | None:
    """What `cache_object` made the key of; None for any other object."""
    parts = _below(object_key, prefix=prefix)
    if len(parts) != 6 or parts[1] != CACHES or not parts[5].endswith(CACHE_SUFFIX):
        return None
    namespace, _, space, application, pipeline, name = parts
    key = name.removesuffix(CACHE_SUFFIX)
    made = (
        _NAMESPACE.fullmatch(namespace)
        and all(_SAFE.fullmatch(each) for each in (space, application, pipeline))
        and (key == _NO_KEY or re.fullmatch(r"[0-9a-f]{32}", key))
    )
    if not made:
        return None
    return CacheKey(
        namespace=namespace,
        space=space,
        application=application,
        pipeline=pipeline,
        key="" if key == _NO_KEY else key,
    )


def cache_mark(cache: str) -> str:
    """The key beside a cache's whose age is the cache's last use."""
    return cache.removesuffix(CACHE_SUFFIX) + USED_SUFFIX


def marked_cache(object_key: str) -> str:
    """The reverse of `cache_mark`; "" for another key."""
    if not object_key.endswith(USED_SUFFIX):
        return ""
    return object_key.removesuffix(USED_SUFFIX) + CACHE_SUFFIX


def _below(object_key: str, *, prefix: str) -> list[str]:
    """The segments of a key behind the store's prefix; none where it is not below it."""
    head = "".join(f"{segment}/" for segment in _segments(prefix))
    return object_key.removeprefix(head).split("/") if object_key.startswith(head) else []


def _segments(prefix: str) -> list[str]:
    return [segment for segment in prefix.split("/") if segment]
