"""What `internal/docker-run` is to run, read from its properties, and the container for it. Pure.

Not here: adding it to the pod, and ending it (`containers.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sentinel.api.build import PodContainer
from sentinel.engine.logins import read_login
from sentinel.engine.properties import Properties, wrong
from sentinel.image.dockerconfig import Credential
from sentinel.layout import BOXKIT, KIT_DIR
from sentinel.plan.interpolate import interpolate
from sentinel.plan.model import ImageFacts
from sentinel.plan.names import run_container_name
from sentinel.plan.pod import exact
from sentinel.plan.users import security_context
from sentinel.registry.ecr import EcrKeys

_NUMBERS = re.compile(r"[0-9]{1,9}(:[0-9]{1,9})?")
_MOST, _LONGEST = 128, 4096


@dataclass(frozen=True, kw_only=True)
class ContainerRun:
    """One container. `name` is how the box reaches it and how `internal/docker-kill` ends it; `user` is uid or uid:gid.

    `notes` are lines for the step's log.
    """

    name: str
    image: str
    cmd: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    user: str = ""
    login: Credential | EcrKeys | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()


def read_run(
    name: str,
    properties: Mapping[str, str],
    env: Mapping[str, str],
    *,
    secret_values: Sequence[str] = (),
) -> ContainerRun:
    """The container that these properties ask for, in an environment. Raises UserError ConfigInvalid.

    `name` is the step's. `secret_values` are those of protected variables: one that would stand in the pod's spec is
    refused.
    """
    props = Properties(properties, env)
    plain = interpolate(name, public=env, where="name").strip()
    image = props.text("image")
    if not image:
        raise wrong(
            "image is missing: write an image, or the image-name of an earlier internal/docker-build"
        )
    if not plain:
        raise wrong(
            "name is missing: it is how the container is reached, and how internal/docker-kill ends it"
        )

    def words(name: str) -> tuple[str, ...]:
        found = tuple(interpolate(each, public=env, where=name) for each in props.words(name))
        if any("\0" in each for each in found):
            raise wrong(f"{name} has a NUL character in it")
        if len(found) > _MOST or any(len(each) > _LONGEST for each in found):
            raise wrong(
                f"{name} has more than {_MOST} words, or one of more than {_LONGEST} characters"
            )
        return found

    variables = tuple(
        (variable, value)
        for variable, _, value in (each.partition("=") for each in props.assignments("env"))
    )
    if len(variables) > _MOST:
        raise wrong(f"env has more than {_MOST} variables")
    user, notes = props.text("user"), []
    if user and not _NUMBERS.fullmatch(user):
        notes.append(f"user {user} is ignored: only a number, or uid:gid, can be used")
        user = ""
    if props.text("ports"):
        notes.append(
            "ports is not needed: the container shares the box's network, so that all its ports are reachable"
        )
    run = ContainerRun(
        name=plain,
        image=image,
        cmd=words("cmd"),
        entrypoint=words("entrypoint"),
        env=variables,
        working_dir=props.text("working-dir"),
        user=user,
        login=read_login(props.text, properties.keys()).login,
        notes=tuple(notes),
    )
    shown = (
        *run.cmd,
        *run.entrypoint,
        *(value for _, value in run.env),
        run.working_dir,
        run.image,
    )
    if any(secret in each for secret in secret_values if len(secret) >= 4 for each in shown):
        raise wrong(
            "a value that comes from a Secret would be readable in the pod's spec: give the container a file or a "
            "service to get it from"
        )
    return run


def make_container(
    run: ContainerRun, image: ImageFacts, *, ordinal: int, said: PodContainer
) -> dict[str, Any]:
    """The ephemeral container. `said` is what the Build says of its box, whose security context counts here too.

    boxkit is its main process: nothing else could end it before its pod. Raises UserError ConfigInvalid.
    """
    entrypoint = run.entrypoint or image.entrypoint
    # As Docker has it: an entrypoint takes the image's arguments away.
    cmd = run.cmd or (() if run.entrypoint else image.cmd)
    if not entrypoint and not cmd:
        raise wrong(f"image {run.image} has neither ENTRYPOINT nor CMD: give the step a cmd")
    container: dict[str, Any] = {
        "name": run_container_name(name=run.name, ordinal=ordinal),
        "image": image.reference,
        "imagePullPolicy": "IfNotPresent",
        "command": [BOXKIT, "run", *(exact(word) for word in (*entrypoint, *cmd))],
        "volumeMounts": [{"name": "kit", "mountPath": KIT_DIR, "readOnly": True}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if run.env:
        container["env"] = [{"name": name, "value": exact(value)} for name, value in run.env]
    if run.working_dir:
        container["workingDir"] = run.working_dir
    if context := {**security_context(run.user, image), **said.security_context}:
        container["securityContext"] = context
    return container
