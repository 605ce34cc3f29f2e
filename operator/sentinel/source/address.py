"""Where a repository is and what a ref may be called: guards of git's command line. Pure; imports nothing slow."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` costs 4 ms of the fetcher's start
if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMES = ("https", "http", "ssh", "git")
MAX_REF_PART = 250
"""Bytes of one part of a ref's name. git keeps a ref in a file of that name, and locks it as `<name>.lock`."""


class Address:
    """Where a repository is. `url` carries no credentials; `username`, `password` are those the given URL had."""

    __slots__ = ("host", "password", "scheme", "url", "username")

    def __init__(self, url: str, scheme: str, host: str, username: str, password: str) -> None:
        self.url = url
        self.scheme = scheme
        self.host = host
        self.username = username
        self.password = password

    @property
    def is_http(self) -> bool:
        """Whether it is reached by http or https, where user name and password belong."""
        return self.scheme in ("http", "https")

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


def parse_address(url: str, *, allow_file: bool = False) -> Address:
    """Take a repository's URL apart. `host` includes the port.

    ValueError, with a sentence for the user, where the URL is none that may be fetched from. The scp-like form
    `git@host:owner/project.git` is ssh.
    """
    if not url:
        raise ValueError("the repository's URL is empty")
    if any(ord(character) < 33 or ord(character) == 127 for character in url) or url[0] == "-":
        raise ValueError(f"{clean(url)!r} is not a URL: it holds spaces or begins with a dash")
    allowed = SCHEMES + (("file",) if allow_file else ())
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _scp_like(url, allowed)
    scheme = scheme.lower()
    if scheme not in allowed:
        raise ValueError(_unsupported(clean(url), allowed))
    authority, slash, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    if scheme == "file":
        return Address(url, scheme, "", "", "")
    if not _is_host(host) or "\\" in user:
        raise ValueError(f"{clean(url)!r} names no host")
    if scheme not in ("http", "https"):
        name, colon, _ = user.partition(":")
        if colon:
            user, url = name, f"{scheme}://{name}@{host}{slash}{path}"
        if user.startswith("-"):
            raise ValueError(f"{clean(url)!r} has a user name that begins with a dash")
        return Address(url, scheme, host, "", "")
    username, _, password = user.partition(":")
    if "%" in user:
        from urllib.parse import unquote  # noqa: PLC0415 - rare, and slow to import

        username, password = unquote(username), unquote(password)
    return Address(f"{scheme}://{host}{slash}{path}", scheme, host, username, password)


def _scp_like(url: str, allowed: tuple[str, ...]) -> Address:
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
        raise ValueError(_unsupported(clean(url), allowed))
    if user.startswith("-"):
        raise ValueError(f"{clean(url)!r} has a user name that begins with a dash")
    return Address(url, "ssh", host, "", "")


def _is_host(host: str) -> bool:
    """Whether git, curl and ssh all see one and the same host in it, and none an option."""
    return (
        bool(host)
        and host[0] != "-"
        and all(character.isalnum() or character in ".-_:[]%" for character in host)
    )


def _unsupported(url: str, allowed: tuple[str, ...]) -> str:
    return (
        f"{url!r} is not a repository's URL that may be used here. "
        f"Give one that begins with {', '.join(f'{scheme}://' for scheme in allowed)} or user@host:path"
    )


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
        if (
            separator
            and "@" in authority
            and not (head.endswith("ssh") and ":" not in authority.rpartition("@")[0])
        ):
            word = f"{head}://***@{authority.rpartition('@')[2]}{slash}{path}"  # noqa: PLW2901
        words.append(word)
    return "".join(c for c in " ".join(words) if c == "\n" or (ord(c) >= 32 and ord(c) != 127))
