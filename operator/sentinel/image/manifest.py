"""Manifests and image configs: a registry's JSON as frozen values.

Pure, and careful: the JSON is untrusted. Not here: fetching it (`client.py`) or making new ones (`agent/image.py`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.image.reference import Reference, is_digest
from sentinel.text import printable

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))

MANIFEST_LIMIT = 4 * 1024 * 1024
CONFIG_LIMIT = 8 * 1024 * 1024

CONFIGURED_LIMIT = 256 * 1024
"""Bytes of variables, command, ports and the like that an image may bring: no process could be started with more."""

_OFFERED = 16


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """A pointer to content: its type, digest and size in bytes. `urls` marks a foreign layer that is never uploaded."""

    media_type: str
    digest: str
    size: int
    urls: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The descriptor as it stands in a manifest."""
        plain: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        return plain | ({"urls": list(self.urls)} if self.urls else {})


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """An image manifest: the very bytes, their type and digest, and what they point to."""

    content: bytes = field(repr=False)
    media_type: str
    digest: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """What we need to know of an image, and no more: an image's config may be megabytes of labels and history.

    `reference` is the name at the digest that the name stands for: an index's digest where it is an index, so that
    every node picks its own platform. `env` are pairs in the image's order; `ports` are EXPOSE entries like 6379/tcp.
    """

    reference: Reference
    digest: str
    manifest_digest: str
    config_digest: str
    architecture: str = ""
    os: str = ""
    env: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()

    @property
    def configured_bytes(self) -> int:
        """How much text the image's config brings, in characters."""
        words = (
            *self.entrypoint,
            *self.cmd,
            *self.ports,
            *self.volumes,
            self.user,
            self.working_dir,
        )
        return sum(map(len, words)) + sum(len(name) + len(value) for name, value in self.env)


def digest_of(content: bytes) -> str:
    """sha256 in the form registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def matches(content: bytes, digest: str) -> bool:
    """Whether the content has this digest, sha256 or sha512."""
    algorithm, _, value = digest.partition(":")
    return is_digest(digest) and hashlib.new(algorithm, content).hexdigest() == value


def parse_json_object(content: bytes, *, what: str) -> dict[str, Any]:
    """JSON that must be an object. Raises UserError(ImageNotFound) naming `what`."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise unusable(what, "it is not a JSON object")
    return parsed


def media_type_of(content: dict[str, Any], *, header: str) -> str:
    """The type of a manifest: its own field, else the Content-Type header, else what its fields look like."""
    said = content.get("mediaType") or header.partition(";")[0].strip()
    if said in INDEXES or said in MANIFESTS:
        return str(said)
    if isinstance(content.get("manifests"), list):
        return OCI_INDEX
    if isinstance(content.get("config"), dict) and isinstance(content.get("layers"), list):
        return OCI_MANIFEST
    return str(said)


def parse_manifest(content: bytes, *, header: str = "", what: str) -> Manifest:
    """A manifest's bytes, taken apart. Raises UserError when it is of a kind we cannot use (`what` names it)."""
    parsed = parse_json_object(content, what=what)
    media_type = media_type_of(parsed, header=header)
    if media_type not in MANIFESTS:
        raise unusable(
            what,
            f"its manifest is of type {printable(media_type[:100]) or 'unknown'}, which is not an image that "
            "Kubernetes runs today; push it again with a current tool",
        )
    return Manifest(
        content=content,
        media_type=media_type,
        digest=digest_of(content),
        config=parse_descriptor(parsed.get("config"), what=what),
        layers=tuple(parse_descriptor(layer, what=what) for layer in _list(parsed.get("layers"))),
    )


def parse_descriptor(value: object, *, what: str) -> Descriptor:
    """A descriptor of a manifest or index. Raises UserError when a field is missing."""
    if isinstance(value, dict):
        media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
        if (
            isinstance(media_type, str)
            and isinstance(digest, str)
            and is_digest(digest)
            and isinstance(size, int)
            and size >= 0
        ):
            urls = tuple(str(url) for url in _list(value.get("urls")))
            return Descriptor(media_type=media_type, digest=digest, size=size, urls=urls)
    raise unusable(what, "a descriptor in its manifest has no valid type, digest or size")


