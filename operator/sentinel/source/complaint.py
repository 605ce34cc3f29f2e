"""What git complains of: whose fault it is, and a sentence that a person can act on. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sentinel.api.reasons import Reason
from sentinel.source.address import Address, clean, is_commit

_NOISE = (
    # What the server sends, which may be any page that only we can reach.
    "remote:",
    "hint:",
    "warning:",
    "Please make sure you have the correct access rights",
    "and the repository exists.",
    "Cloning into",
    "** WARNING",
    "** This session",
    "** The server",
    "Warning: Permanently added",
    # ssh's shouting about a host key that changed; the line with the key's fingerprint stays.
    "@",
    "IT IS POSSIBLE",
    "Someone could be",
    "It is also possible",
    "Please contact your system administrator",
    "Add correct host key in",
    "Offending ",
    "remove with:",
    "ssh-keygen -f",
)
_AFTER_SSH = "fatal: Could not read from remote repository."
_REMOTE_ERROR = "fatal: remote error: "
_MAX_QUOTE = 600


def quote(stderr: str, secrets: Iterable[str] = ()) -> str:
    """The telling lines of git's own words on one line, at most 600 characters. The server's words are left out."""
    text = clean(stderr.replace("\r", "\n"), secrets)
    lines = [line.strip() for line in text.split("\n")]
    lines = [_REMOTE_ERROR[:-2] if line.startswith(_REMOTE_ERROR) else line for line in lines]
    lines = list(dict.fromkeys(line for line in lines if line and not line.startswith(_NOISE)))
    if len(lines) > 1 and _AFTER_SSH in lines:
        lines.remove(_AFTER_SSH)  # ssh printed the cause
    return "; ".join(line.rstrip(".") for line in lines)[:_MAX_QUOTE] or "no error message"


class Kind:
    """What git's complaint is about."""

    REF = "ref"
    REPOSITORY = "repository"
    AUTH = "auth"
    HOST_KEY = "host key"
    CERTIFICATE = "certificate"
    REDIRECT = "redirect"
    PATHS = "paths"
    MEMORY = "memory"
    SSH_KEY = "ssh key"
    FILTER = "filter"
    UNADVERTISED = "unadvertised"
    UNAVAILABLE = "unavailable"


# In this order: ssh prints "Could not read from remote repository" after every failure, git wraps 403 in many ways.
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
    (
        Kind.CERTIFICATE,
        (
            "certificate verification failed",
            "SSL certificate problem",
            "does not match target host name",
            "no alternative certificate subject name",
            "error setting certificate",
            "error reading ca cert",
        ),
    ),
    (Kind.PATHS, ("error: invalid path '", "error: Invalid path '", "fatal: invalid path '")),
    (Kind.MEMORY, ("Out of memory", "out of memory", "cannot allocate memory")),
    (Kind.SSH_KEY, ("error in libcrypto", "invalid format", "incorrect passphrase")),
    (
        Kind.AUTH,
        (
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "Permission denied",
            "Access denied",
            "Too many authentication failures",
        ),
    ),
    (
        Kind.REPOSITORY,
        (
            "Repository not found",
            "repository not found",
            "does not appear to be a git repository",
            "does not exist",
            "not valid: is this a git repository?",
            "dumb http transport",
            "access denied or repository not exported",
            "Could not find repository",
            "unable to update url base from redirection",
            "redirect target URL could not be parsed",
            "not supported or disabled in libcurl",
            "strange pathname",
            "strange hostname",
            "mismatched algorithms",
        ),
    ),
)

_STATUS = "The requested URL returned error: "


_WORDS = {
    Kind.CERTIFICATE: (
        Reason.SOURCE_AUTH_FAILED,
        "the certificate of {host} is not trusted: git: {said}. If an authority of your own made it, "
        "put that authority's certificate (PEM) into `ca.crt` of the Secret that spec.source.git.secretRef names, or "
        "ask the cluster's administrator to add it to the chart's value ca",
    ),
    Kind.REDIRECT: (
        Reason.SOURCE_NOT_FOUND,
        "{url} redirects: git: {said}. Give the URL that it leads to: a `token` follows no redirect",
    ),
    Kind.PATHS: (
        Reason.SOURCE_INVALID,
        "{url} contains a file name that git refuses to check out because it could be harmful: git: {said}. "
        "Remove it from the repository",
    ),
    Kind.MEMORY: (
        Reason.SOURCE_INVALID,
        "{url} needs more memory than a checkout may have: git: {said}. A tree with millions of files, or one "
        "single huge object, does that",
    ),
    Kind.UNAVAILABLE: (Reason.SOURCE_UNAVAILABLE, "cannot fetch from {url}: git: {said}"),
}
"""What to say where the address and git's words are all there is to know."""


