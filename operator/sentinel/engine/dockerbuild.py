"""What `internal/docker-build` is to build, read from its properties, and the words for buildctl. Pure.

Not here: the pod that runs buildctl (`builder.py`), and when it is run (`imagebuild.py`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sentinel.engine.properties import Properties, wrong
from sentinel.errors import UserError
from sentinel.image.dockerconfig import (
    NO_CREDENTIALS,
    Keychain,
    keychain_from_docker_config,
)
from sentinel.image.reference import DOCKER_HUB, Reference
from sentinel.plan.interpolate import interpolate
from sentinel.text import dns_label

_MOST = 64
"""Build arguments, labels and hosts, each."""

_LONGEST = 4096
"""Bytes of one of them."""

_HUB_KEY = "https://index.docker.io/v1/"
"""How Docker's configuration names Docker Hub."""


@dataclass(frozen=True, kw_only=True)
class ImageBuild:
    """One build. `name` is how later steps find the image; `context` is a directory below the source, "" for all of it.

    `args` and `logins` may hold values of Secrets. `notes` are lines for the step's log.
    """

    name: str
    context: str = ""
    dockerfile: str = "Dockerfile"
    target: str = ""
    args: tuple[str, ...] = field(default=(), repr=False)
    labels: tuple[tuple[str, str], ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()
    no_cache: bool = False
    quiet: bool = False
    logins: Keychain = field(default=NO_CREDENTIALS, repr=False)
    notes: tuple[str, ...] = ()


def read_build(
    properties: Mapping[str, str], env: Mapping[str, str], *, secret_values: Sequence[str] = ()
) -> ImageBuild:
    """The build that these properties ask for, in an environment. Raises UserError ConfigInvalid.

    `secret_values` are those of protected variables: one that would stand in a label is refused, one in a build
    argument is pointed out.
    """
    props = Properties(properties, env)
    name = props.text("image-name")
    if not name:
        raise wrong(
            "image-name is missing: it is how internal/docker-push and internal/docker-run name the image"
        )
    args = _bounded("build-args", props.assignments("build-args"))
    labels = props.labels()
    _bounded("labels", [f"{key}={value}" for key, value in labels.items()])
    if any(arg.startswith("BUILDKIT_") for arg in args):
        raise wrong(
            "build-args: names that begin with BUILDKIT_ are options of the builder, which are not supported"
        )
    secrets = [each for each in secret_values if len(each) >= 4]
    if any(secret in value for secret in secrets for value in labels.values()):
        raise wrong(
            "labels: a value that comes from a Secret would be readable by everyone who pulls the image"
        )
    notes = []
    if props.flag("squash"):
        notes.append("squash is ignored: BuildKit keeps the layers of an image")
    if any(secret in arg for secret in secrets for arg in args):
        notes.append(
            "warning: build-args has a value that comes from a Secret; where a RUN uses it, it stays in the image's "
            "history"
        )
    return ImageBuild(
        name=name,
        context=_below("context", props.text("context")),
        dockerfile=_below("dockerfile", props.text("dockerfile")) or "Dockerfile",
        target=_bounded("target", [props.text("target")])[0],
        args=tuple(args),
        labels=tuple(labels.items()),
        hosts=tuple(_hosts(props)),
        no_cache=props.flag("no-cache"),
        quiet=props.flag("q"),
        logins=_logins(props, env),
        notes=tuple(notes),
    )


def built_tag(*, uid: str, attempt: int, name: str) -> str:
    """The tag of a built image in the Build's own repository: a function of the attempt and the image's name."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return "-".join(filter(None, (uid, str(attempt), dns_label(name, limit=40), digest)))


def buildctl_words(
    build: ImageBuild, *, target: Reference, context: str, namespace: str, insecure: bool
) -> list[str]:
    """The arguments of buildctl, after those of the connection, that build `context` and push it to `target`.

    `cmdline` keeps the Dockerfile from choosing another frontend by `# syntax=`: only the one in BuildKit keeps the
    cache mounts of one namespace from another's.
    """
    options = [
        ("filename", build.dockerfile),
        ("cmdline", "sentinel"),
        ("build-arg:BUILDKIT_CACHE_MOUNT_NS", namespace),
        *(
            (f"build-arg:{name}", value)
            for name, _, value in (arg.partition("=") for arg in build.args)
        ),
        *((f"label:{key}", value) for key, value in build.labels),
    ]
    if build.target:
        options.append(("target", build.target))
    if build.hosts:
        options.append(("add-hosts", ",".join(f"{host}={ip}" for host, ip in build.hosts)))
    output = f"type=image,name={target},push=true" + (",registry.insecure=true" if insecure else "")
    return [
        "build",
        "--frontend=dockerfile.v0",
        f"--local=context={context}",
        f"--local=dockerfile={context}",
        *(f"--opt={name}={value}" for name, value in options),
        *(["--no-cache"] if build.no_cache else []),
        f"--progress={'quiet' if build.quiet else 'plain'}",
        f"--output={output}",
    ]


def login_config(keychain: Keychain, *, target: Reference) -> str:
    """A docker config.json of one login a registry, as buildctl wants it: for that of `target` the one to push with."""
    auths: dict[str, dict[str, Any]] = {}
    for entry in keychain.entries:
        if "*" in entry.host:
            continue
        found = entry.credential
        if entry.host == target.registry:
            found = keychain.find(target) or found
        key = _HUB_KEY if entry.host == DOCKER_HUB else entry.host
        login = {
            "username": found.username,
            "password": found.password,
            "identitytoken": found.identity_token,
        }
        auths.setdefault(key, {name: value for name, value in login.items() if value})
    return json.dumps({"auths": auths})


def source_policy(allowed_registries: Sequence[str]) -> str:
    """A source policy for BuildKit: base images come from these registries alone. "" where all are allowed.

    The last rule that matches counts (moby/buildkit `docs/build-repro.md`, sourcepolicy).
    """
    if not allowed_registries:
        return ""
    deny = {"action": "DENY", "selector": {"identifier": "docker-image://*"}}
    allow = [
        {"action": "ALLOW", "selector": {"identifier": f"docker-image://{registry}/*"}}
        for registry in allowed_registries
    ]
    return json.dumps({"rules": [deny, *allow]})


def _bounded(name: str, words: list[str]) -> list[str]:
    if len(words) > _MOST:
        raise wrong(f"{name} has {len(words)} entries; at most {_MOST} are taken")
    if any("\0" in word for word in words):
        raise wrong(f"{name} has a NUL character in it")
    if any(len(word.encode("utf-8", "surrogatepass")) > _LONGEST for word in words):
        raise wrong(f"{name} has an entry of more than {_LONGEST} bytes")
    return words


def _below(name: str, path: str) -> str:
    """A path below the source, "" for the source itself."""
    plain = posixpath.normpath(path.lstrip("/")) if path else "."
    if plain == ".." or plain.startswith("../"):
        raise wrong(f"{name}: {path!r} leads outside the source")
    if not plain.isprintable() or len(plain) > 1024:
        raise wrong(f"{name}: {path[:80]!r} is not a path")
    return "" if plain == "." else plain


def _hosts(props: Properties) -> Iterator[tuple[str, str]]:
    for each in _bounded("extra-hosts", props.items("extra-hosts")):
        host, _, address = each.partition(":")
        try:
            yield _host(host), str(ipaddress.ip_address(address.strip("[]")))
        except ValueError:
            raise wrong(f"extra-hosts: {each[:80]!r} is not host:address") from None


def _host(name: str) -> str:
    if not name or not all(char.isalnum() or char in ".-_" for char in name):
        raise ValueError(name)
    return name


def _logins(props: Properties, env: Mapping[str, str]) -> Keychain:
    text = props.raw("registry-auth-config")
    if not text.strip():
        return NO_CREDENTIALS
    where = "registry-auth-config"
    try:
        given = json.loads(text)
        auths = {
            str(host): {
                str(key): interpolate(str(value), public=env, where=where)
                for key, value in login.items()
            }
            for host, login in given.items()
        }
    except (ValueError, AttributeError, RecursionError):
        raise wrong(
            f'{where} is not a JSON object like {{"registry.example.com": {{"username": "…", "password": "…"}}}}'
        ) from None
    if len(auths) > _MOST:
        raise wrong(f"{where} has more than {_MOST} registries")
    try:
        return keychain_from_docker_config(json.dumps({"auths": auths}), source=where)
    except UserError as error:
        raise wrong(error.message) from None
