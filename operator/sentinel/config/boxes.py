"""Boxes and services: a scalar or a map (wercker.md "Boxes", "Services").

A value of the wrong type is reported and left out, as upstream did; what leaves no image to run is an error.
"""

from __future__ import annotations

import re

from sentinel.config.codes import Code
from sentinel.config.document import Items, Node, Scalar, Table
from sentinel.config.findings import Findings, did_you_mean
from sentinel.config.model import Box
from sentinel.config.scalars import boolean, is_null, source_text

AUTH_KEYS = (
    "username",
    "password",
    "registry",
    "aws-registry-id",
    "aws-region",
    "aws-access-key",
    "aws-secret-key",
    "aws-strict-auth",
    "azure-login-server",
    "azure-registry-name",
    "azure-client-id",
    "azure-client-secret",
    "azure-subscription-id",
    "azure-tenant-id",
    "azure-resource-group",
)
_TEXT_KEYS = ("id", "name", "tag", "cmd", "entrypoint", "user", "volumes", "url")
_ELSEWHERE = {
    "steps": "steps belong to the pipeline: begin the line below box:, with as many spaces",
    "after-steps": "after-steps belong to the pipeline: begin the line below box:, with as many spaces",
    "services": "services stand beside box:, with as many spaces before them",
    "auth": "write its keys (username, password, registry) beside id, without auth:",
    "image": "the image's name is called id",
}
BOX_KEYS = (*_TEXT_KEYS, "env", "ports", *AUTH_KEYS)


def parse_box(node: Node, findings: Findings, *, what: str = "box") -> Box | None:
    """The box at `node`, or None where none is set or what stands there cannot be one."""
    if is_null(node):
        return None
    if isinstance(node, Items):
        findings.error(
            Code.BOX_SHAPE,
            f"a {what} is the name of an image or a map with id, not a list",
            at=node,
            hint=_first_item_hint(node, what),
        )
        return None
    box = (
        Box(id=node.text, line=node.line)
        if isinstance(node, Scalar)
        else _from_table(node, findings, what)
    )
    _check_id(box, node, findings, what)
    return box


def parse_services(node: Node, findings: Findings) -> tuple[Box, ...] | None:
    """The services at `node`; None where nothing is set, so that the file's own apply."""
    if is_null(node):
        return None
    if not isinstance(node, Items):
        findings.warning(
            Code.SERVICES_NOT_LIST,
            "services must be a list; the value is ignored",
            at=node,
            hint=f"write: - {node.text}"
            if isinstance(node, Scalar)
            else "put a dash before each service",
        )
        return None
    boxes: list[Box] = []
    for item in node.items:
        if is_null(item):
            findings.warning(Code.SERVICE_SHAPE, "an empty service is left out", at=item)
            continue
        box = parse_box(_unwrapped(item, findings), findings, what="service")
        if box is not None:
            boxes.append(box)
    return tuple(boxes)


def _from_table(table: Table, findings: Findings, what: str) -> Box:
    texts: dict[str, str] = {}
    auth: list[tuple[str, str]] = []
    env: tuple[tuple[str, str], ...] = ()
    ports: tuple[str, ...] = ()
    for key, value in table.entries:
        if is_null(value):
            continue
        if key.text == "env":
            env = _env(value, findings, what)
        elif key.text == "ports":
            ports = _ports(value, findings, what)
        elif key.text == "aws-strict-auth":
            if _flag(key, value, findings):
                auth.append((key.text, "true"))
        elif key.text not in BOX_KEYS:
            findings.warning(
                Code.BOX_KEY,
                f"unknown key {key.text} of a {what}; it is ignored",
                at=key,
                hint=_ELSEWHERE.get(key.text) or did_you_mean(key.text, BOX_KEYS),
            )
        elif not isinstance(value, Scalar):
            findings.warning(
                Code.WRONG_TYPE,
                f"{key.text} of a {what} must be a string, not a {_kind(value)}; it is ignored",
                at=value,
                hint=f"write it on one line: {key.text}: …",
            )
        elif key.text in AUTH_KEYS:
            if value.text:
                auth.append((key.text, source_text(value)))
        else:
            texts[key.text] = source_text(value)
    order = {name: n for n, name in enumerate(AUTH_KEYS)}
    return Box(
        id=texts.get("id", ""),
        tag=texts.get("tag", ""),
        name=texts.get("name", ""),
        cmd=texts.get("cmd", ""),
        entrypoint=texts.get("entrypoint", ""),
        user=texts.get("user", ""),
        volumes=texts.get("volumes", ""),
        url=texts.get("url", ""),
        env=env,
        ports=ports,
        auth=tuple(sorted(auth, key=lambda pair: order[pair[0]])),
        line=table.line,
    )


