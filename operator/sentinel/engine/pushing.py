"""Whether the box can be pushed when it is done, found out before anything runs."""

from __future__ import annotations

from sentinel.api.reasons import Reason
from sentinel.engine.run import Run
from sentinel.errors import UserError
from sentinel.image.reference import parse_repository
from sentinel.plan.model import PlanSource
from sentinel.plan.repository import plan_image
from sentinel.registry.pushing import Pushing, allowed_places, may_push


async def check_pushing(run: Run, source: PlanSource) -> None:
    """The repository is one, the namespace may push there, and the Secret to push with exists and has the login.

    Raises UserError InvalidSpec naming `spec.image.repository`, SecretNotFound, ImageAuthFailed.
    """
    images = run.tools.settings.images
    keychain = await run.references.push_keychain()
    wanted = plan_image(run.build, source=source, settings=run.tools.settings)
    if wanted.commit == "never":
        return
    given = run.build.spec.image.repository
    try:
        target = parse_repository(wanted.repository, default_registry=images.default_registry)
    except UserError as error:
        field = "spec.image.repository" if given else "images.prefix of the operator's settings"
        raise UserError(
            f"{field} cannot be used: {error.message}", reason=Reason.INVALID_SPEC
        ) from error
    decision = may_push(target, images=images, namespace=run.build.namespace)
    if decision is Pushing.DENIED or (decision is Pushing.WITH_LOGIN and not wanted.push_secret):
        raise UserError(
            f"spec.image.repository: builds of namespace {run.build.namespace} may not push to {target.name}; allowed "
            f"are {allowed_places(images, namespace=run.build.namespace)}",
            reason=Reason.INVALID_SPEC,
        )
    if decision is Pushing.WITH_LOGIN and keychain.find(target) is None:
        raise UserError(
            f"Secret {wanted.push_secret} of spec.image.pushSecretRef has no login for {target.name}: add one with "
            f"`kubectl create secret docker-registry --docker-server={target.registry} …`",
            reason=Reason.IMAGE_AUTH_FAILED,
        )
