"""Names and labels of everything an attempt makes, as functions of the Build.

Names are locks: creating the same name for the same attempt again is a 409, so it is known to exist.
So nothing here draws a random number, and two attempts never share a name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sentinel.api import GROUP
from sentinel.text import dns_label

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE = "sentinel"
BUILD_LABEL = f"{GROUP}/build"
UID_LABEL = f"{GROUP}/uid"
ATTEMPT_LABEL = f"{GROUP}/attempt"
FINISHED_LABEL = f"{GROUP}/finished"
INSTANCE_LABEL = f"{GROUP}/instance"
PLAN_ANNOTATION = f"{GROUP}/plan"
SIGNATURE_ANNOTATION = f"{GROUP}/signature"

BRANCH_LABEL = "com.wercker.branch"
"""Label of an image: the branch that it was built from."""

BOX = "box"
"""Name of the box container."""

SOURCE = "source"
"""Name of the init container that fetches the source."""

FETCH_VARIABLE = "SENTINEL_FETCH"
"""The variable that tells that container what to fetch."""

_LABEL_LENGTH = 63
_DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def of_instance(instance: str, selector: str = "") -> str:
    """A label selector narrowed to what belongs to an installation; to nothing more where that has no name."""
    ours = f"{INSTANCE_LABEL}={instance}" if instance else ""
    return ",".join(part for part in (selector, ours) if part)


def instance_label(instance: str) -> dict[str, str]:
    """The label of what belongs to an installation."""
    return {INSTANCE_LABEL: instance} if instance else {}


def is_dns_name(alias: str) -> bool:
    """Whether the API server takes `alias` in hostAliases: a lower-case RFC 1123 subdomain."""
    return len(alias) <= 253 and _DNS_NAME.fullmatch(alias) is not None


@dataclass(frozen=True)
class AttemptId:
    """Which attempt something is of, and the names of all that it makes. Names are cut to the 63 characters of a label.

    `attempt` is 0 for what belongs to the Build and to no attempt of it.
    """

    namespace: str
    build: str
    uid: str
    attempt: int

    @property
    def pod(self) -> str:
        """The pod: <build>-<first 8 of uid>-<attempt>."""
        return self._named(str(self.attempt))

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name) of the pod."""
        return self.namespace, self.pod

    @property
    def commit(self) -> str:
        """The ImageCommit at the attempt's end."""
        return self._named(str(self.attempt), "end")

    @property
    def steps(self) -> str:
        """The ConfigMap with the archives of the attempt's steps."""
        return self._named(str(self.attempt), "steps")

    @property
    def cache(self) -> str:
        """The Secret with the URL of the cache that the attempt's pod restores."""
        return self._named(str(self.attempt), "cache")

    @property
    def outputs(self) -> str:
        """The Secret with the URLs of the outputs that the attempt's source is made of."""
        return self._named(str(self.attempt), "outputs")

    @property
    def pull_secret(self) -> str:
        """The Secret with the registry logins of wercker.yml. The Build's: the next attempt pulls with it too."""
        return self._named("pull")

    def step_commit(self, ordinal: int) -> str:
        """The ImageCommit of a step that pushes."""
        return self._named(str(self.attempt), f"step{ordinal}")

    def step_image(self, ordinal: int) -> str:
        """The ImageCommit of the box as a step left it."""
        return self._named(str(self.attempt), f"after{ordinal}")

    def step_tag(self, ordinal: int) -> str:
        """The tag of that image."""
        return f"{self.uid}-step{ordinal}"

    def push_secret(self, ordinal: int) -> str:
        """The Secret with the login of a step that pushes, while it does. The Build's."""
        return self._named(f"push{ordinal}")

    def image_build(self, ordinal: int) -> str:
        """The pod that builds an image for a step, and its Secret, in the release's namespace."""
        return self._named(str(self.attempt), f"image{ordinal}")

    @property
    def labels(self) -> dict[str, str]:
        """Labels of every object of the attempt. A long Build's name is cut: the uid tells builds apart."""
        return {
            MANAGED_BY: MANAGED_BY_VALUE,
            BUILD_LABEL: label_value(self.build),
            UID_LABEL: self.uid,
            ATTEMPT_LABEL: str(self.attempt),
        }

    @property
    def of_build(self) -> AttemptId:
        """The same for what belongs to the Build and to no attempt."""
        return replace(self, attempt=0)

    @property
    def signed(self) -> tuple[str, ...]:
        """What a signature covers, with the Build's name as in its label: it can be read from an object's labels."""
        return self.namespace, label_value(self.build), self.uid, str(self.attempt)

    def _named(self, *rest: str) -> str:
        tail = "-".join((self.uid.replace("-", "")[:8], *rest))
        room = _LABEL_LENGTH - len(tail) - 1
        head = dns_label(self.build, limit=room) or "build"
        if not head[0].isalpha():
            # A pod may be called 1-…, a Service may not; one rule is enough.
            head = dns_label(f"b-{head}", limit=room)
        return f"{head}-{tail}"


def labelled(metadata: Mapping[str, Any]) -> AttemptId:
    """The attempt that an object's labels name. Raises LookupError or ValueError where they name none."""
    labels = metadata.get("labels") or {}
    return AttemptId(
        metadata["namespace"], labels[BUILD_LABEL], labels[UID_LABEL], int(labels[ATTEMPT_LABEL])
    )


def sealed_plan(raw: Mapping[str, Any]) -> str:
    """The text of a pod's plan annotation, "" without one."""
    return str((raw["metadata"].get("annotations") or {}).get(PLAN_ANNOTATION) or "")


def step_id(*, name: str, uid: str, ordinal: int) -> str:
    """A step's safe id: a directory name, unique in the build, the same in each attempt.

    wercker appends a random uuid4; ours is a digest of the Build's uid and the step's ordinal, so that a
    restarted operator computes the same one.
    """
    digest = hashlib.sha256(f"{uid}/{ordinal}".encode()).hexdigest()[:8]
    return f"{dns_label(name, limit=40) or 'step'}-{digest}"


def container_name(*, alias: str, index: int) -> str:
    """A service's container: the index keeps aliases apart that make the same label."""
    return f"service-{index}-{dns_label(alias, limit=40)}".rstrip("-")


def run_container_name(*, name: str, ordinal: int) -> str:
    """The container of internal/docker-run: `name` is what wercker.yml calls it."""
    return f"run-{ordinal}-{dns_label(name, limit=40)}".rstrip("-")


def label_value(text: str) -> str:
    """`text` as a label's value: at most 63 characters, ending in a letter or digit."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:_LABEL_LENGTH].strip("-_.")
