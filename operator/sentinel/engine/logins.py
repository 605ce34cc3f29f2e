"""The login in properties of `internal/docker-push` or of a box, and the registry that it implies
(wercker.md "Internal steps", "Images and registries"). Pure.

User and password; Amazon's access keys, which `registry.ecr` exchanges; or a service principal of Azure, whose id and
secret are user and password of its registry as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.image.dockerconfig import Credential
from sentinel.registry.ecr import EcrKeys

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9-]+)*(?::[0-9]{1,5})?")
_AMAZON = ("aws-access-key", "aws-secret-key", "aws-region", "aws-registry-id")


@dataclass(frozen=True, kw_only=True)
class FoundLogin:
    """Who pushes or pulls, None for anonymous access. `host` is the registry of a cloud's login, "" for others."""

    login: Credential | EcrKeys | None = field(default=None, repr=False)
    host: str = ""


def read_login(text: Callable[[str], str], names: Collection[str]) -> FoundLogin:
    """The login in properties of these names; `text` gives a property with its variables replaced.

    Raises UserError ConfigInvalid for a part of one. An option that is there and empty counts as given: a variable that
    is not set must not become a request without a login.
    """
    if any(name in names for name in _AMAZON):
        return _amazon(text)
    if any(name.startswith("azure-") for name in names):
        return _azure(text)
    username, password = text("username"), text("password")
    if not username and not password:
        return FoundLogin()
    if not username or not password:
        raise _wrong("username and password belong together, and one of them is empty")
    if username == "_json_key":
        # A key that went through a shell has its line ends escaped twice.
        password = password.replace("\\\\n", "\\n")
    return FoundLogin(login=Credential(username=username, password=password))


def _amazon(text: Callable[[str], str]) -> FoundLogin:
    said = _all_of(text, _AMAZON)
    keys = EcrKeys(
        access_key=said["aws-access-key"],
        secret_key=said["aws-secret-key"],
        region=said["aws-region"].lower(),
        registry_id=said["aws-registry-id"],
    )
    if problem := keys.problem():
        raise _wrong(problem)
    return FoundLogin(login=keys, host=keys.host)


def _azure(text: Callable[[str], str]) -> FoundLogin:
    said = _all_of(text, ("azure-client-id", "azure-client-secret"))
    name = text("azure-registry-name")
    host = text("azure-login-server") or (f"{name}.azurecr.io" if name else "")
    host = host.partition("://")[2].rstrip("/").lower() or host.lower()
    if not _HOST.fullmatch(host):
        raise _wrong(
            f"azure-login-server {host[:80]!r} is no host: write it like name.azurecr.io"
            if host
            else "azure-login-server is missing or empty: write it like name.azurecr.io"
        )
    login = Credential(username=said["azure-client-id"], password=said["azure-client-secret"])
    return FoundLogin(login=login, host=host)


def _all_of(text: Callable[[str], str], names: Collection[str]) -> dict[str, str]:
    said = {name: text(name) for name in names}
    if missing := [name for name, value in said.items() if not value]:
        raise _wrong(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing or empty"
        )
    return said


def _wrong(message: str) -> UserError:
    return UserError(message, reason=Reason.CONFIG_INVALID)
