"""Registry logins in wercker.yml, beside the box or service they are for (wercker.md "Boxes", "Images and registries").

Their values may come from Secrets, so they are never part of a Plan: the engine puts them into a Secret that the
kubelet pulls with. Supported: `username` and `password` (also Google's `_json_key`), Azure's service principals, which
log in the same way, and Amazon's keys, which are exchanged for a password first (`registry.ecr`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sentinel.api.reasons import Reason
from sentinel.config.model import Box
from sentinel.errors import UserError
from sentinel.image.dockerconfig import Credential
from sentinel.image.reference import is_host, registry_of
from sentinel.plan.interpolate import interpolate

_PAIRS = (("username", "password"), ("azure-client-id", "azure-client-secret"))


def wants_login(box: Box) -> bool:
    """Whether wercker.yml has a login for this image."""
    return any(key not in ("registry", "azure-login-server") for key, _ in box.auth)


def login_of(box: Box, *, values: Mapping[str, str]) -> Credential | None:
    """The login for the box's image, None where there is none. `values` holds all variables, those of Secrets too.

    Amazon's keys are none yet: see `registry.ecr`.

    Raises UserError ImageAuthFailed for keys that we cannot use and for one that has no value.
    """
    said = dict(box.auth)
    for user_key, password_key in _PAIRS:
        if user_key in said or password_key in said:
            found = [
                interpolate(said.get(key, ""), public=values, where=key)
                for key in (user_key, password_key)
            ]
            for key, value in zip((user_key, password_key), found, strict=True):
                if not value:
                    raise UserError(
                        f"{key} of {box.id} on line {box.line} of wercker.yml is empty"
                        + (
                            f": {said[key]} has no value; set it in spec.env" if key in said else ""
                        ),
                        reason=Reason.IMAGE_AUTH_FAILED,
                    )
            return Credential(username=found[0], password=found[1])
    return None


def with_registry(image: str, auth: Sequence[tuple[str, str]]) -> str:
    """`image` with the host of `registry` (or of a cloud's) before it, where it names none itself."""
    said = dict(auth)
    registry = said.get("registry") or said.get("azure-login-server") or _of_amazon(said)
    host = registry.partition("://")[2] or registry
    host = host.partition("/")[0]
    if not host or names_host(image) or not image:
        return image
    return f"{registry_of(host)}/{image}"


def names_host(image: str) -> bool:
    """Whether an image's name begins with a registry's host."""
    first, slash, _ = image.partition("/")
    return bool(slash) and is_host(first)


def ecr_host(account: str, region: str) -> str:
    """The registry of an account of Amazon's in a region."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{account}.dkr.ecr.{region}.{suffix}"


def _of_amazon(said: Mapping[str, str]) -> str:
    account, region = said.get("aws-registry-id", ""), said.get("aws-region", "")
    return ecr_host(account, region) if account and region else ""