def _env(node: Node, findings: Findings, what: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(node, Table):
        findings.warning(
            Code.WRONG_TYPE,
            f"env of a {what} must be a map, not a {_kind(node)}; it is ignored",
            at=node,
            hint="write each variable as NAME: value",
        )
        return ()
    pairs: list[tuple[str, str]] = []
    for key, value in node.entries:
        if isinstance(value, Scalar):
            pairs.append((key.text, source_text(value)))
        else:
            findings.warning(
                Code.WRONG_TYPE,
                f"the value of {key.text} must be a string, not a {_kind(value)}; it is ignored",
                at=value,
                hint=f'write it as a string: {key.text}: "…"',
            )
    return tuple(pairs)


def _ports(node: Node, findings: Findings, what: str) -> tuple[str, ...]:
    if not isinstance(node, Items):
        findings.warning(
            Code.WRONG_TYPE,
            f"ports of a {what} must be a list, not a {_kind(node)}; it is ignored",
            at=node,
            hint=f'write: ports: ["{node.text}"]' if isinstance(node, Scalar) else "",
        )
        return ()
    for each in node.items:
        if not isinstance(each, Scalar):
            findings.warning(
                Code.WRONG_TYPE,
                f"a port of a {what} must be a number, not a {_kind(each)}; it is ignored",
                at=each,
                hint='write: "8080", "8080:80" or "8080/udp"',
            )
    return tuple(source_text(each) for each in node.items if isinstance(each, Scalar))


def _flag(key: Scalar, node: Node, findings: Findings) -> bool:
    flag = boolean(node) if isinstance(node, Scalar) else None
    if flag is None:
        findings.warning(
            Code.WRONG_TYPE,
            f"{key.text} must be true or false, without quotes; the value is ignored",
            at=node,
            hint=f"write: {key.text}: true",
        )
    return bool(flag)


def _check_id(box: Box, node: Node, findings: Findings, what: str) -> None:
    if not box.id.strip():
        findings.error(
            Code.BOX_SHAPE,
            f"this {what} names no image",
            at=node,
            hint=_split_name(node, what) or "add id: with the image's name, e.g. id: debian:12",
        )
    elif re.search(r"@(?!sha256:[0-9a-f]{64}$)", box.id):
        digest = "@sha256:" in box.id
        (findings.error if digest else findings.warning)(
            Code.BOX_CLASSIC,
            f"{box.id} has a digest that is malformed" if digest else classic_message(box.id, what),
            at=(node.get("id") or node) if isinstance(node, Table) else node,
            hint=_modern(box.id),
        )


def classic_message(box: str, what: str) -> str:
    """The warning of WY203, before it is known whether an operator has a replacement."""
    return f"{box} names a {what} of wercker before Docker images"


def _split_name(node: Node, what: str) -> str:
    """`ruby: 2.3`, an image's name with a space before its tag, is a map to YAML."""
    if not isinstance(node, Table) or len(node.entries) != 1:
        return ""
    name, tag = node.entries[0]
    if name.text in BOX_KEYS or not isinstance(tag, Scalar) or not TAG.fullmatch(tag.text):
        return ""
    return f"remove the space: {'box: ' if what == 'box' else '- '}{name.text}:{tag.text}"


TAG = re.compile(r"v?\d[\w.-]*|latest")
"""What people write as the tag of an image."""

_SUCCESSORS = {
    "nodejs": "node", "mongodb": "mongo", "postgresql": "postgres", "golang": "golang", "ruby": "ruby",
    "rvm": "ruby", "python": "python", "php": "php", "mysql": "mysql", "redis": "redis",
    "rabbitmq": "rabbitmq", "elasticsearch": "elasticsearch", "default": "debian", "base": "debian",
    "ubuntu12.04-ruby1.9.3": "ruby", "ubuntu12.04-nodejs0.10": "node",
}  # fmt: skip


def _modern(written: str) -> str:
    """What to write for a classic id: the successor's image where we know it."""
    name, _, version = written.partition("@")
    owner, _, short = name.rpartition("/")
    if owner in ("wercker", "") and short in _SUCCESSORS:
        return f"name an image, e.g. {_SUCCESSORS[short]}:<version>"
    if version.startswith("sha256:"):
        return "a digest is @sha256: and 64 digits from 0 to f"
    return f"name an image with a tag, e.g. {name}:{version or 'latest'}, if there is one"


def _unwrapped(item: Node, findings: Findings) -> Node:
    """`- redis: {tag: "3"}`, the way steps are written, as `{id: redis, tag: "3"}`."""
    if not isinstance(item, Table) or len(item.entries) != 1:
        return item
    key, value = item.entries[0]
    if key.text in BOX_KEYS or not (isinstance(value, Table) or is_null(value)):
        return item
    findings.warning(
        Code.SERVICE_SHAPE,
        f"a service is not written like a step; {key.text} is taken as its id",
        at=key,
        hint=f"write: - id: {key.text}",
    )
    name = Scalar("id", True, "", key.line, key.column)
    rest = value.entries if isinstance(value, Table) else ()
    return Table(
        ((name, key), *(each for each in rest if each[0].text != "id")), item.line, item.column
    )


def _first_item_hint(node: Items, what: str) -> str:
    first = node.items[0] if node.items else None
    return f"write: {what}: {first.text}" if isinstance(first, Scalar) else ""


def _kind(node: Node) -> str:
    return "list" if isinstance(node, Items) else "map" if isinstance(node, Table) else "text"
