"""Names and labels of everything an attempt makes, as functions of the Build.

Names are locks: whoever creates the same name for the same attempt gets a 409, and knows that it was there before.
So nothing here draws a random number, and two attempts never share a name.
"""

from __future__ import annotations

import hashlib
import re

from sentinel.api import GROUP

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE = "sentinel"
BUILD_LABEL = f"{GROUP}/build"
UID_LABEL = f"{GROUP}/uid"
ATTEMPT_LABEL = f"{GROUP}/attempt"
FINISHED_LABEL = f"{GROUP}/finished"
PLAN_ANNOTATION = f"{GROUP}/plan"
SIGNATURE_ANNOTATION = f"{GROUP}/signature"

BOX = "box"
"""Name of the box container."""

SOURCE = "source"
"""Name of the init container that fetches the source."""

FETCH_VARIABLE = "SENTINEL_FETCH"
"""The variable that tells that container what to fetch."""

_LABEL_LENGTH = 63
_DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def slug(text: str, *, limit: int) -> str:
    """`text` as a DNS label of at most `limit` characters: lower case, other characters a dash. May be empty."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:limit].rstrip("-")


def is_dns_name(alias: str) -> bool:
    """Whether the API server takes `alias` in hostAliases: a lower-case RFC 1123 subdomain."""
    return len(alias) <= 253 and _DNS_NAME.fullmatch(alias) is not None


def pod_name(*, build: str, uid: str, attempt: int) -> str:
    """The pod's name: <build>-<first 8 of uid>-<attempt>, cut to the 63 characters of a host name."""
    return _named(build, uid, str(attempt))


def commit_name(*, build: str, uid: str, attempt: int) -> str:
    """The ImageCommit of the attempt's end."""
    return _named(build, uid, str(attempt), "end")


def step_commit_name(*, build: str, uid: str, attempt: int, ordinal: int) -> str:
    """The ImageCommit of a step that pushes."""
    return _named(build, uid, str(attempt), f"step{ordinal}")


def push_secret_name(*, build: str, uid: str, ordinal: int) -> str:
    """The Secret with the login of a step that pushes, while it does."""
    return _named(build, uid, f"push{ordinal}")


def steps_name(*, build: str, uid: str, attempt: int) -> str:
    """The ConfigMap with the archives of the attempt's steps."""
    return _named(build, uid, str(attempt), "steps")


def pull_secret_name(*, build: str, uid: str) -> str:
    """The Secret with the registry logins of wercker.yml. The build's, not an attempt's: the next one pulls with it."""
    return _named(build, uid, "pull")


def step_id(*, name: str, uid: str, ordinal: int) -> str:
    """A step's safe id: a directory name, unique in the build, the same in each attempt.

    wercker appends a random uuid4; ours is a digest of the Build's uid and the step's ordinal, so that a
    restarted operator computes the same one.
    """
    digest = hashlib.sha256(f"{uid}/{ordinal}".encode()).hexdigest()[:8]
    return f"{slug(name, limit=40) or 'step'}-{digest}"


def container_name(*, alias: str, index: int) -> str:
    """A service's container: the index keeps aliases apart that have the same slug."""
    return f"service-{index}-{slug(alias, limit=40)}".rstrip("-")


def labels(*, build: str, uid: str, attempt: int) -> dict[str, str]:
    """Labels of every object of an attempt. A long Build's name is cut: the uid is what tells builds apart."""
    return {
        MANAGED_BY: MANAGED_BY_VALUE,
        BUILD_LABEL: label_value(build),
        UID_LABEL: uid,
        ATTEMPT_LABEL: str(attempt),
    }


def label_value(text: str) -> str:
    """`text` as a label's value: at most 63 characters, ending in a letter or digit."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:_LABEL_LENGTH].strip("-_.")


def _named(build: str, uid: str, *rest: str) -> str:
    tail = "-".join((uid.replace("-", "")[:8], *rest))
    head = slug(build, limit=_LABEL_LENGTH - len(tail) - 1) or "build"
    if not head[0].isalpha():
        # A pod may be called 1-…, a Service may not; one rule is enough.
        head = slug(f"b-{head}", limit=_LABEL_LENGTH - len(tail) - 1)
    return f"{head}-{tail}"
