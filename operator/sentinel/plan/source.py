"""A Plan's source: what is built, for each kind of spec.source. A new kind has its rules here.

Not here: which revision a source has (`engine/sources.py`), and fetching it (`source/`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from sentinel.api.source import ArchiveSource, GitSource, Source
from sentinel.layout import GIT_SECRET_DIR, OUTPUTS_DIR
from sentinel.plan.names import AttemptId

_SUFFIXES = re.compile(r"\.(tar\.gz|tar\.zst|tgz|tzst|tar|zip)$", re.I)


@dataclass(frozen=True, kw_only=True)
class PlanOutput:
    """The stored output of a Build of the same namespace, which its source is made of.

    `application` is the segment of its key, `sha256` is hexadecimal, `size` in bytes. `directory` is below the source's
    root, "" for the root itself.
    """

    build: str
    application: str
    uid: str
    attempt: int
    sha256: str
    size: int
    directory: str = ""

    @property
    def fetched(self) -> dict[str, Any]:
        """What the init container needs to know of it."""
        return {
            "build": self.build,
            "directory": self.directory,
            "sha256": self.sha256,
            "size": self.size,
        }


@dataclass(frozen=True, kw_only=True)
class PlanSource:
    """The commit to check out, or the archive to unpack. `secret` names a Secret with credentials, or is empty.

    An archive has a `digest` (sha256, hexadecimal) and no commit. One that is sent to the pod has no URL either, and
    its size in bytes in `upload`. With `outputs` these are the source's files, and the rest is what they were built
    from and where wercker.yml is. `parent_image` is the image of spec.parent, as repository@digest, "" without one;
    `inherited`: the Build has no source but its parent's.
    """

    url: str
    commit: str = ""
    digest: str = ""
    upload: int = 0
    ref: str = ""
    branch: str = ""
    tag: str = ""
    subject: str = ""
    secret: str = ""
    submodules: bool = False
    outputs: tuple[PlanOutput, ...] = ()
    parent_image: str = ""
    inherited: bool = False

    @property
    def fetch_secret(self) -> str:
        """The Secret that the pod fetches with, "" where it needs none: outputs come from the object store."""
        return "" if self.outputs else self.secret

    @property
    def project(self) -> GitUrl:
        """Where a repository is, by its URL; of an archive only its name."""
        if self.digest:
            return GitUrl(repository=archive_name(self.url))
        return parse_git_url(self.url)

    @property
    def fetched(self) -> dict[str, Any]:
        """What the init container needs to know to fetch it, besides the URL and where to."""
        if self.outputs:
            return {"outputsDir": OUTPUTS_DIR, "outputs": [each.fetched for each in self.outputs]}
        if self.upload:
            return {"sha256": self.digest, "upload": self.upload}
        if self.digest:
            return {"sha256": self.digest}
        return {
            "commit": self.commit,
            "ref": self.ref,
            "branch": self.branch,
            "tag": self.tag,
            "submodules": self.submodules,
        }

    def volumes(self, id: AttemptId) -> Iterator[tuple[str, str, dict[str, Any]]]:  # noqa: A002
        """The volumes that it is fetched from: name, place in the init container, and what they hold."""
        if self.fetch_secret:
            yield "git", GIT_SECRET_DIR, _secret(self.fetch_secret)
        if self.outputs:
            yield "outputs", OUTPUTS_DIR, _secret(id.outputs)

    def again(self, spec: Source) -> PlanSource:
        """The same with what grants something taken from the Build's spec. Raises LookupError for another kind."""
        if self.upload:
            if spec.upload is None:
                raise LookupError("it is for another kind of source")
            return replace(
                self, url="", secret="", digest=spec.upload.sha256, upload=spec.upload.size
            )
        place = spec.archive if self.digest else spec.git
        if place is None:
            raise LookupError("it is for another kind of source")
        return replace(self, url=place.url, secret=secret_of(place))

    @property
    def revision(self) -> str:
        """What exactly is built, for machines."""
        return f"sha256:{self.digest}" if self.digest else self.commit

    @property
    def short(self) -> str:
        """The same for people: the beginning of a commit, `archive sha256:…`, or whose output it is."""
        if self.outputs:
            return f"output of {', '.join(each.build for each in self.outputs)}"
        kind = "upload" if self.upload else "archive"
        return f"{kind} sha256:{self.digest[:12]}" if self.digest else self.commit[:12]


def secret_of(place: GitSource | ArchiveSource) -> str:
    """The Secret that a source is fetched with, "" without one."""
    return place.secret_ref.name if place.secret_ref is not None else ""


def _secret(name: str) -> dict[str, Any]:
    return {"secret": {"secretName": name, "defaultMode": 0o444}}


@dataclass(frozen=True, kw_only=True)
class GitUrl:
    """`domain` without port and user; `owner` is the path before the last part, possibly with slashes."""

    domain: str = ""
    owner: str = ""
    repository: str = ""


def schemeless(url: str) -> str:
    """`host[:port]/path` of a git URL: no scheme, no user or password, no query. ssh's `host:path` gets a slash."""
    rest = re.sub(r"^[a-z][a-z0-9+.-]*://", "", re.split(r"[?#]", url)[0], flags=re.I)
    head, slash, tail = rest.partition("/")
    place = head.rpartition("@")[2]
    if "://" not in url:
        place = place.replace(":", "/", 1).rstrip("/") if ":" in place else place
    return f"{place}{slash}{tail}".strip("/")


def parse_git_url(url: str) -> GitUrl:
    """The parts of `https://host/owner/name.git`, of the other schemes, and of ssh's `git@host:owner/name`.

    Never raises: what is not there is empty.
    """
    with_scheme = re.match(
        r"[a-z][a-z0-9+.-]*://(?:[^/@]*@)?(\[[^\]]*\]|[^/:]*)(?::\d*)?(/.*)?", url, re.I
    )
    like_scp = re.match(r"(?:[^/@]+@)?([^/:]+):(.*)", url)
    if with_scheme is not None:
        domain, path = with_scheme[1], with_scheme[2] or ""
    elif like_scp is not None:
        domain, path = like_scp[1], like_scp[2]
    else:
        domain, path = "", url
    parts = [part for part in re.split(r"[?#]", path)[0].split("/") if part]
    if not parts:
        return GitUrl(domain=domain)
    return GitUrl(
        domain=domain, owner="/".join(parts[:-1]), repository=parts[-1].removesuffix(".git")
    )


def archive_name(url: str) -> str:
    """The file's name without what tells its format, of characters that an image's name may have; "" for none.

    `https://host/v1/hello-1.0.tar.gz?signature=…` is `hello-1.0`.
    """
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    name = _SUFFIXES.sub("", unquote(path.rstrip("/").rpartition("/")[2]))
    return re.sub(r"[^A-Za-z0-9._-]+|[._-]{2,}", "-", name).strip("._-")
