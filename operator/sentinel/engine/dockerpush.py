"""What `internal/docker-push` and `internal/docker-scratch-push` are to push, read from their properties. Pure.

Properties are interpolated with the box's environment at that moment (`wercker-semantics.md` §2.7); the registry is
inferred as the original did (§6.3). Not here: pushing (`internalsteps.py`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from sentinel.api.imagecommit import ImageConfig
from sentinel.api.reasons import Reason
from sentinel.engine.logins import read_login
from sentinel.errors import UserError
from sentinel.image.dockerconfig import Credential
from sentinel.image.reference import (
    DOCKER_HUB,
    Reference,
    is_host,
    parse_repository,
    registry_of,
)
from sentinel.plan.interpolate import interpolate
from sentinel.registry.ecr import EcrKeys

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PORT = re.compile(r"(?:[0-9]+:)?([0-9]{1,5})(?:/(tcp|udp|sctp))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_TAGS = 8
_NOT_FROM_SCRATCH = ("labels", "user", "stopsignal", "author", "message", "image-name")
"""What `internal/docker-scratch-push` ignores, as the original did."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """One push. `notes` are lines for the step's log."""

    target: Reference
    tags: tuple[str, ...]
    config: ImageConfig
    login: Credential | EcrKeys | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()


def wants_sync(properties: Mapping[str, str]) -> bool:
    """Whether variables that steps exported count in the properties: not with `disable-sync: "true"` (§3.6)."""
    return properties.get("disable-sync") != "true"


def read_push(
    properties: Mapping[str, str],
    env: Mapping[str, str],
    *,
    scratch: bool = False,
    secret_values: Sequence[str] = (),
    default_registry: str = DOCKER_HUB,
) -> Push:
    """The push that these properties ask for, in an environment. Raises UserError ConfigInvalid.

    An image from `scratch` takes fewer of them. `secret_values` are those of protected variables: one that would stand
    in the image's configuration is refused.
    """
    notes: tuple[str, ...] = ()
    if scratch:
        unused = [name for name in _NOT_FROM_SCRATCH if properties.get(name)]
        properties = {name: text for name, text in properties.items() if name not in unused}
        if unused:
            notes = (f"not used for an image from scratch: {', '.join(unused)}",)
    said = _Properties(properties, env)
    who = read_login(said.text, properties.keys())
    target, about_target = _target(said, cloud=who.host, default_registry=default_registry)
    config = _config(
        labels=_labels(said, env),
        working_dir=said.text("working-dir"),
        cmd=said.words("cmd"),
        entrypoint=said.words("entrypoint"),
        env=_env(said, env),
        ports=[_port(each) for each in said.items("ports")],
        volumes=said.items("volumes"),
        user=said.text("user"),
        stop_signal=said.text("stopsignal"),
        author=said.text("author"),
        message=said.text("message"),
    )
    _check_secrets(config, secret_values)
    return Push(
        target=target,
        tags=_tags(said),
        config=config,
        login=who.login,
        notes=(*notes, *about_target),
    )


