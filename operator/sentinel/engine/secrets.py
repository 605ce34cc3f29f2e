"""Reading what a Build refers to: Secrets and ConfigMaps of its namespace.

Missing ones are the user's to make: SecretNotFound, naming the object. Nothing here is kept or logged.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sentinel.api.build import Build
from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.image.dockerconfig import NO_CREDENTIALS, Keychain, keychain_from_secrets
from sentinel.kube.client import Kube
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import CONFIG_MAPS, SECRETS, Resource
from sentinel.plan import environment
from sentinel.plan.environment import ResolvedEnvironment, needed
from sentinel.plan.model import EnvSource, Variable
from sentinel.settings import Settings
from sentinel.source.access import KEYS

REFERRED_LIMIT = 8 * 1024 * 1024
"""Bytes that the Secrets, or the ConfigMaps, of a build's variables may hold together: each may have 1 MiB."""


@dataclass(frozen=True, kw_only=True)
class References:
    """The Secrets and ConfigMaps that one Build refers to, each read when it is needed."""

    build: Build
    kube: Kube
    settings: Settings

    async def git_credentials(self, secret: str) -> dict[str, str] | None:
        """What the Secret of `spec.source.git.secretRef` holds, or None without one."""
        if not secret:
            return None
        advice = "make it of type kubernetes.io/basic-auth or kubernetes.io/ssh-auth"
        return await self._login(secret, "spec.source.git", KEYS, advice)

    async def archive_credentials(self, secret: str) -> dict[str, str] | None:
        """What the Secret of `spec.source.archive.secretRef` holds, or None without one."""
        if not secret:
            return None
        keys = ("username", "password", "token", "ca.crt")
        advice = "make it of type kubernetes.io/basic-auth, or give it a bearer token under `token`"
        return await self._login(secret, "spec.source.archive", keys, advice)

    async def _login(
        self, name: str, field: str, keys: Sequence[str], advice: str
    ) -> dict[str, str]:
        """Those `keys` of a source's Secret, "" for what it lacks. UserError where it has none of them."""
        data = secret_data(await self._secret(name, wanted_by=f"{field}.secretRef"))
        known = {key: data.get(key, b"").decode("utf-8", "replace") for key in keys}
        if not any(known.values()):
            raise UserError(
                f"Secret {name!r} of {field}.secretRef has none of the keys {', '.join(keys)}: {advice}",
                reason=Reason.SECRET_NOT_FOUND,
            )
        return known

    async def keychain(self) -> Keychain:
        """What the box's and services' images are looked up with."""
        image, pod = self.build.spec.image, self.build.spec.pod
        names = [ref.name for ref in (*image.pull_secret_refs, *pod.image_pull_secrets)]
        return await self.named_keychain(
            dict.fromkeys(names), wanted_by="spec.image.pullSecretRefs"
        )

    async def named_keychain(self, names: Iterable[str], *, wanted_by: str) -> Keychain:
        """The logins of these Secrets of the Build's namespace. Raises UserError(SecretNotFound)."""
        return keychain_from_secrets(
            [await self._secret(name, wanted_by=wanted_by) for name in names]
        )

    async def push_keychain(self) -> Keychain:
        """What the box is pushed with; the Secret must exist before anything runs, not when the box is finished."""
        ref = self.build.spec.image.push_secret_ref
        if ref is None:
            return NO_CREDENTIALS
        return await self.named_keychain([ref.name], wanted_by="spec.image.pushSecretRef")

    async def resolve(self, variables: Sequence[Variable | EnvSource]) -> ResolvedEnvironment:
        """The values of these variables; the Secrets and ConfigMaps they name are read for it."""
        secret_names, map_names = needed(variables)
        secrets, maps = await asyncio.gather(
            self._read_all(SECRETS, secret_names), self._read_all(CONFIG_MAPS, map_names)
        )
        return environment.resolve(
            variables,
            secrets={name: secret_data(raw) for name, raw in secrets.items()},
            config_maps={name: dict(raw.get("data") or {}) for name, raw in maps.items()},
        )

    async def _read_all(
        self, resource: Resource, names: Iterable[str]
    ) -> dict[str, dict[str, Any]]:
        """The objects that exist; a missing one is judged where it is used: it may be optional.

        Raises UserError InvalidSpec where they hold more together than a build may need.
        """
        found: dict[str, dict[str, Any]] = {}
        size = 0
        for name in sorted(names):
            if resource is SECRETS:
                self._refuse_our_key(name)
            try:
                raw = await self.kube.get(resource, namespace=self.build.namespace, name=name)
            except NotFound:
                continue
            found[name] = raw
            size += sum(len(key) + len(value) for key, value in (raw.get("data") or {}).items())
            if size > REFERRED_LIMIT:
                raise UserError(
                    f"the {resource.plural} that spec.env and spec.envFrom name hold more than {REFERRED_LIMIT} bytes "
                    "together: keep variables in small ones of their own",
                    reason=Reason.INVALID_SPEC,
                )
        return found

    def _refuse_our_key(self, name: str) -> None:
        """A Build in the release's namespace must not read the key that plans are signed with."""
        settings = self.settings
        if (self.build.namespace, name) == (settings.pod_namespace, settings.plan_key_secret):
            raise UserError(
                f"Secret {name!r} holds the operator's own key: no Build may use it",
                reason=Reason.INVALID_SPEC,
            )

    async def _secret(self, name: str, *, wanted_by: str) -> dict[str, Any]:
        self._refuse_our_key(name)
        try:
            return await self.kube.get(SECRETS, namespace=self.build.namespace, name=name)
        except NotFound as e:
            raise UserError(
                f"there is no Secret {name!r} in namespace {self.build.namespace!r}, which {wanted_by} names",
                reason=Reason.SECRET_NOT_FOUND,
            ) from e


def secret_data(raw: Mapping[str, Any]) -> dict[str, bytes]:
    """A Secret's data, decoded."""
    return {key: base64.b64decode(value) for key, value in (raw.get("data") or {}).items()}
