"""Where a build's results lie in the bucket: pure functions of names (wercker.md "Output, reports and cache").

`<prefix>/<namespace>/project-artifacts/<app id>/<build uid>/<attempt>/` and below it `output.tar`,
`step/<step id>/log.txt`, `step/<step id>/artifacts.tar`. The uid and attempt make every key the attempt's own.

A cache outlives its builds: `<prefix>/<namespace>/cache/<namespace's uid>/<app id>/<pipeline>/<key>.tar.zst`. With the
uid a namespace that is created again under its old name does not find what its predecessor left.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

OUTPUT = "output.tar"
LOG = "log.txt"
ARTIFACTS = "artifacts.tar"
CONTEXT = "context.tar.gz"

CACHES = "cache"
CACHE_SUFFIX = ".tar.zst"
_NO_KEY = "default"  # 32 digits otherwise

_SAFE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
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
    head = "".join(f"{segment}/" for segment in _segments(prefix))
    parts = object_key.removeprefix(head).split("/")
    if not object_key.startswith(head) or len(parts) != 6 or parts[1] != CACHES:
        return None
    namespace, _, space, application, pipeline, name = parts
    if not name.endswith(CACHE_SUFFIX):
        return None
    key = name.removesuffix(CACHE_SUFFIX)
    return CacheKey(
        namespace=namespace,
        space=space,
        application=application,
        pipeline=pipeline,
        key="" if key == _NO_KEY else key,
    )


def _segments(prefix: str) -> list[str]:
    return [segment for segment in prefix.split("/") if segment]
