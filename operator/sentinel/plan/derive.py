"""What of a Plan is taken from the Build and the settings, each time, however well the plan is signed."""

from __future__ import annotations

from dataclasses import replace

from sentinel.api.build import Build
from sentinel.api.reasons import Reason
from sentinel.api.source import Source
from sentinel.errors import NotVerified
from sentinel.plan.cache import plan_cache
from sentinel.plan.environment import needed, user_variables
from sentinel.plan.generic import application_id
from sentinel.plan.keys import results_prefix
from sentinel.plan.model import Plan, PlanImage, PlanSource
from sentinel.plan.repository import plan_image
from sentinel.settings import Settings


def derive_again(plan: Plan, *, build: Build, settings: Settings) -> Plan:
    """A plan read back from its pod, with everything that grants or names something taken from the Build and settings.

    Where results go, where the box is pushed and with which Secrets, and what the source is fetched with never come
    from an annotation, signed or not. Raises NotVerified where the plan is another attempt's, or names Secrets or
    ConfigMaps that the Build does not name; UserError for what the settings do not allow any more.
    """
    of = plan.source
    inherits = build.spec.parent is not None and build.spec.source == Source()
    secrets, maps = needed(plan.variables)
    known_secrets, known_maps = needed(user_variables(build))
    foreign = sorted((secrets - known_secrets) | (maps - known_maps))
    if (plan.namespace, plan.build, plan.uid) != (build.namespace, build.name, build.uid):
        wrong = f"it is for Build {plan.namespace}/{plan.build} ({plan.uid})"
    elif of.inherited != inherits or (of.outputs and not inherits):
        wrong = "it has another source than the Build"
    elif foreign:
        wrong = f"it reads {', '.join(foreign)}, which the Build does not name"
    else:
        wrong = ""
    source = plan.source
    if not wrong and not inherits:
        try:
            source = source.again(build.spec.source)
        except LookupError as e:
            wrong = str(e)
    if wrong:
        raise NotVerified(f"its plan is not this Build's: {wrong}", reason=Reason.NOT_VERIFIED)
    image = plan_image(build, source=source, settings=settings)
    if plan.image.commit == "never":
        image = PlanImage(pull_secrets=image.pull_secrets)
    own = plan.id.pull_secret
    if own in plan.image.pull_secrets:
        image = replace(image, pull_secrets=(*image.pull_secrets, own))
    return replace(
        plan,
        source=source,
        image=image,
        results_prefix=attempt_results(build, source, settings=settings, attempt=plan.attempt),
        cache=plan_cache(
            build,
            source=source,
            pipeline=plan.pipeline,
            settings=settings,
            space=plan.cache.space,
            size=plan.cache.size,
        ),
    )


def attempt_results(build: Build, source: PlanSource, *, settings: Settings, attempt: int) -> str:
    """Where an attempt's logs and output lie in the store."""
    return results_prefix(
        prefix=settings.store.prefix,
        namespace=build.namespace,
        app_id=application_id(build, source=source),
        build_uid=build.uid,
        attempt=attempt,
    )
