"""How git is called and what its complaints mean: address, environment, empty repository, diagnosis.

Shared by the operator (`git.py`, asyncio) and by the pod's fetcher (`fetch.py`, which must start in milliseconds), so
nothing but the standard library is imported here, and of that only what starts fast. No process is started here.

A repository is somebody else's, and so may be its server. Therefore: no configuration but ours, no hooks, no prompts,
no protocol that runs a command, and credentials that are offered to the one host they were given for. They travel in
the environment of git alone: never in an argument, a URL, a file of the repository or an error.
"""

# pathlib costs 5 ms of the start:
# ruff: noqa: PTH103, PTH120, PTH123

from __future__ import annotations

import os

TYPE_CHECKING = False  # `typing` costs 4 ms of the fetcher's start
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SOURCE_NOT_FOUND = "SourceNotFound"
SOURCE_AUTH_FAILED = "SourceAuthFailed"
SOURCE_UNAVAILABLE = "SourceUnavailable"
INTERNAL = "Internal"
"""Members of `api.reasons.Reason`, which the fetcher cannot afford to import. A test holds them to it."""

SCHEMES = ("https", "http", "ssh", "git")

_KEPT = (
    "PATH",
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)

# Answers `get` only; git also calls it with `store` and `erase`, which are none of its business.
_HELPER = (
    '!f() { if test "$1" = get; then '
    'printf \'username=%s\\npassword=%s\\n\' "$SENTINEL_GIT_USERNAME" "$SENTINEL_GIT_PASSWORD"; '
    "fi; }; f"
)

_NOISE = (
    "hint:",
    "warning:",
    "Please make sure you have the correct access rights",
    "and the repository exists.",
    "Cloning into",
    "** WARNING",
    "** This session",
    "** The server",
    "Warning: Permanently added",
)
_MAX_QUOTE = 600


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
        host, colon, path = url.partition(":")
        if not colon or not host or not path or "/" in host or path.startswith(":"):
            raise ValueError(_unsupported(clean(url), allowed))
        return Address(url, "ssh", host.rpartition("@")[2], "", "")
    scheme = scheme.lower()
    if scheme not in allowed:
        raise ValueError(_unsupported(clean(url), allowed))
    authority, slash, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    if scheme == "file":
        return Address(url, scheme, "", "", "")
    if not host or host.startswith("-"):
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


def _unsupported(url: str, allowed: tuple[str, ...]) -> str:
    return (
        f"{url!r} is not a repository's URL that may be used here. "
        f"Give one that begins with {', '.join(f'{scheme}://' for scheme in allowed)} or user@host:path"
    )


def valid_ref(ref: str) -> bool:
    """Whether git would accept it as the name of a ref (git-check-ref-format) or it is a commit.

    Guards the command line (no leading dash, no refspec) and paths below .git made from it.
    """
    if not ref or len(ref) > 1000 or ref[0] in "-/." or ref[-1] in "/.":
        return False
    if any(ord(character) < 33 or character in "~^:?*[\\\x7f+" for character in ref):
        return False
    if ".." in ref or "//" in ref or "@{" in ref or ref == "@":
        return False
    return not any(part.startswith(".") or part.endswith(".lock") for part in ref.split("/"))


def is_commit(ref: str) -> bool:
    """Whether the ref is a full commit id: 40 hexadecimal digits."""
    return len(ref) == 40 and all(character in "0123456789abcdef" for character in ref.lower())


