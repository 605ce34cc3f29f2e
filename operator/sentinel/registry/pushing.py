"""Where builds of a namespace may push, decided by the operator's settings alone.

One rule for the operator, which refuses before a pod exists, and for the agent, which refuses before it pushes.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from fnmatch import fnmatchcase

from sentinel.errors import UserError
from sentinel.image.reference import Reference, parse_repository
from sentinel.settings.images import ImageSettings


class Pushing(Enum):
    """What a repository is to builds of a namespace."""

    ALLOWED = "allowed"
    WITH_LOGIN = "with login"
    """Only with credentials of the namespace's own, in spec.image.pushSecretRef."""
    DENIED = "denied"


def may_push(target: Reference, *, images: ImageSettings, namespace: str) -> Pushing:
    """Whether builds of `namespace` may push to `target`.

    Below `<images.prefix>/<namespace>/` they may. With `images.allowedRepositories` they may push to what matches one
    of its patterns, and nowhere else. Without it, the rest of the prefix's registry is denied, since other namespaces'
    images are there, and every other registry wants a login.
    """
    own = _below_prefix(images, namespace)
    if own is not None and target.name.startswith(f"{own.name}/"):
        return Pushing.ALLOWED
    if images.allowed_repositories:
        return (
            Pushing.ALLOWED
            if any(
                fnmatchcase(target.name, pattern.replace("{namespace}", namespace))
                for pattern in images.allowed_repositories
            )
            else Pushing.DENIED
        )
    if own is not None and target.registry == own.registry:
        return Pushing.DENIED
    return Pushing.WITH_LOGIN


def allowed_places(images: ImageSettings, *, namespace: str) -> str:
    """For people: where builds of `namespace` may push, and by which setting."""
    own = _below_prefix(images, namespace)
    places = [f"{own.name}/* (images.prefix)"] if own is not None else []
    places += [
        f"{pattern.replace('{namespace}', namespace)} (images.allowedRepositories)"
        for pattern in images.allowed_repositories[:8]
    ]
    if not images.allowed_repositories:
        places.append("other registries with a login in spec.image.pushSecretRef")
    return ", ".join(places)


def _below_prefix(images: ImageSettings, namespace: str) -> Reference | None:
    if not images.prefix:
        return None
    try:
        # With an image's name behind it: docker.io/team alone would be the official image docker.io/library/team.
        some = parse_repository(
            f"{images.prefix.rstrip('/')}/{namespace}/x", default_registry=images.default_registry
        )
    except UserError:
        # The prefix itself is not a name of an image: a push there is refused.
        return None
    return replace(some, repository=some.repository.removesuffix("/x"))
