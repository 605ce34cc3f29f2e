"""What `internal/docker-push` and `internal/docker-scratch-push` are to push, read from their properties. Pure.

Properties are interpolated with the box's environment at that moment (wercker.md "Internal steps"); the registry is
inferred as the original did. Not here: pushing (`imagepush.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from sentinel.api.imagecommit import ImageConfig
from sentinel.engine.logins import read_login
from sentinel.engine.properties import Properties, wrong
from sentinel.errors import UserError
from sentinel.image.dockerconfig import Credential
from sentinel.image.reference import (
    DOCKER_HUB,
    Reference,
    is_host,
    parse_repository,
    registry_of,
)
from sentinel.registry.ecr import EcrKeys

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PORT = re.compile(r"(?:[0-9]+:)?([0-9]{1,5})(?:/(tcp|udp|sctp))?")
_MOST_TAGS = 8
_NOT_FROM_SCRATCH = ("labels", "user", "stopsignal", "author", "message", "image-name")
"""What `internal/docker-scratch-push` ignores, as the original did."""


_OF_A_COMMIT = (
    "cmd", "entrypoint", "env", "ports", "volumes", "labels", "user", "working-dir", "stopsignal", "author", "message",
)  # fmt: skip
"""What is said of an image that is made of the box."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """One push: of the box, or of the image that an earlier step built as `built`. `notes` are lines for the log."""

    target: Reference
    tags: tuple[str, ...]
    config: ImageConfig
    login: Credential | EcrKeys | None = field(default=None, repr=False)
    built: str = ""
    notes: tuple[str, ...] = ()


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
    said = Properties(properties, env)
    built = said.text("image-name")
    if properties.get("image-name") and not built:
        raise wrong("image-name is empty: its variables have no value")
    if built and (unused := [name for name in _OF_A_COMMIT if properties.get(name)]):
        # As the original did: an image that a Dockerfile made has its own configuration.
        notes = (f"not used for an image of internal/docker-build: {', '.join(unused)}",)
        properties = {name: text for name, text in properties.items() if name not in unused}
        said = Properties(properties, env)
    who = read_login(said.text, properties.keys())
    target, about_target = _target(said, cloud=who.host, default_registry=default_registry)
    config = _config(
        labels=said.labels(),
        working_dir=said.text("working-dir"),
        cmd=said.words("cmd"),
        entrypoint=said.words("entrypoint"),
        env=said.assignments("env"),
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
        built=built,
        notes=(*notes, *about_target),
    )


def _config(**fields: Any) -> ImageConfig:
    """The image's configuration, within the limits of an ImageCommit."""
    try:
        return ImageConfig(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = str(first["loc"][0]).replace("_", "-")
        raise wrong(f"{place} cannot be used: {first['msg']}") from None


def _target(
    said: Properties, *, cloud: str, default_registry: str
) -> tuple[Reference, tuple[str, ...]]:
    """Where to push, and notes. `cloud` is the registry of a cloud's login, "" for others."""
    repository = said.text("repository").lower().rstrip("/")
    if not repository:
        raise wrong("repository is missing: set where to push, e.g. repository: owner/name")
    registry = said.text("registry")
    given = _host_of(registry)
    head, slash, rest = repository.partition("/")
    own = head if slash and is_host(head) else ""
    notes: list[str] = []
    if cloud:
        if own and own != cloud:
            raise wrong(
                f"repository names {own}, but the login is for {cloud}: leave the host away"
            )
        given, registry = cloud, ""
    if registry and not given:
        notes.append(f"registry {registry!r} has no host: it is taken from repository")
    if own and given and registry_of(own) != registry_of(given):
        notes.append(f"repository names {own}, registry {given}: {own} is used")
    host = registry_of(own or given or default_registry)
    path = rest if own else repository
    if host == DOCKER_HUB:
        # From the address of a page: hub.docker.com/r/owner/name.
        path = re.sub(r"^(?:r|u|_)/(?=.)", "", path)
    if ":" in path or "@" in path:
        raise wrong(f"repository {repository!r} holds a tag or digest: write it as tag")
    try:
        return parse_repository(f"{host}/{path}"), tuple(notes)
    except UserError as error:
        raise wrong(f"repository: {error.message}") from error


def _host_of(registry: str) -> str:
    """The host of what people write as registry: an address, a host with a path, a host."""
    if "://" in registry:
        try:
            return urlsplit(registry).netloc.rpartition("@")[2].lower()
        except ValueError:
            return ""
    head = registry.partition("/")[0].lower()
    return head if is_host(head) else ""


def _tags(said: Properties) -> tuple[str, ...]:
    tags = tuple(dict.fromkeys(said.items("tag"))) or ("latest",)
    bad = [tag for tag in tags if not _TAG.fullmatch(tag)]
    if bad:
        raise wrong(
            f"tag {bad[0]!r} cannot be used: a tag has 1 to 128 letters, digits, dots, dashes and underscores, and "
            "does not begin with a dot or dash"
        )
    if len(tags) > _MOST_TAGS:
        raise wrong(f"tag has {len(tags)} tags; at most {_MOST_TAGS} are pushed at once")
    return tags


def _port(text: str) -> str:
    match = _PORT.fullmatch(text)
    if match is None or not 0 < int(match[1]) < 65536:
        raise wrong(f"ports: {text!r} is not a port: write 8080 or 8080/udp")
    return f"{int(match[1])}/{match[2] or 'tcp'}"


def _check_secrets(config: ImageConfig, secret_values: Sequence[str]) -> None:
    text = config.model_dump_json()
    for value in secret_values:
        if len(value) >= 4 and value in text:
            raise wrong(
                "a value that comes from a Secret would stand in the image's configuration, where everyone who pulls "
                "the image can read it: remove it from env, labels and the like, and give it to the container when it "
                "runs"
            )
