"""Config and Build and what the registry said → the Plan of an attempt.

Everything that can be refused before a pod exists is refused here, with the reason and what to do.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

from sentinel.api.build import Build
from sentinel.api.model import seconds
from sentinel.api.reasons import Reason
from sentinel.config.model import Box, Config, Pipeline, Step
from sentinel.config.root import effective_timeout
from sentinel.errors import UserError
from sentinel.plan.environment import (
    application_id,
    application_name,
    build_variables,
    generic_variables,
    hidden_names,
    interpolate,
    is_deploy,
    public_values,
)
from sentinel.plan.images import WantedImages, wanted_images
from sentinel.plan.keys import results_prefix
from sentinel.plan.links import exposed, link_variables
from sentinel.plan.model import ImageFacts, Plan, PlanImage, PlanService, PlanSource, PlanStep
from sentinel.plan.names import container_name, step_id
from sentinel.settings import Settings

COMMAND_TIMEOUT = 25.0
"""Minutes a step may take where nobody says (§1.2)."""

NO_RESPONSE_TIMEOUT = 5.0
"""Minutes a step may be silent where nobody says."""

BASE_PATH = "/pipeline/source"

SHELLS = frozenset({"bash", "sh", "ash", "dash"})
"""A box `cmd` that begins with one of these chooses the shell: thousands of old files say `cmd: /bin/sh`."""


def images_for(
    build: Build,
    *,
    config: Config,
    pipeline: Pipeline,
    source: PlanSource,
    settings: Settings,
    started: datetime,
) -> WantedImages:
    """The images to look up before `make_plan`, with the build's public variables in their ids."""
    base_path, source_dir = _paths(config, pipeline)
    public, hidden = _public(
        build,
        source=source,
        settings=settings,
        started=started,
        base_path=base_path,
        source_dir=source_dir,
    )
    return wanted_images(config, pipeline, public=public, hidden=hidden)


def make_plan(
    build: Build,
    *,
    source: PlanSource,
    config: Config,
    pipeline: Pipeline,
    box: ImageFacts,
    services: Sequence[ImageFacts],
    settings: Settings,
    attempt: int,
    started: datetime,
) -> Plan:
    """The Plan of attempt `attempt`.

    `pipeline` comes from `config.load.pipeline_of`; `box` and `services` say what `images_for` named, in its order.
    Raises UserError: StepNotFound, ConfigInvalid, PortConflict, CommitUnsupported, InvalidSpec.
    """
    wanted = images_for(
        build, config=config, pipeline=pipeline, source=source, settings=settings, started=started
    )
    base_path, source_dir = _paths(config, pipeline)
    public, hidden = _public(
        build,
        source=source,
        settings=settings,
        started=started,
        base_path=base_path,
        source_dir=source_dir,
    )
    if pipeline.docker:
        raise UserError(
            f"pipeline {pipeline.name} asks for a Docker daemon with docker: true, which is not supported yet",
            reason=Reason.CONFIG_INVALID,
        )
    planned = tuple(
        _service(each, facts, index, public=public, hidden=hidden)
        for index, (each, facts) in enumerate(zip(wanted.services, services, strict=True), start=1)
    )
    _refuse_port_clashes(wanted.services, services)
    links = [
        variable
        for each, facts, service in zip(wanted.services, services, planned, strict=True)
        for variable in link_variables(
            alias=service.alias,
            ports=exposed(facts, each.ports),
            env=tuple(dict((*facts.env, *service.env)).items()),
            uid=build.uid,
        )
    ]
    image = _image(build, source=source, settings=settings)
    return Plan(
        build=build.name,
        namespace=build.namespace,
        uid=build.uid,
        attempt=attempt,
        pipeline=pipeline.name,
        source=source,
        box=box,
        shell=_shell(wanted.box),
        entrypoint=_words(wanted.box.entrypoint, "entrypoint", wanted.box),
        services=planned,
        steps=_steps(build, config=config, pipeline=pipeline),
        variables=build_variables(
            build,
            source=source,
            box=wanted.box,
            links=links,
            settings=settings,
            started=started,
            base_path=base_path,
            source_dir=source_dir,
        ),
        image=image,
        base_path=base_path,
        source_dir=source_dir,
        pending_timeout=seconds(build.spec.timeouts.pending),
        build_timeout=seconds(build.spec.timeouts.build),
        results_prefix=results_prefix(
            prefix=settings.store.prefix,
            namespace=build.namespace,
            app_id=application_id(build, source=source),
            build_uid=build.uid,
            attempt=attempt,
        ),
        deploy=is_deploy(build),
    )


def with_attempt(plan: Plan, attempt: int) -> Plan:
    """The same plan for another attempt: nothing but the number and the place of the results differs."""
    head = plan.results_prefix.removesuffix(f"/{plan.attempt}/")
    return replace(plan, attempt=attempt, results_prefix=f"{head}/{attempt}/")


def _paths(config: Config, pipeline: Pipeline) -> tuple[str, str]:
    base = pipeline.base_path or BASE_PATH
    below = config.source_dir.strip("/")
    source_dir = posixpath.normpath(f"{base}/{below}")
    if source_dir != posixpath.normpath(base) and not source_dir.startswith(f"{base}/"):
        raise UserError(
            f"source-dir {config.source_dir} leads out of the source: it is a path below the project's root",
            reason=Reason.CONFIG_INVALID,
        )
    return base, source_dir


