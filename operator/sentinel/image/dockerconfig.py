"""Logins for registries: docker configs read as a keychain that finds the closest entry for an image, and written.

Pure. Not here: reading Secrets from the API server, and tokens, which are the client's.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.image.reference import Reference, registry_of


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A user and password, or an identity token to exchange for others. Neither is ever printed."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Login:
    """One entry of a docker config: a credential for images on `host` (perhaps with `*`) under `path`.

    `source` is what error messages call the docker config.
    """

    host: str
    path: str
    credential: Credential
    source: str = ""

    def rank(self, reference: Reference) -> tuple[int, int] | None:
        """How closely it fits, longest path first, exact hosts before patterns; None if it does not."""
        if self.path and not f"{reference.repository}/".startswith(f"{self.path}/"):
            return None
        if self.host == reference.registry:
            return len(self.path), 1
        same_depth = self.host.count(".") == reference.registry.count(".")
        if "*" in self.host and same_depth and fnmatchcase(reference.registry, self.host):
            return len(self.path), 0
        return None


@dataclass(frozen=True)
class Keychain:
    """All credentials at hand. Earlier entries win among equals, as with a pod's imagePullSecrets."""

    entries: tuple[Login, ...] = ()

    def __add__(self, other: Keychain) -> Keychain:
        return Keychain(self.entries + other.entries)

    def find(self, reference: Reference) -> Credential | None:
        """The credential of the entry that fits this image most closely (images.md)."""
        ranked = [(entry.rank(reference), entry) for entry in self.entries]
        fitting = [(rank, entry) for rank, entry in ranked if rank is not None]
        return max(fitting, key=lambda pair: pair[0])[1].credential if fitting else None


NO_CREDENTIALS = Keychain()
"""Everything is asked for without a name."""


def keychain_from_secrets(secrets: Iterable[Mapping[str, Any]]) -> Keychain:
    """A keychain of Secrets as the API server gives them. Raises UserError naming the Secret that is malformed."""
    keychain = Keychain()
    for secret in secrets:
        keychain += _from_secret(secret)
    return keychain


def keychain_from_docker_config(text: str | bytes, *, source: str) -> Keychain:
    """A keychain of a docker config.json, `source` being what error messages call it. Raises UserError."""
    config = _json_object(text, source=source)
    auths = config.get("auths", {})
    if not isinstance(auths, dict):
        raise _malformed(source, "`auths` is not an object")
    return Keychain(tuple(_entry(key, auth, source=source) for key, auth in auths.items()))


def docker_config(credentials: Mapping[str, Credential]) -> str:
    """The text of a dockerconfigjson Secret. Keys are `host/path`: each login is for one repository only."""
    auths = {
        place: {
            "username": each.username,
            "password": each.password,
            "auth": base64.b64encode(f"{each.username}:{each.password}".encode()).decode(),
        }
        for place, each in credentials.items()
    }
    return json.dumps({"auths": auths})


def _from_secret(secret: Mapping[str, Any]) -> Keychain:
    metadata = secret.get("metadata", {})
    source = f"Secret {metadata.get('namespace', '')}/{metadata.get('name', '')}"
    data = secret.get("data") or {}
    if ".dockerconfigjson" in data:
        return keychain_from_docker_config(
            _unbase64(data[".dockerconfigjson"], source), source=source
        )
    if ".dockercfg" in data:
        auths = _json_object(_unbase64(data[".dockercfg"], source), source=source)
        return Keychain(tuple(_entry(key, auth, source=source) for key, auth in auths.items()))
    raise _malformed(
        source,
        f"it is of type {secret.get('type', 'Opaque')} and holds no .dockerconfigjson; make one with "
        "`kubectl create secret docker-registry`",
    )


def _entry(key: str, auth: object, *, source: str) -> Login:
    if not isinstance(auth, dict):
        raise _malformed(source, f"the entry of {key!r} is no object")
    host, path = _place(key)
    username, password = str(auth.get("username", "")), str(auth.get("password", ""))
    if auth.get("auth"):
        decoded = _unbase64(auth["auth"], f"{source}, entry {key!r}").decode("utf-8", "replace")
        user, colon, word = decoded.partition(":")
        if not colon:
            raise _malformed(source, f"`auth` of {key!r} is not base64 of user:password")
        username, password = user, word.rstrip("\0")
    credential = Credential(
        username=username,
        password=password,
        identity_token=str(auth.get("identitytoken", "")),
    )
    return Login(host=host, path=path, credential=credential, source=source)


def _place(key: str) -> tuple[str, str]:
    """Host and path of a key: host, host:port, host/path, or a URL such as Docker Hub's https://index.docker.io/v1/."""
    place = key.removeprefix("https://").removeprefix("http://").strip("/")
    host, _, path = place.partition("/")
    if path in ("v1", "v2"):
        path = ""
    path = path.removeprefix("v2/") if "://" in key else path
    return registry_of(host), path


def _json_object(text: str | bytes, *, source: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except ValueError as error:
        # The parser's message may quote the text, and the text is a secret: only the place is shown.
        where = (
            f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "its encoding"
        )
        raise _malformed(source, f"it is not JSON ({where})") from None
    if not isinstance(parsed, dict):
        raise _malformed(source, "it is not a JSON object")
    return parsed


def _unbase64(text: object, source: str) -> bytes:
    try:
        return base64.b64decode(str(text), validate=False)
    except binascii.Error:
        raise _malformed(source, "it is not base64") from None


def _malformed(source: str, why: str) -> UserError:
    return UserError(
        f"{source} is not a valid docker config: {why}", reason=Reason.IMAGE_AUTH_FAILED
    )
