"""Names of images: what a person writes, taken apart by Docker's rules.

Pure. Not here: whether the image exists, and who may pull it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sentinel.api.reasons import Reason
from sentinel.errors import UserError

DOCKER_HUB = "docker.io"
"""The registry of names without a host, unless a setting says otherwise."""

DEFAULT_TAG = "latest"

_HUB_HOSTS = frozenset(
    {
        "docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com",
        "www.docker.com", "cloud.docker.com", "registry.docker.io",
    }
)  # fmt: skip
"""Hosts that people write for Docker Hub; not all of them have a registry."""

_HUB_ENDPOINT = "registry-1.docker.io"
_MAX_NAME = 255

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?"
)
_PATH = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether this is a digest of content that we can check: sha256 or sha512, lower-case hexadecimal."""
    return _DIGEST.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Where an image lives. `registry` is host or host:port; `tag` and `digest` may both be empty or both be set."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """The full name, with everything that was given: `host/path:tag@digest`."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def name(self) -> str:
        """`host/path`, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def identifier(self) -> str:
        """What to ask the registry for: the digest if there is one, the tag, or `latest`."""
        return self.digest or self.tag or DEFAULT_TAG

    @property
    def endpoint(self) -> str:
        """host:port that serves the API; Docker Hub's differs from the name people write."""
        return _HUB_ENDPOINT if self.registry == DOCKER_HUB else self.registry

    def pinned(self, digest: str) -> Reference:
        """The same repository at a digest, without a tag: what a pod is given."""
        return replace(self, tag="", digest=digest)

    def tagged(self, tag: str) -> Reference:
        """The same repository at a tag, without a digest: where an image is pushed."""
        return replace(self, tag=tag, digest="")


def parse_reference(text: str, *, default_registry: str = DOCKER_HUB) -> Reference:
    """Take an image name apart.

    The first part is a host if it holds a dot, a colon or an upper-case letter, or is `localhost`; otherwise the image
    lives in `default_registry`, and on Docker Hub a name of one part gets `library/` in front
    (wercker.md "Images and registries", github.com/distribution/reference).

    Raises UserError(InvalidImageName) with what is wrong and how it is written.
    """
    scheme, slashes, _ = text.partition("://")
    if slashes:
        raise _invalid(text, f"leave {scheme[:10]}:// away")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _invalid(
            text, f"{digest!r} is not a digest: write it like sha256: and 64 hexadecimal digits"
        )
    head, slash, tail = rest.partition("/")
    if slash and (is_host(head) or head != head.lower()):
        registry, path = head, tail
    else:
        registry, path = default_registry, rest
    if not _HOST.fullmatch(registry):
        raise _invalid(text, f"{registry!r} is not a host name")
    registry = registry_of(registry)
    repository, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _invalid(
            text,
            f"{tag!r} is not a valid tag: 1 to 128 letters, digits, dots, dashes and underscores, "
            "not beginning with a dot or dash",
        )
    _check_path(text, repository)
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return Reference(registry=registry, repository=repository, tag=tag, digest=digest)


def parse_repository(text: str, *, default_registry: str = DOCKER_HUB) -> Reference:
    """A name to push to: lower-cased first, as wercker did, and without tag or digest (wercker.md)."""
    reference = parse_reference(text.lower(), default_registry=default_registry)
    if reference.tag or reference.digest:
        raise _invalid(text, "a repository is written without a tag or digest")
    return reference


def registry_of(host: str) -> str:
    """The registry that a host stands for: Docker Hub has many names, others have one."""
    return DOCKER_HUB if host.lower() in _HUB_HOSTS else host


def is_host(text: str) -> bool:
    """Whether the first part of a name is a host, in lower case: it holds a dot or a colon, or is `localhost`."""
    return text == "localhost" or "." in text or ":" in text


def _check_path(text: str, repository: str) -> None:
    if not repository:
        raise _invalid(text, "it has no repository")
    if not _PATH.fullmatch(repository):
        if _PATH.fullmatch(repository.lower()):
            raise _invalid(text, f"names are lower case: write {text.lower()!r}")
        raise _invalid(
            text,
            f"{repository!r} is not a valid repository: lower-case letters and digits, separated by slashes, "
            "dots, dashes "
            "or underscores",
        )
    if len(repository) > _MAX_NAME:
        raise _invalid(text, f"a repository has {_MAX_NAME} characters at most")
    if _IDENTIFIER.fullmatch(repository):
        raise _invalid(text, "64 hexadecimal digits are an image's id, not its name")


def _invalid(text: str, why: str) -> UserError:
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    return UserError(
        f"{shown!r} is not a valid image name: {why}", reason=Reason.INVALID_IMAGE_NAME
    )
