"""Config and Build and what the registry said → the Plan of an attempt.

Everything that can be refused before a pod exists is refused here, with the reason and what to do.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Literal

from sentinel.api.model import seconds
from sentinel.api.reasons import Reason
from sentinel.config.model import Box, Step
from sentinel.config.root import effective_timeout
from sentinel.errors import UserError
from sentinel.plan.derive import attempt_results
from sentinel.plan.engines import check_agents, engine_for_pipeline
from sentinel.plan.environment import build_variables
from sentinel.plan.facts import Facts
from sentinel.plan.generic import is_deploy
from sentinel.plan.internal import (
    IN_THE_BOX,
    check_repository,
    check_scratch,
    is_shipped,
)
from sentinel.plan.interpolate import VARIABLE_LIMIT, size_of
from sentinel.plan.model import (
    COMMON,
    INHERITED,
    VERSION,
    ImageFacts,
    Plan,
    PlanCache,
    PlanImage,
    PlanSource,
    PlanStep,
    StepFacts,
)
from sentinel.plan.names import step_id
from sentinel.plan.notices import image_notes
from sentinel.plan.options import dashed
from sentinel.plan.repository import own_repository, plan_image
from sentinel.plan.services import plan_services, words_of
from sentinel.plan.users import run_as

OPTIONS_LIMIT = 512 * 1024
"""Bytes of all options of one step: with the build's own variables (1 MiB) they stay below the 2 MiB of execve."""

COMMAND_TIMEOUT = 25.0
"""Minutes a step may take by default."""

NO_RESPONSE_TIMEOUT = 5.0
"""Minutes a step may be silent by default."""

NO_CACHE = PlanCache()

IGNORE_FILE = ".werckerignore"
"""What of the source is left out, by git's own rules, where the file does not name another."""

SHELLS = frozenset({"bash", "sh", "ash", "dash"})
"""A box `cmd` that begins with one of these chooses the shell: thousands of old files say `cmd: /bin/sh`."""


def make_plan(
    facts: Facts,
    *,
    box: ImageFacts,
    services: Sequence[ImageFacts],
    steps: Mapping[str, StepFacts],
    attempt: int,
    cache: PlanCache = NO_CACHE,
) -> Plan:
    """The Plan of attempt `attempt`.

    `box` and `services` are the images that `facts.images` names, in its order; `steps` what a registry has for each
    of `facts.steps` that is no script, by its identifier.
    Raises UserError: StepNotFound, ConfigInvalid, PortConflict, CommitUnsupported, InvalidSpec.
    """
    build, source, settings = facts.build, facts.source, facts.settings
    config, pipeline, wanted = facts.config, facts.pipeline, facts.images
    if need := engine_for_pipeline(pipeline):
        raise UserError(
            f"docker: true of pipeline {pipeline.name} needs {need}", reason=Reason.CONFIG_INVALID
        )
    planned, links = plan_services(
        wanted.services,
        services,
        uid=build.uid,
        public=facts.public,
        hidden=facts.hidden,
        budget=facts.budget,
    )
    image = plan_image(build, source=source, settings=settings)
    check_agents(image, settings)
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
        steps=_steps(facts, steps),
        variables=build_variables(
            facts,
            links=(*links, *wanted.exports),
            services=[service.alias for service in planned],
        ),
        image=image,
        base_path=facts.base_path,
        source_dir=facts.source_dir,
        # What a build chose as its output is taken whole.
        ignore_file="" if source.outputs else config.ignore_file or IGNORE_FILE,
        pending_timeout=seconds(build.spec.timeouts.pending),
        build_timeout=seconds(build.spec.timeouts.build),
        results_prefix=attempt_results(build, source, settings=settings, attempt=attempt),
        cache=cache,
        deploy=is_deploy(build),
        version=_version(source, image),
        image_notes=image_notes(wanted, (box, *services)),
    )
    check_scratch(plan, build.spec.pod.box)
    check_repository(plan, own_repository(build, source=source, settings=settings))
    return plan


def _version(source: PlanSource, image: PlanImage) -> int:
    """The first version of the Plan that knows what this one needs."""
    if image.commit in ("onFailure", "eachStep"):
        return VERSION
    # An older operator would fetch the wrong files for another attempt.
    return INHERITED if source.inherited else COMMON


def _steps(facts: Facts, found: Mapping[str, StepFacts]) -> tuple[PlanStep, ...]:
    build, config, chosen = facts.build, facts.config, facts.steps
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
            version=found[step.identifier].version if _kind(step) == "step" else "",
            digest=found[step.identifier].digest if _kind(step) == "step" else "",
            url=step.url,
            standard=_kind(step) == "step" and found[step.identifier].standard,
            code=step.code,
            cwd=step.cwd,
            exports=()
            if _kind(step) == "operator"
            else step_exports(step, found.get(step.identifier)),
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
    """The step's options as variables: WERCKER_<STEP>_<OPTION>, dashes as underscores. `$` stays live.

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
