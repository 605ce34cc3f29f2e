"""What git complains of: whose fault it is, and a sentence that a person can act on. Pure; imports nothing slow."""

from __future__ import annotations

from sentinel.source.address import Address, clean, is_commit

TYPE_CHECKING = False  # `typing` costs 4 ms of the fetcher's start
if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCE_NOT_FOUND = "SourceNotFound"
SOURCE_AUTH_FAILED = "SourceAuthFailed"
SOURCE_UNAVAILABLE = "SourceUnavailable"
SOURCE_INVALID = "SourceInvalid"
INTERNAL = "Internal"
"""Members of `api.reasons.Reason`, which the fetcher cannot afford to import. A test holds them to it."""

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
