"""The steps of a box through its session: how it is opened, what it is asked to run, and what that makes of the build.

Nothing here knows where the box runs: the operator drives a pod's with it, `sentinel run` a container's.
"""

from __future__ import annotations

from collections.abc import Sequence

from sentinel.api.reasons import Reason, read_reason
from sentinel.engine.deadline import steps_done
from sentinel.engine.outcome import Outcome
from sentinel.layout import (
    CACHE_DIR,
    FETCHED_CACHE,
    FETCHED_SOURCE,
    OUTPUT_DIR,
    PIPELINE_DIR,
    REPORT_DIR,
    step_dir,
)
from sentinel.plan.cache import CACHE_ENTRIES
from sentinel.plan.environment import ResolvedEnvironment
from sentinel.plan.model import Plan, PlanStep
from sentinel.plan.names import is_dns_name
from sentinel.session.client import Session
from sentinel.session.journal import Expected, SessionState
from sentinel.session.messages import AttemptLimits, Cache, Copy, Open, Result, Service, StepSpec


def expected(plan: Plan) -> Expected:
    """What the journal of the plan's box may be about."""
    return Expected(
        steps={step.ordinal: step.id for step in plan.steps},
        services=frozenset(service.alias for service in plan.services),
    )


async def services_tried(session: Session, plan: Plan) -> None:
    """Wait until the box has tried every service. It does so before the first step; until then none has started."""
    aliases = {service.alias for service in plan.services}
    await session.wait_for(lambda state: aliases <= state.services.keys())


async def run_main(session: Session, plan: Plan) -> SessionState:
    """Queue all main steps in one go and wait until each has ended or been skipped."""
    steps = [step for step in plan.steps if step.phase == "main"]
    await session.start([step_spec(step) for step in steps])
    return await steps_done(session, steps, build_timeout=plan.build_timeout)


async def run_after(session: Session, plan: Plan, outcome: Outcome) -> None:
    """The after-steps: a fresh shell that knows the result. They never change it."""
    steps = [step for step in plan.steps if step.phase == "after"]
    if not steps:
        return
    result = result_of(plan.steps, session.state, outcome)
    await session.start([step_spec(step) for step in steps], result=result)
    await steps_done(session, steps, build_timeout=plan.build_timeout)


def result_of(steps: Sequence[PlanStep], state: SessionState, outcome: Outcome) -> Result:
    """What after-steps get to know (wercker.md "After-steps"): the failed step and its own message.

    Where the steps passed and the image or the output could not be kept, that is the step `store`, as in wercker.
    """
    if outcome.succeeded:
        return Result(result="passed")
    failed = first_failure(steps, state)
    if failed is not None:
        name, message = failed.display_name, state.steps[failed.ordinal].message
    else:
        cancelled = outcome.reason is Reason.CANCELLED
        name, message = "" if cancelled else "store", ""
    return Result(
        result="failed",
        failed_step_display_name=name,
        failed_step_message=message or outcome.message,
    )


def judge(steps: Sequence[PlanStep], state: SessionState) -> Outcome:
    """What the main steps make of the build. All of them must have ended."""
    failed = first_failure(steps, state)
    if failed is None:
        count = sum(step.phase == "main" for step in steps)
        return Outcome.passed("the step passed" if count == 1 else f"all {count} steps passed")
    known = state.steps[failed.ordinal]
    reason = read_reason(known.reason)
    detail = known.message or str(reason)
    if reason is Reason.EXIT_CODE:
        # What the step wrote to its message file says why, and not with which code it ended.
        ending = f"exited with code {known.exit}"
        detail = ending if detail in (ending, str(reason)) else f"{ending}: {detail}"
    return Outcome.failed(reason, f"step {failed.display_name!r} failed: {detail}")


def was_stopped(steps: Sequence[PlanStep], state: SessionState) -> bool:
    """Whether the box was stopped while a main step ran or waited, which is not the step's result."""
    failed = first_failure(steps, state)
    if failed is None:
        return False
    # A main step is only skipped without a failed one before it where the box was stopped between the two.
    return state.steps[failed.ordinal].reason in (Reason.BOX_TERMINATED, Reason.SKIPPED)


def first_failure(steps: Sequence[PlanStep], state: SessionState) -> PlanStep | None:
    """The first main step that did not pass."""
    for step in steps:
        known = state.steps.get(step.ordinal)
        if step.phase == "main" and known is not None and known.done and not known.passed:
            return step
    return None


def open_message(
    plan: Plan, environment: ResolvedEnvironment, *, store: bool, ca: str = "", proxy: str = ""
) -> Open:
    """What opens the box for the plan's attempt.

    `store`: logs get URLs of an object store; `ca` is its authority, `proxy` the way to it, whatever the image and the
    build's variables name.
    """
    return Open(
        build=plan.uid,
        attempt=plan.attempt,
        env=environment.env,
        masks=environment.masks,
        shell=plan.shell,
        entrypoint=plan.entrypoint,
        source_dir=plan.source_dir,
        pipeline_dir=PIPELINE_DIR,
        report_dir=REPORT_DIR,
        clear=stale(plan.base_path, cached=bool(plan.cache.key)),
        dirs=(PIPELINE_DIR, OUTPUT_DIR, CACHE_DIR),
        copies=(Copy(source=FETCHED_SOURCE, target=plan.base_path),),
        cache=Cache(
            source=FETCHED_CACHE if plan.cache.size else "",
            target=CACHE_DIR,
            entries=CACHE_ENTRIES,
        )
        if plan.cache.key
        else None,
        limits=AttemptLimits(build=plan.build_timeout),
        services=tuple(
            Service(alias=service.alias, ports=service.ports, hosts=not is_dns_name(service.alias))
            for service in plan.services
        ),
        store=store,
        ca=ca,
        proxy=proxy,
    )


def stale(base_path: str, *, cached: bool) -> tuple[str, ...]:
    """Where an image that a build has left still has that build's files, which are not this one's.

    wercker deleted the directory above base-path. A short base-path elsewhere, like /app, and one below /usr are
    not emptied: they may be the image's own. A directory that a cache is restored to boxkit empties itself, and fills
    while the rest is prepared.
    """
    own = (OUTPUT_DIR, REPORT_DIR) if cached else (OUTPUT_DIR, CACHE_DIR, REPORT_DIR)
    deep = base_path.count("/") >= 3 and not base_path.startswith("/usr/")
    return (base_path, *own) if deep or base_path.startswith(f"{PIPELINE_DIR}/") else own


def step_spec(step: PlanStep) -> StepSpec:
    """The step as boxkit gets it."""
    return StepSpec(
        ordinal=step.ordinal,
        id=step.id,
        name=step.name,
        phase=step.phase,
        display_name=step.display_name,
        owner=step.owner,
        kind=step.kind,
        code=step.code,
        dir=step_dir(step.id) if step.kind == "step" else "",
        exports=step.exports,
        cwd=step.cwd,
        command_timeout=step.command_timeout,
        no_response_timeout=step.no_response_timeout,
    )
