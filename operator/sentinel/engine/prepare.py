"""Stages 2 to 5: from a Build to its Plan. Everything that can be known to be wrong is found here, before a pod exists.

The resolver reads what tenants and their servers wrote; what is decided from its answers is decided here. What is
found goes to `status.source`, `status.diagnostics` and the Accepted condition. Nothing here leaves a trace
that a second run would have to respect: doing it again gives the same Plan, or says why not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from sentinel.api.build import (
    BoxStatus,
)
from sentinel.api.conditions import ConditionType
from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.cache import find_cache
from sentinel.engine.crashes import counted
from sentinel.engine.lookup import Lookup
from sentinel.engine.pullsecret import keep_logins, logins
from sentinel.engine.pushing import check_pushing
from sentinel.engine.run import Run
from sentinel.engine.sources import resolve_source, show
from sentinel.engine.tools import about_tools
from sentinel.errors import InfrastructureError
from sentinel.image.dockerconfig import Credential
from sentinel.plan.facts import Facts
from sentinel.plan.model import Plan
from sentinel.plan.notices import notices
from sentinel.plan.options import check_options
from sentinel.plan.plan import make_plan
from sentinel.plan.podpolicy import check_durations, check_pod
from sentinel.text import count_of


async def prepare(run: Run, number: int) -> Attempt:
    """An attempt with its Plan, written to the status as accepted. Raises UserError or InfrastructureError.

    One deadline for all of it (`prepare_seconds`): what a tenant names may answer as slowly as it likes.
    """
    seconds = run.tools.settings.prepare_seconds
    deadline = asyncio.timeout(seconds)
    try:
        async with counted(run), deadline:
            plan, found, known = await _prepare(run, number)
    except TimeoutError:
        if not deadline.expired():
            raise
        resolved = run.writer.status.source is not None
        what = "its images and steps were not found" if resolved else "its source was not resolved"
        raise InfrastructureError(
            f"{what} within {seconds:.0f} s (setting prepare_seconds): a server answers too slowly, or other Builds of "
            "the namespace take its share of the resolver (setting resolver.perNamespace)",
            reason=Reason.REGISTRY_UNAVAILABLE if resolved else Reason.SOURCE_UNAVAILABLE,
        ) from None
    # What waits for a quota does so until `timeouts.pending`.
    attempt = Attempt(run=run, plan=plan)
    await keep_logins(attempt, found)
    _accept(attempt, known)
    return attempt


async def _prepare(run: Run, number: int) -> tuple[Plan, dict[str, Credential], tuple[str, ...]]:
    """The Plan, the registry logins that its pod needs, and what people should know of it."""
    build, settings = run.build, run.tools.settings
    check_durations(build)
    check_pod(build, settings)
    resolver = run.tools.resolver
    async with resolver.session(namespace=build.namespace, build=build.name) as session:
        source, config, pipeline = await resolve_source(run, session)
        await check_pushing(run, source)
        facts = Facts(
            build=build,
            settings=settings,
            source=source,
            config=config,
            pipeline=pipeline,
            started=datetime.fromisoformat(run.writer.status.start_time),
        )
        wanted = facts.images
        lookup = Lookup(build=build, tools=run.tools, references=run.references)
        found_logins = await logins(run, wanted)
        chosen = [step for _, step in facts.steps]
        finding = asyncio.create_task(
            find_cache(run, source=source, pipeline=pipeline.name), name="find the cache"
        )
        try:
            (box, *services), steps = await lookup.find_facts(
                session,
                images=[wanted.box, *wanted.services],
                logins=found_logins,
                steps=chosen,
                source=source,
            )
            cache = await finding
        finally:
            finding.cancel()
    show(run.writer, check_options(chosen, steps, pipeline=pipeline.name))
    plan = make_plan(facts, box=box, services=services, steps=steps, attempt=number, cache=cache)
    known = (*(run.inherited.notes if run.inherited is not None else ()), *notices(facts, plan))
    return (
        plan,
        found_logins,
        (*known, *await about_tools(plan.steps, namespace=build.namespace, tools=run.tools)),
    )


def _accept(attempt: Attempt, known: Sequence[str]) -> None:
    """Stage 5: the Plan stands. From now on its number is in the status, where another operator finds it."""
    plan, writer = attempt.plan, attempt.writer
    writer.condition(
        ConditionType.ACCEPTED,
        "True",
        Reason.VALID,
        "; note: ".join(
            [
                f"pipeline {plan.pipeline!r} of {plan.source.short}: {count_of(len(plan.steps), 'step')} "
                f"in {plan.box.name}",
                *known,
            ]
        ),
    )
    writer.change(box=BoxStatus(image=plan.box.name, digest=plan.box.digest))
    writer.begin_attempt(plan)
    attempt.report.accepted(plan=plan)
    if known:
        attempt.report.noticed(message="; ".join(known))
