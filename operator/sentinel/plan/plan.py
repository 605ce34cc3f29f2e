"""Config and Build and what the registry said → the Plan of an attempt.

Everything that can be refused before a pod exists is refused here, with the reason and what to do.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from sentinel.api.build import Build
from sentinel.api.model import seconds
from sentinel.api.reasons import Reason
from sentinel.config.model import Box, Config, Pipeline, Step
from sentinel.config.root import effective_timeout
from sentinel.errors import UserError
from sentinel.plan.budget import VARIABLE_LIMIT, Budget, size_of
from sentinel.plan.derive import attempt_results
from sentinel.plan.engines import engine_for_pipeline
from sentinel.plan.environment import build_variables
from sentinel.plan.generic import (
    generic_variables,
    is_deploy,
)
from sentinel.plan.images import WantedImages, wanted_images
from sentinel.plan.internal import (
    IN_THE_BOX,
    check_internal,
    check_repository,
    check_scratch,
    is_shipped,
)
from sentinel.plan.interpolate import hidden_names, public_values
from sentinel.plan.model import (
    ImageFacts,
    Plan,
    PlanSource,
    PlanStep,
    StepFacts,
    StepPhase,
)
from sentinel.plan.names import step_id
from sentinel.plan.notices import image_notes
from sentinel.plan.options import dashed
from sentinel.plan.repository import own_repository, plan_image
from sentinel.plan.services import plan_services
from sentinel.plan.users import run_as
from sentinel.plan.words import words_of
from sentinel.settings import Settings

OPTIONS_LIMIT = 512 * 1024
"""Bytes of all options of one step: with the build's own variables (1 MiB) they stay below the 2 MiB of execve."""

COMMAND_TIMEOUT = 25.0
"""Minutes a step may take where nobody says (§1.2)."""

NO_RESPONSE_TIMEOUT = 5.0
"""Minutes a step may be silent where nobody says."""

BASE_PATH = "/pipeline/source"

IGNORE_FILE = ".werckerignore"
"""What of the source is left out, by git's own rules, where the file does not name another (§1.2)."""

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
    budget: Budget | None = None,
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
    return wanted_images(
        config,
        pipeline,
        public=public,
        hidden=hidden,
        budget=budget,
        rules=settings.images.rewrite,
        defaults=settings.images.rewrite_defaults,
    )


