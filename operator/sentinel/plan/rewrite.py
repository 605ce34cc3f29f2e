"""Boxes and services that are gone, and the images that run instead (`images.rewrite`). Pure.

The operator's own rules come first, in their order; then the default table of wercker's classic boxes and of images
that cannot be used any more. A replacement keeps what the old one set: variables, users, a service's credentials.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from sentinel.config.model import Box, Pipeline
from sentinel.settings.images import Rewrite

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. `pattern` matches `name` or `name:version` of what wercker.yml has, `*` any text.

    `image` may hold {version}, what stands behind @ or : in wercker.yml; `otherwise` is the image without one. `env` is
    for the container, `exports` for the box.
    """

    pattern: str
    image: str
    otherwise: str = ""
    env: Pairs = ()
    exports: Pairs = ()


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """A box or service to run instead, variables for the box, and a sentence for people; "" where nothing changed."""

    box: Box
    exports: Pairs = ()
    note: str = ""


def _service(
    name: str, port: int, scheme: str, *, database: str = "", login: tuple[str, str] | None = None
) -> Pairs:
    """The variables that a classic service gave the box."""
    place = f"127.0.0.1:{port}"
    pairs = [("HOST", "127.0.0.1"), ("PORT", str(port))]
    if login is not None:
        pairs += [("USERNAME", login[0]), ("PASSWORD", login[1])]
        place = f"{login[0]}:{login[1]}@{place}"
    pairs += [("DATABASE", database)] if database else []
    pairs.append(("URL", f"{scheme}://{place}" + (f"/{database}" if database else "")))
    return tuple((f"WERCKER_{name}_{key}", value) for key, value in pairs)


_TEST = (("RAILS_ENV", "test"), ("RACK_ENV", "test"))
_DATABASE = "werckerdb1"

RVM = "wercker/rvm*"
"""It had several Rubies: the version of a step rvm-use is the image's."""

DEFAULTS = (
    Rule(pattern=RVM, image="ruby:2.3", env=_TEST),
    Rule(pattern="wercker/ubuntu12.04-ruby1.9.3*", image="ruby:2.1", env=_TEST),
    Rule(pattern="wercker/ubuntu12.04-ruby*", image="ruby:2.3", env=_TEST),
    Rule(pattern="wercker/ubuntu12.04-nodejs*", image="node:6"),
    Rule(pattern="wercker/ubuntu12.04-webessentials*", image="buildpack-deps:bookworm"),
    Rule(pattern="wercker/ruby*", image="ruby:2.3", env=_TEST),
    Rule(pattern="wercker/nodejs*", image="node:6"),
    Rule(pattern="nodesource/trusty*", image="node:{version}", otherwise="node:6"),
    Rule(pattern="wercker/golang*", image="golang:1.10"),
    Rule(pattern="google/golang*", image="golang:1.10"),
    Rule(pattern="tcnksm/gox*", image="golang:1.10"),
    Rule(pattern="wercker/python*", image="python:2.7"),
    Rule(pattern="wercker/php*", image="php:5.6-cli"),
    Rule(pattern="wercker/default*", image="buildpack-deps:bookworm"),
    Rule(pattern="wercker/base*", image="buildpack-deps:bookworm"),
    Rule(pattern="wercker/webessentials*", image="buildpack-deps:bookworm"),
    Rule(pattern="centos", image="rockylinux:8"),
    Rule(pattern="centos:latest", image="rockylinux:8"),
    Rule(pattern="centos:8", image="rockylinux:8"),
    Rule(
        pattern="wercker/postgresql*",
        image="postgres:9.6",
        env=(("POSTGRES_USER", "postgres"), ("POSTGRES_PASSWORD", "wercker"), ("POSTGRES_DB", _DATABASE)),
        exports=_service(
            "POSTGRESQL", 5432, "postgres", database=_DATABASE, login=("postgres", "wercker")
        ),
    ),
    Rule(
        pattern="wercker/mysql*",
        image="mysql:5.7",
        env=(
            ("MYSQL_ROOT_PASSWORD", "wercker"), ("MYSQL_USER", "wercker"), ("MYSQL_PASSWORD", "wercker"),
            ("MYSQL_DATABASE", _DATABASE),
        ),
        exports=_service("MYSQL", 3306, "mysql2", database=_DATABASE, login=("wercker", "wercker")),
    ),
    Rule(
        pattern="wercker/mongodb*",
        image="mongo:4.4",
        exports=(*_service("MONGODB", 27017, "mongodb"), ("MONGODB_URL", "mongodb://127.0.0.1:27017")),
    ),
    Rule(
        pattern="wercker/redis*",
        image="redis:5",
        exports=(*_service("REDIS", 6379, "redis"), ("REDIS_URL", "redis://127.0.0.1:6379")),
    ),
    Rule(
        pattern="wercker/rabbitmq*",
        image="rabbitmq:3",
        exports=_service("RABBITMQ", 5672, "amqp", login=("guest", "guest")),
    ),
    Rule(
        pattern="wercker/elasticsearch*",
        image="elasticsearch:5",
        exports=_service("ELASTICSEARCH", 9200, "http"),
    ),
)  # fmt: skip
"""wercker's classic boxes and services, and images that are gone: what each contained is in docs/howto/boxes.md."""

_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def is_classic(box: Box) -> bool:
    """Whether the box is named as before Docker images, `owner/name@version`."""
    _, at, version = box.id.partition("@")
    return bool(at) and not version.startswith("sha256:")


def rewritten(
    box: Box, *, what: str, pipeline: Pipeline, rules: Sequence[Rewrite], defaults: bool = True
) -> Rewritten:
    """What runs instead of this box or service, by the first rule that matches."""
    name, version = _parts(box)
    written = f"{name}:{version}" if version else name
    own = [Rule(pattern=r.pattern, image=r.image, env=tuple(r.env.items())) for r in rules]
    for rule in (*own, *(DEFAULTS if defaults else ())):
        if not fnmatchcase(written, rule.pattern):
            continue
        image = _image(rule, version, pipeline)
        shown = box.id + (f" with tag {box.tag}" if box.tag else "")
        return Rewritten(
            box=replace(
                box, id=image, tag="", name=box.name or (box.alias if what == "service" else ""),
                env=(*rule.env, *box.env),
            ),
            exports=rule.exports,
            note=f"{what} {shown} is replaced by {image} (images.rewrite)",
        )  # fmt: skip
    return Rewritten(box=box)


def _parts(box: Box) -> tuple[str, str]:
    """Name and version of what wercker.yml has; a digest is no version."""
    name, at, version = box.id.partition("@")
    if at:
        return name, "" if version.startswith("sha256:") else version
    path, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{path}{slash}{last}", box.tag or tag


def _image(rule: Rule, version: str, pipeline: Pipeline) -> str:
    if rule.pattern == RVM and (ruby := _ruby_of(pipeline)):
        # The box had several Rubies, and this step chose one.
        return f"ruby:{ruby}"
    if "{version}" not in rule.image:
        return rule.image
    if not _VERSION.fullmatch(version):
        return rule.otherwise or rule.image.replace(":{version}", "")
    return rule.image.replace("{version}", version)


def _ruby_of(pipeline: Pipeline) -> str:
    for step in pipeline.steps:
        if step.name == "rvm-use":
            wanted = dict(step.properties).get("version", "").removeprefix("ruby-")
            match = re.match(r"[0-9]+\.[0-9]+", wanted)
            return match[0] if match else ""
    return ""