def choose_platform(
    index: dict[str, Any], *, platform: tuple[str, str], what: str
) -> tuple[Descriptor, ...]:
    """The entries of an index for (os, architecture), best first. Raises UserError when there is none."""
    entries = [entry for entry in _list(index.get("manifests")) if isinstance(entry, dict)]
    fitting = [
        parse_descriptor(entry, what=what) for entry in entries if _platform(entry) == platform
    ]
    if not fitting:
        offered = platforms_of(index)
        more = f" and {len(offered) - _OFFERED} more" if len(offered) > _OFFERED else ""
        shown = ", ".join(place[:40] for place in offered[:_OFFERED]) or "no platform"
        raise UserError(
            f"{what} is not available for {'/'.join(platform)}: it is available for {printable(shown)}{more}",
            reason=Reason.ARCHITECTURE_MISMATCH,
        )
    return tuple(fitting)


def platforms_of(index: dict[str, Any]) -> list[str]:
    """What an index has images for, as os/architecture; provenance and the like are not for any platform."""
    entries = [entry for entry in _list(index.get("manifests")) if isinstance(entry, dict)]
    places = {_platform(entry) for entry in entries}
    return sorted("/".join(place) for place in places if any(place) and place[0] != "unknown")


def image_info(config: bytes, *, reference: Reference, manifest: Manifest) -> ImageInfo:
    """An image config's bytes and the manifest that names it, as ImageInfo. `reference` holds the digest.

    Raises UserError when the config is not an object, or brings more than can be given to a process.
    """
    parsed = parse_json_object(config, what=str(reference))
    run = parsed.get("config")
    run = run if isinstance(run, dict) else {}
    env = tuple(str(line).partition("=")[::2] for line in _list(run.get("Env")))
    info = ImageInfo(
        reference=reference,
        digest=reference.digest,
        manifest_digest=manifest.digest,
        config_digest=manifest.config.digest,
        architecture=str(parsed.get("architecture") or ""),
        os=str(parsed.get("os") or ""),
        env=env,
        entrypoint=_words(run.get("Entrypoint")),
        cmd=_words(run.get("Cmd")),
        user=str(run.get("User") or ""),
        working_dir=str(run.get("WorkingDir") or ""),
        ports=tuple(sorted(str(port) for port in _names(run.get("ExposedPorts")))),
        volumes=tuple(sorted(str(path) for path in _names(run.get("Volumes")))),
    )
    if info.configured_bytes > CONFIGURED_LIMIT:
        raise unusable(
            str(reference),
            f"its config has {info.configured_bytes} characters of variables, command and ports; "
            f"{CONFIGURED_LIMIT} at most can be used",
        )
    return info


def check_platform(info: ImageInfo, *, platform: tuple[str, str]) -> None:
    """An image of one platform only must be for `platform`, if its config says what it is for.

    Raises UserError(ArchitectureMismatch).
    """
    made_for = (info.os or platform[0], info.architecture or platform[1])
    if made_for != platform:
        raise UserError(
            f"{info.reference} is not available for {'/'.join(platform)}: it is available for "
            f"{'/'.join(made_for)[:100]}",
            reason=Reason.ARCHITECTURE_MISMATCH,
        )


def unusable(what: str, why: str) -> UserError:
    """The error for an image that is there but is no use."""
    return UserError(f"image {what} cannot be used: {why}", reason=Reason.IMAGE_NOT_FOUND)


def _platform(entry: dict[str, Any]) -> tuple[str, str]:
    place = entry.get("platform")
    place = place if isinstance(place, dict) else {}
    return str(place.get("os", "")), str(place.get("architecture", ""))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _names(value: object) -> list[str]:
    """The names of a set, which image configs write as an object of empty objects."""
    return list(value) if isinstance(value, dict) else []


def _words(value: object) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(str(word) for word in _list(value))