def make_plan(
    build: Build,
    *,
    source: PlanSource,
    config: Config,
    pipeline: Pipeline,
    box: ImageFacts,
    services: Sequence[ImageFacts],
    steps: Mapping[str, StepFacts],
    settings: Settings,
    attempt: int,
    started: datetime,
) -> Plan:
    """The Plan of attempt `attempt`.

    `pipeline` comes from `config.load.pipeline_of`; `box` and `services` say what `images_for` named, in its order;
    `steps` what a registry has for each step of `steps_for` that is no script, by its identifier.
    Raises UserError: StepNotFound, ConfigInvalid, PortConflict, CommitUnsupported, InvalidSpec.
    """
    budget = Budget()
    wanted = images_for(
        build,
        config=config,
        pipeline=pipeline,
        source=source,
        settings=settings,
        started=started,
        budget=budget,
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
    if need := engine_for_pipeline(pipeline):
        raise UserError(
            f"docker: true of pipeline {pipeline.name} needs {need}", reason=Reason.CONFIG_INVALID
        )
    planned, links = plan_services(
        wanted.services, services, uid=build.uid, public=public, hidden=hidden, budget=budget
    )
    image = plan_image(build, source=source, settings=settings)
    plan = Plan(
        build=build.name,
        namespace=build.namespace,
        uid=build.uid,
        attempt=attempt,
        pipeline=pipeline.name,
        source=source,
        box=box,
        user=run_as(wanted.box, box),
        shell=_shell(wanted.box),
        entrypoint=words_of(wanted.box, "entrypoint"),
        services=planned,
        steps=_steps(build, config=config, pipeline=pipeline, facts=steps, settings=settings),
        variables=build_variables(
            build,
            source=source,
            box=wanted.box,
            links=(*links, *wanted.exports),
            services=[service.alias for service in planned],
            settings=settings,
            started=started,
            base_path=base_path,
            source_dir=source_dir,
            budget=budget,
        ),
        image=image,
        base_path=base_path,
        source_dir=source_dir,
        ignore_file=config.ignore_file or IGNORE_FILE,
        pending_timeout=seconds(build.spec.timeouts.pending),
        build_timeout=seconds(build.spec.timeouts.build),
        results_prefix=attempt_results(build, source, settings=settings, attempt=attempt),
        deploy=is_deploy(build),
        image_notes=image_notes(wanted, (box, *services)),
    )
    check_scratch(plan, build.spec.pod.box)
    check_repository(plan, own_repository(build, source=source, settings=settings))
    return plan


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


def steps_for(
    build: Build, pipeline: Pipeline, settings: Settings
) -> tuple[tuple[StepPhase, Step], ...]:
    """The steps that a Build of `pipeline` runs, in order. Raises UserError StepNotFound for what cannot run here."""
    target = build.spec.deploy_target
    main = pipeline.targets.get(target, pipeline.steps) if target else pipeline.steps
    chosen: list[tuple[StepPhase, Step]] = [("main", step) for step in main]
    chosen += [("after", step) for step in pipeline.after_steps]
    check_internal([step for _, step in chosen], settings)
    return tuple(chosen)


def _steps(
    build: Build,
    *,
    config: Config,
    pipeline: Pipeline,
    facts: Mapping[str, StepFacts],
    settings: Settings,
) -> tuple[PlanStep, ...]:
    chosen = steps_for(build, pipeline, settings)
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
            kind=_kind(step),
            version=facts[step.identifier].version if _kind(step) == "step" else "",
            digest=facts[step.identifier].digest if _kind(step) == "step" else "",
            url=step.url,
            standard=_kind(step) == "step" and facts[step.identifier].standard,
            code=step.code,
            cwd=step.cwd,
            exports=()
            if _kind(step) == "operator"
            else step_exports(step, facts.get(step.identifier)),
            properties=step.properties if _kind(step) == "operator" else (),
            command_timeout=command,
            no_response_timeout=silence,
        )
        for ordinal, (phase, step) in enumerate(chosen, start=1)
    )


def _kind(step: Step) -> Literal["script", "step", "operator"]:
    if step.kind == "script" or (step.kind == "internal" and step.name in IN_THE_BOX):
        return "script"
    return "operator" if step.kind == "internal" and not is_shipped(step) else "step"


def step_exports(step: Step, facts: StepFacts | None = None) -> tuple[tuple[str, str], ...]:
    """The step's options as variables: WERCKER_<STEP>_<OPTION>, dashes as underscores (§2.4). `$` stays live.

    First the options of the step's manifest in its order, with the file's value or the default, which may be empty;
    then the others in the file's order. Raises UserError ConfigInvalid where no environment could hold them.
    """
    said = {dashed(name): text for name, text in step.properties}
    defaults = facts.defaults if facts is not None else ()
    known = {dashed(name) for name, _ in defaults}
    options = [(name, said.get(dashed(name), default)) for name, default in defaults]
    options += [(name, text) for name, text in step.properties if dashed(name) not in known]
    exports = tuple(
        (f"WERCKER_{step.name}_{name}".replace("-", "_").upper(), text) for name, text in options
    )
    sizes = [size_of(*pair) for pair in exports]
    for (name, _), size in zip(options, sizes, strict=True):
        if size > VARIABLE_LIMIT:
            raise UserError(
                f"option {name[:100]} of step {step.identifier[:100]} on line {step.line} of wercker.yml takes {size} "
                f"bytes as a variable: no program can be started with one of more than {VARIABLE_LIMIT}. Put the value "
                "into a file of the project, and give the step its path",
                reason=Reason.CONFIG_INVALID,
            )
    if sum(sizes) > OPTIONS_LIMIT:
        raise UserError(
            f"the options of step {step.identifier[:100]} on line {step.line} of wercker.yml take {sum(sizes)} bytes "
            f"together, more than {OPTIONS_LIMIT}: put large values into files of the project",
            reason=Reason.CONFIG_INVALID,
        )
    return exports


def _shell(box: Box) -> tuple[str, ...]:
    words = words_of(box, "cmd")
    return words[:1] if words and posixpath.basename(words[0]) in SHELLS else ()
