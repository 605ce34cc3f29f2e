"""Every form of URL a project, an archive or a step may come from, taken apart once; and what a ref may be called.

Pure. Nothing that this module accepts is an option of git or ssh, or means another host to git, curl or ssh than to us.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

SCHEMES = ("https", "http", "ssh", "git")
WEB = ("https", "http")
PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
MAX_REF_PART = 250
"""Bytes of one part of a ref's name. git keeps a ref in a file of that name, and locks it as `<name>.lock`."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.][A-Za-z0-9_.-]*)(?::([0-9]{0,5}))?")
_SAFE = "%/:=&?~#+!$,;'@()*[]"
"""Characters of a path or query that stay; what is escaped already stays too."""


@dataclass(frozen=True)
class Address:
    """Where a repository or file is. `url` carries no credentials; `username`, `password` are those it was given with.

    `host` is as written, with its port and an IPv6 address's brackets.
    """

    url: str
    scheme: str
    host: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def is_http(self) -> bool:
        """Whether it is reached by http or https, where user name and password belong."""
        return self.scheme in WEB

    @property
    def hostname(self) -> str:
        """The host without its port, in small letters; an IPv6 address without its brackets."""
        name = self.host.lower()
        if name.startswith("["):
            return name[1:].partition("]")[0]
        return name.partition(":")[0]

    @property
    def port(self) -> str:
        """The port that the URL names, or ""."""
        return self.host.rpartition("]")[2].partition(":")[2]

    @property
    def port_number(self) -> int:
        """The port, the scheme's own where the URL names none."""
        return int(self.port or PORTS.get(self.scheme, 0))

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: what a credential is for."""
        return self.scheme, self.hostname, self.port_number

    @property
    def target(self) -> str:
        """Path and query as an HTTP request has them."""
        rest = self.url.partition("://")[2].partition("#")[0]
        path = rest[len(self.host) :]
        return quote(path if path.startswith("/") else f"/{path}", safe=_SAFE)


def parse_address(url: str, *, allow_file: bool = False) -> Address:
    """Take a repository's URL apart.

    ValueError, with a sentence for the user, where the URL is none that may be fetched from. The scp-like form
    `git@host:owner/project.git` is ssh.
    """
    return _parse(
        url, SCHEMES + (("file",) if allow_file else ()), "a repository's URL", scp_like=True
    )


def parse_web_address(url: str, *, allow_file: bool = False) -> Address:
    """Take the http(s) URL of an archive, a step or a registry apart. ValueError as above."""
    return _parse(url, WEB + (("file",) if allow_file else ()), "a URL", scp_like=False)


def _parse(url: str, allowed: tuple[str, ...], what: str, *, scp_like: bool) -> Address:
    shown = without_query(url) if not scp_like else clean(url)[:1000]
    if not url:
        raise ValueError(f"the {what.removeprefix('a ')} is empty")
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    odd = any(ord(character) < 33 or ord(character) == 127 for character in url) or url[0] == "-"
    if odd and (scp_like or scheme in allowed):
        raise ValueError(f"{shown!r} is not a URL: it holds spaces or begins with a dash")
    if separator and scheme == "file" and scheme in allowed:
        return Address(url, scheme, "")
    if separator and scheme in allowed:
        return _of_server(scheme, rest, shown)
    if scp_like and not separator and (address := _scp_like(url, shown)):
        return address
    choices = [f"{each}://" for each in allowed]
    choices += ["user@host:path"] if scp_like else []
    raise ValueError(
        f"{shown!r} is not {what} that may be used here. "
        f"Give one that begins with {', '.join(choices[:-1])} or {choices[-1]}"
    )


def _of_server(scheme: str, rest: str, shown: str) -> Address:
    authority, slash, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    if not _is_host(host) or "\\" in user:
        raise ValueError(f"{shown!r} names no host")
    username, _, password = user.partition(":")
    if scheme in WEB:
        return Address(
            f"{scheme}://{host}{slash}{path}", scheme, host, unquote(username), unquote(password)
        )
    if username.startswith("-"):
        raise ValueError(f"{shown!r} has a user name that begins with a dash")
    at = f"{username}@" if username else ""
    return Address(f"{scheme}://{at}{host}{slash}{path}", scheme, host)


def _scp_like(url: str, shown: str) -> Address | None:
    """ssh's short form: `user@host:path`; `[user@host:port]:path` and `user@[address]:path` are git's own for more."""
    if "[" in url.partition(":")[0]:
        left, end, path = url.partition("]:")
        user, bracket, inner = left.partition("[")
        name, _, host = inner.rpartition("@")
        user = user.removesuffix("@") or name
        host = f"[{host}]" if host.count(":") > 1 else host
        separator = end and bracket
    else:
        left, separator, path = url.partition(":")
        user, _, host = left.rpartition("@")
    if not separator or not path or path[0] in ":-" or not _is_host(host):
        return None
    if user.startswith("-"):
        raise ValueError(f"{shown!r} has a user name that begins with a dash")
    return Address(url, "ssh", host)


def _is_host(host: str) -> bool:
    """Whether git, curl, ssh and we see one and the same host and port in it, and none of them an option.

    Names in other letters are written as the name servers have them (xn--…): each program translates in its own way.
    """
    match = _HOST.fullmatch(host)
    return match is not None and int(match[2] or 1) in range(1, 65536)


def holds_login(url: str) -> bool:
    """Whether the URL shows a credential: a password, or by http(s) a user, which may be a token."""
    scheme, separator, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest if separator else url, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    return bool(at) and (":" in user or (bool(separator) and scheme.lower() in WEB))


def without_query(url: str) -> str:
    """A URL for people: no credentials, no query, no fragment, bounded."""
    return clean(re.split(r"[?#]", url, maxsplit=1)[0])[:1000]


def valid_ref(ref: str) -> bool:
    """Whether `git check-ref-format --allow-onelevel` accepts the name, and the file system its parts.

    A name may begin with a dash or a plus: pass it to git as `refspec(ref)`, or below `refs/`.
    """
    if not ref or len(ref) > 1000 or ref[0] == "/" or ref[-1] in "/.":
        return False
    if any(ord(character) < 33 or character in "~^:?*[\\\x7f" for character in ref):
        return False
    if ".." in ref or "//" in ref or "@{" in ref or ref == "@":
        return False
    return not any(
        part.startswith(".")
        or part.endswith(".lock")
        or len(part.encode("utf-8", "surrogatepass")) > MAX_REF_PART
        for part in ref.split("/")
    )


def refspec(ref: str) -> str:
    """The ref as an argument of `git fetch`: behind a `+`, nothing in a valid name is an option or a prefix."""
    return f"+{ref}"


def is_commit(ref: str) -> bool:
    """Whether the ref is a full commit id: 40 hexadecimal digits."""
    return len(ref) == 40 and all(character in "0123456789abcdef" for character in ref.lower())


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` for people: no secret values, no credentials in URLs, no control characters; newlines stay."""
    for secret in sorted({secret for secret in secrets if len(secret) >= 3}, key=len, reverse=True):
        text = text.replace(secret, "***")
    words = []
    for word in text.split(" "):
        head, separator, tail = word.partition("://")
        authority, slash, path = tail.partition("/")
        user, at, host = authority.rpartition("@")
        if separator and at and not (head.endswith("ssh") and ":" not in user):
            word = f"{head}://***@{host}{slash}{path}"  # noqa: PLW2901
        words.append(word)
    return "".join(c for c in " ".join(words) if c == "\n" or (ord(c) >= 32 and ord(c) != 127))