def diagnose(stderr: str) -> str:
    """Which `Kind` git's words are. Whatever is not known is the network's or the server's."""
    for kind, phrases in _KINDS:
        if any(phrase in stderr for phrase in phrases):
            return kind
    if _STATUS in stderr:
        return _of_status(stderr.partition(_STATUS)[2][:3])
    # "repository 'http://…' not found" is how git words a 404 that has no body.
    if any(
        line.startswith("fatal: repository '") and line.endswith("not found")
        for line in stderr.split("\n")
    ):
        return Kind.REPOSITORY
    return Kind.UNAVAILABLE


def _of_status(code: str) -> str:
    """The kind for an HTTP status. Overload and server errors are worth another try, other refusals are not."""
    if code in ("401", "403", "407"):
        return Kind.AUTH
    if code.startswith("3"):
        return Kind.REDIRECT
    if code.startswith("4") and code not in ("408", "425", "429"):
        return Kind.REPOSITORY
    return Kind.UNAVAILABLE


def explain(
    *, address: Address, kind: str, said: str, ref: str, has_credentials: bool, submodule: str = ""
) -> tuple[Reason, str]:
    """(reason, message for a person) of a failure; `said` is `quote`d. `submodule` is its path, where it is one."""
    if submodule and kind in (Kind.REF, Kind.UNADVERTISED, Kind.REPOSITORY, Kind.AUTH):
        return _explain_submodule(
            submodule,
            address=address,
            kind=kind,
            said=said,
            ref=ref,
            has_credentials=has_credentials,
        )
    url = clean(address.url)
    if kind == Kind.HOST_KEY:
        return Reason.SOURCE_AUTH_FAILED, _host_key(address, said)
    if kind in (Kind.REF, Kind.UNADVERTISED):
        thing = "commit" if is_commit(ref) else "branch, tag or commit"
        return Reason.SOURCE_NOT_FOUND, (
            f"{url} has no {thing} {clean(ref)!r}. Set spec.source.git.ref to one that exists"
        )
    if kind == Kind.REPOSITORY:
        hint = "" if has_credentials else ", or, if it is private, set spec.source.git.secretRef"
        return Reason.SOURCE_NOT_FOUND, (
            f"{url} is not a repository: git: {said}. Check spec.source.git.url{hint}"
        )
    if kind in (Kind.AUTH, Kind.SSH_KEY):
        advice = _auth_advice(address, kind, has_credentials)
        return Reason.SOURCE_AUTH_FAILED, f"{url} denied access: git: {said}. {advice}"
    reason, words = _WORDS.get(kind, _WORDS[Kind.UNAVAILABLE])
    return reason, words.format(url=url, host=address.host, said=said)


def _explain_submodule(
    submodule: str, *, address: Address, kind: str, said: str, ref: str, has_credentials: bool
) -> tuple[Reason, str]:
    what, url = f"submodule {clean(submodule)!r}", clean(address.url)
    if kind == Kind.AUTH:
        advice = (
            _auth_advice(address, kind, has_credentials)
            if has_credentials
            else "The credentials of spec.source.git.secretRef are for the source's own server and are sent to no "
            "other, so a submodule must lie there or be public"
        )
        return Reason.SOURCE_AUTH_FAILED, f"{what}: {url} denied access: git: {said}. {advice}"
    if kind == Kind.REPOSITORY:
        return Reason.SOURCE_NOT_FOUND, (
            f"{what}: {url} is not a repository: git: {said}. Correct its url in .gitmodules"
        )
    return Reason.SOURCE_NOT_FOUND, (
        f"{what}: {url} has no commit {clean(ref)!r}. Push it there, or have the project name one that exists"
    )


def _host_key(address: Address, said: str) -> str:
    port = f"-p {address.port} " if address.port else ""
    line = f"`ssh-keyscan {port}{address.hostname}` prints it"
    where = "`known_hosts` of the Secret that spec.source.git.secretRef names"
    if "has changed" in said:
        return (
            f"the host key of {address.host} does not match known_hosts: the server was replaced, or the connection is "
            f"intercepted: git: {said}. If the server's administrator confirms the new key, put its line into {where} "
            f"in place of the old one ({line})"
        )
    return (
        f"the host key of {address.host} is not in known_hosts: git: {said}. "
        f"Put the server's line into {where} ({line}; compare it with the one that the server's administrator has)"
    )


def _auth_advice(address: Address, kind: str, has_credentials: bool) -> str:
    if kind == Kind.SSH_KEY:
        return "`ssh-privatekey` of the Secret is not a private key that ssh can use without a passphrase"
    fields = "`username` and `password` (or `token`)" if address.is_http else "`ssh-privatekey`"
    if has_credentials:
        return f"Correct {fields} in the Secret that spec.source.git.secretRef names"
    return f"Name a Secret with {fields} in spec.source.git.secretRef"