def _public(
    build: Build,
    *,
    source: PlanSource,
    settings: Settings,
    started: datetime,
    base_path: str,
    source_dir: str,
) -> tuple[Mapping[str, str], frozenset[str]]:
    generic = generic_variables(
        build,
        source=source,
        settings=settings,
        started=started,
        base_path=base_path,
        source_dir=source_dir,
    )
    return {**dict(generic), **public_values(build.spec.env)}, hidden_names(build.spec.env)


def _steps(build: Build, *, config: Config, pipeline: Pipeline) -> tuple[PlanStep, ...]:
    target = build.spec.deploy_target
    main = pipeline.targets.get(target, pipeline.steps) if target else pipeline.steps
    chosen: list[tuple[Literal["main", "after"], Step]] = [("main", step) for step in main]
    chosen += [("after", step) for step in pipeline.after_steps]
    foreign = [step for _, step in chosen if step.kind != "script"]
    if foreign:
        named = ", ".join(f"{step.identifier} (line {step.line})" for step in foreign)
        raise UserError(
            f"steps from a registry are not supported yet: {named}. Write them as script steps",
            reason=Reason.STEP_NOT_FOUND,
        )
    timeouts = build.spec.timeouts
    command = (
        seconds(timeouts.command)
        if timeouts.command
        else effective_timeout(config.command_timeout, default=COMMAND_TIMEOUT)
    )
    silence = (
        seconds(timeouts.no_response)
        if timeouts.no_response
        else effective_timeout(config.no_response_timeout, default=NO_RESPONSE_TIMEOUT)
    )
    return tuple(
        PlanStep(
            ordinal=ordinal,
            id=step_id(name=step.name, uid=build.uid, ordinal=ordinal),
            owner=step.owner,
            name=step.name,
            display_name=step.display_name or step.name,
            phase=phase,
            kind="script" if step.kind == "script" else "step",
            code=step.code,
            cwd=step.cwd,
            exports=step_exports(step),
            command_timeout=command,
            no_response_timeout=silence,
        )
        for ordinal, (phase, step) in enumerate(chosen, start=1)
    )


def step_exports(step: Step) -> tuple[tuple[str, str], ...]:
    """The step's options as variables: WERCKER_<STEP>_<OPTION>, dashes as underscores (§2.4). `$` stays live."""
    return tuple(
        (f"WERCKER_{step.name}_{name}".replace("-", "_").upper(), text)
        for name, text in step.properties
    )


def _service(
    box: Box,
    facts: ImageFacts,
    index: int,
    *,
    public: Mapping[str, str],
    hidden: frozenset[str],
) -> PlanService:
    alias = box.alias
    return PlanService(
        alias=alias,
        container=container_name(alias=alias, index=index),
        image=facts,
        env=tuple(
            (
                name.upper(),
                interpolate(
                    value, public=public, hidden=hidden, where=f"env {name} of service {alias}"
                ),
            )
            for name, value in box.env
        ),
        cmd=_words(box.cmd, "cmd", box),
        entrypoint=_words(box.entrypoint, "entrypoint", box),
        ports=tuple(number for number, kind in exposed(facts, box.ports) if kind == "tcp"),
    )


def _refuse_port_clashes(boxes: Sequence[Box], facts: Sequence[ImageFacts]) -> None:
    taken: dict[tuple[int, str], str] = {}
    for box, image in zip(boxes, facts, strict=True):
        alias = box.alias
        for port in exposed(image, box.ports):
            other = taken.setdefault(port, alias)
            if other != alias:
                raise UserError(
                    f"services {other} and {alias} both listen on port {port[0]}/{port[1]}, and all services of a "
                    "build share one network: let one of them use another port, or run it in another pipeline",
                    reason=Reason.PORT_CONFLICT,
                )


def _shell(box: Box) -> tuple[str, ...]:
    words = _words(box.cmd, "cmd", box)
    return words[:1] if words and posixpath.basename(words[0]) in SHELLS else ()


def _words(text: str, field: str, box: Box) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UserError(
            f"{field} of {box.id} on line {box.line} of wercker.yml cannot be split into words: {error}. "
            "Check its quotes",
            reason=Reason.CONFIG_INVALID,
        ) from error


def _image(build: Build, *, source: PlanSource, settings: Settings) -> PlanImage:
    """Where the box goes. Without a repository, or a prefix of the operator's to make one, it goes nowhere."""
    spec = build.spec.image
    repository = spec.repository
    if not repository and settings.images.prefix:
        application = application_name(build, source=source)
        repository = f"{settings.images.prefix.rstrip('/')}/{build.namespace}/{application}"
    if spec.commit == "never" or not repository:
        return PlanImage(pull_secrets=tuple(ref.name for ref in spec.pull_secret_refs))
    if build.spec.pod.box.security_context.get("readOnlyRootFilesystem"):
        raise UserError(
            "spec.pod.box.securityContext.readOnlyRootFilesystem leaves nothing to commit: remove it, or set "
            "spec.image.commit: never",
            reason=Reason.COMMIT_UNSUPPORTED,
        )
    return PlanImage(
        commit="end",
        # Registries have no upper case in a repository's path.
        repository=repository.lower(),
        push_secret=spec.push_secret_ref.name if spec.push_secret_ref else "",
        pull_secrets=tuple(ref.name for ref in spec.pull_secret_refs),
        exclude_paths=tuple(spec.exclude_paths),
        latest="every" if settings.images.latest == "every" else "green",
    )