def _config(**fields: Any) -> ImageConfig:
    """The image's configuration, within the limits of an ImageCommit."""
    try:
        return ImageConfig(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = str(first["loc"][0]).replace("_", "-")
        raise _wrong(f"{place} cannot be used: {first['msg']}") from None


class _Properties:
    def __init__(self, properties: Mapping[str, str], env: Mapping[str, str]) -> None:
        self._properties, self._env = properties, env

    def raw(self, name: str) -> str:
        return self._properties.get(name, "")

    def text(self, name: str) -> str:
        """The property with its variables replaced, trimmed."""
        return interpolate(self.raw(name), public=self._env, where=name).strip()

    def items(self, name: str) -> list[str]:
        """Split at spaces and commas, after its variables were replaced."""
        return [each for each in re.split(r"[\s,]+", self.text(name)) if each]

    def words(self, name: str) -> list[str]:
        """Split as a shell does, its variables left alone: the image's own environment replaces them."""
        try:
            return shlex.split(self.raw(name))
        except ValueError as error:
            raise _wrong(f"{name} cannot be split into words: {error}") from error


def _target(
    said: _Properties, *, cloud: str, default_registry: str
) -> tuple[Reference, tuple[str, ...]]:
    """Where to push, and notes. `cloud` is the registry of a cloud's login, "" for others."""
    repository = said.text("repository").lower().rstrip("/")
    if not repository:
        raise _wrong("repository is missing: write where to push, e.g. repository: owner/name")
    registry = said.text("registry")
    given = _host_of(registry)
    head, slash, rest = repository.partition("/")
    own = head if slash and is_host(head) else ""
    notes: list[str] = []
    if cloud:
        if own and own != cloud:
            raise _wrong(
                f"repository names {own}, but the login is for {cloud}: leave the host away"
            )
        given, registry = cloud, ""
    if registry and not given:
        notes.append(f"registry {registry!r} names no host: it is taken from repository")
    if own and given and registry_of(own) != registry_of(given):
        notes.append(f"repository names {own}, registry {given}: {own} is used")
    host = registry_of(own or given or default_registry)
    path = rest if own else repository
    if host == DOCKER_HUB:
        # From the address of a page: hub.docker.com/r/owner/name.
        path = re.sub(r"^(?:r|u|_)/(?=.)", "", path)
    if ":" in path or "@" in path:
        raise _wrong(f"repository {repository!r} holds a tag or digest: write it as tag")
    try:
        return parse_repository(f"{host}/{path}"), tuple(notes)
    except UserError as error:
        raise _wrong(f"repository: {error.message}") from error


def _host_of(registry: str) -> str:
    """The host of what people write as registry: an address, a host with a path, a host."""
    if "://" in registry:
        try:
            return urlsplit(registry).netloc.rpartition("@")[2].lower()
        except ValueError:
            return ""
    head = registry.partition("/")[0].lower()
    return head if is_host(head) else ""


def _tags(said: _Properties) -> tuple[str, ...]:
    tags = tuple(dict.fromkeys(said.items("tag"))) or ("latest",)
    wrong = [tag for tag in tags if not _TAG.fullmatch(tag)]
    if wrong:
        raise _wrong(
            f"tag {wrong[0]!r} cannot be used: a tag has 1 to 128 letters, digits, dots, dashes and underscores, and "
            "does not begin with a dot or dash"
        )
    if len(tags) > _MOST_TAGS:
        raise _wrong(f"tag has {len(tags)} tags; at most {_MOST_TAGS} are pushed at once")
    return tags


def _port(text: str) -> str:
    match = _PORT.fullmatch(text)
    if match is None or not 0 < int(match[1]) < 65536:
        raise _wrong(f"ports: {text!r} is not a port: write 8080 or 8080/udp")
    return f"{int(match[1])}/{match[2] or 'tcp'}"


def _env(said: _Properties, env: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for word in said.words("env"):
        text = interpolate(word, public=env, where="env")
        name, equals, _ = text.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise _wrong(f"env: {text[:80]!r} is not NAME=value")
        found.append(text)
    return found


def _labels(said: _Properties, env: Mapping[str, str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for word in said.words("labels"):
        if word.count("=") != 1 or word.startswith("="):
            raise _wrong(f"labels: {word[:80]!r} is not key=value")
        key, value = (interpolate(part, public=env, where="labels") for part in word.split("="))
        labels[key] = value
    return labels


def _check_secrets(config: ImageConfig, secret_values: Sequence[str]) -> None:
    text = config.model_dump_json()
    for value in secret_values:
        if len(value) >= 4 and value in text:
            raise _wrong(
                "a value that comes from a Secret would stand in the image's configuration, where everybody who pulls "
                "the image can read it: remove it from env, labels and the like, and give it to the container when it "
                "runs"
            )


def _wrong(message: str) -> UserError:
    return UserError(message, reason=Reason.CONFIG_INVALID)
