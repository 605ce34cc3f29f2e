"""A git URL taken apart into what WERCKER_GIT_* want. Whether it may be fetched is not decided here."""

from __future__ import annotations

import re
from dataclasses import dataclass


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