def environment(
    *,
    address: Address,
    username: str = "",
    password: str = "",
    key_file: str = "",
    known_hosts_file: str = "",
    allow_file: bool = False,
    inherited: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of git and its children, secrets included: never print it.

    Of our own environment only the path, proxies and certificate authorities are passed on. The user name and
    password are offered to `address`'s scheme, host and port only, so no redirect and no submodule takes them away.
    """
    source = os.environ if inherited is None else inherited
    result = {name: source[name] for name in _KEPT if source.get(name)}
    settings = [
        ("core.hooksPath", os.devnull),
        ("core.fsmonitor", "false"),
        ("credential.helper", ""),
        ("credential.interactive", "false"),
        ("http.followRedirects", "initial"),
        ("http.lowSpeedLimit", "100"),
        ("http.lowSpeedTime", "30"),
        ("protocol.version", "2"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("submodule.recurse", "false"),
        ("advice.detachedHead", "false"),
    ]
    if password or username:
        # A token alone is common; servers ignore the name, but it must not be empty.
        result["SENTINEL_GIT_USERNAME"] = username or "git"
        result["SENTINEL_GIT_PASSWORD"] = password
        settings.append((f"credential.{address.scheme}://{address.host}.helper", _HELPER))
        # Saves the round trip that ends in 401 (git 2.46 and later; ignored before).
        settings.append(("http.proactiveAuth", "basic"))
    result |= {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES + (("file",) if allow_file else ())),
        "GIT_SSH_COMMAND": _ssh(key_file, known_hosts_file),
        "GIT_SSH_VARIANT": "ssh",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for index, (name, value) in enumerate(settings):
        result[f"GIT_CONFIG_KEY_{index}"] = name
        result[f"GIT_CONFIG_VALUE_{index}"] = value
    return result


def _ssh(key_file: str, known_hosts_file: str) -> str:
    options = [
        "BatchMode=yes",
        "ConnectTimeout=15",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={known_hosts_file or os.devnull}",
        f"GlobalKnownHostsFile={os.devnull}",
        "IdentityAgent=none",
        f"IdentityFile={key_file or 'none'}",
        "IdentitiesOnly=yes",
    ]
    return "ssh -F none " + " ".join(f"-o '{option}'" for option in options)


def write_ssh_files(directory: str, *, key: str, known_hosts: str) -> tuple[str, str]:
    """Write the private key and known hosts as ssh wants them; the paths, or "" for what is not given.

    A key that lost its last newline or gained carriage returns on its way into a Secret is mended: ssh refuses it.
    """
    paths = []
    for name, text in (("key", key), ("known_hosts", known_hosts)):
        if not text.strip():
            paths.append("")
            continue
        path = f"{directory}/{name}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text.replace("\r\n", "\n").strip() + "\n")
        paths.append(path)
    return paths[0], paths[1]


def write_repository(
    git_dir: str, *, url: str, bare: bool, partial: bool, branch: str = "", fetch: bool = False
) -> None:
    """Make an empty repository with remote `origin`, as `git init` would, without paying for a process.

    `partial` allows filters (extensions.partialClone); `fetch` sets the remote's usual refspec, for people.
    """
    for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
        os.makedirs(f"{git_dir}/{name}", exist_ok=True)
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    lines = ["[core]", f"\trepositoryformatversion = {1 if partial else 0}", "\tfilemode = true"]
    lines += [f"\tbare = {'true' if bare else 'false'}"]
    if not bare:
        lines.append("\tlogallrefupdates = true")
    if partial:
        lines += ["[extensions]", "\tpartialClone = origin"]
    lines += ['[remote "origin"]', f'\turl = "{quoted}"']
    if fetch:
        lines.append("\tfetch = +refs/heads/*:refs/remotes/origin/*")
    if partial:
        lines.append("\tpromisor = true")
    _write(f"{git_dir}/config", "\n".join(lines) + "\n")
    _write(f"{git_dir}/HEAD", f"ref: refs/heads/{branch or 'main'}\n")


def write_ref(git_dir: str, name: str, commit: str) -> None:
    """Point the ref `name` (refs/heads/main) at a commit. The name must be `valid_ref`."""
    path = f"{git_dir}/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _write(path, commit + "\n")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


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


def quote(stderr: str, secrets: Iterable[str] = ()) -> str:
    """The telling lines of git's own words on one line, at most 600 characters."""
    text = clean(stderr.replace("\r", "\n"), secrets)
    lines = [line.strip() for line in text.split("\n")]
    told = list(dict.fromkeys(line for line in lines if line and not line.startswith(_NOISE)))
    return "; ".join(told)[:_MAX_QUOTE] or "git said nothing"


class Kind:
    """What git's complaint is about."""

    REF = "ref"
    REPOSITORY = "repository"
    AUTH = "auth"
    HOST_KEY = "host key"
    SSH_KEY = "ssh key"
    FILTER = "filter"
    UNADVERTISED = "unadvertised"
    UNAVAILABLE = "unavailable"


# In this order: ssh says "Could not read from remote repository" after every failure, git wraps 403 in many ways.
_KINDS = (
    (
        Kind.FILTER,
        ("tree filter allows max depth", "filter 'tree", "filter 'combine", "filter 'blob"),
    ),
    (
        Kind.UNADVERTISED,
        (
            "unadvertised object",
            "not our ref",
            "is not a valid object",
            "missing necessary objects",
        ),
    ),
    (Kind.REF, ("couldn't find remote ref", "could not find remote branch", "remote branch")),
    (Kind.HOST_KEY, ("Host key verification failed",)),
    (Kind.SSH_KEY, ("error in libcrypto", "invalid format", "incorrect passphrase")),
    (
        Kind.AUTH,
        (
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "Permission denied",
            "Access denied",
            "error: 401",
            "error: 403",
            "Too many authentication failures",
        ),
    ),
    (
        Kind.REPOSITORY,
        (
            "error: 404",
            "error: 410",
            "Repository not found",
            "repository not found",
            "does not appear to be a git repository",
            "does not exist",
            "not valid: is this a git repository?",
            "dumb http transport",
            "access denied or repository not exported",
            "Could not find repository",
        ),
    ),
)


def diagnose(stderr: str) -> str:
    """Which `Kind` git's words are. Whatever is not known is the network's or the server's."""
    for kind, phrases in _KINDS:
        if any(phrase in stderr for phrase in phrases):
            return kind
    # "repository 'http://…' not found" is how git words a 404 that has no body.
    if any(
        line.startswith("fatal: repository '") and line.endswith("not found")
        for line in stderr.split("\n")
    ):
        return Kind.REPOSITORY
    return Kind.UNAVAILABLE


def explain(
    *, address: Address, kind: str, said: str, ref: str, has_credentials: bool
) -> tuple[str, str]:
    """(reason, message for a person) of a failure; `said` is `quote`d."""
    url = clean(address.url)
    if kind in (Kind.REF, Kind.UNADVERTISED):
        thing = "commit" if is_commit(ref) else "branch, tag or commit"
        return SOURCE_NOT_FOUND, (
            f"{url} has no {thing} {clean(ref)!r}. Set spec.source.git.ref to one that exists"
        )
    if kind == Kind.REPOSITORY:
        hint = "" if has_credentials else ", or, if it is private, set spec.source.git.secretRef"
        return SOURCE_NOT_FOUND, (
            f"{url} is not a repository: git says: {said}. Check spec.source.git.url{hint}"
        )
    if kind == Kind.HOST_KEY:
        return SOURCE_AUTH_FAILED, (
            f"the host key of {address.host} is not known: git says: {said}. Put the server's line, as ssh-keyscan "
            "prints it, into `known_hosts` of the Secret that spec.source.git.secretRef names"
        )
    if kind in (Kind.AUTH, Kind.SSH_KEY):
        return (
            SOURCE_AUTH_FAILED,
            f"{url} refuses us: git says: {said}. {_auth_advice(address, kind, has_credentials)}",
        )
    return SOURCE_UNAVAILABLE, f"cannot fetch from {url}: git says: {said}"


def _auth_advice(address: Address, kind: str, has_credentials: bool) -> str:
    if kind == Kind.SSH_KEY:
        return "`ssh-privatekey` of the Secret is not a private key that ssh can use without a passphrase"
    fields = "`username` and `password`" if address.is_http else "`ssh-privatekey`"
    if has_credentials:
        return f"Correct {fields} in the Secret that spec.source.git.secretRef names"
    return f"Name a Secret with {fields} in spec.source.git.secretRef"
