"""Registry logins of wercker.yml as a Secret that the kubelet and the agent pull with.

It lives from before the pod to the Build's end: it is owned by the Build and deleted with its pod. Values come from
the Build's variables, those of Secrets too, and stand nowhere else.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sentinel.api.reasons import Reason
from sentinel.config.model import Box
from sentinel.engine.attempt import Attempt
from sentinel.engine.create import create
from sentinel.engine.logins import read_login
from sentinel.engine.run import Run
from sentinel.errors import UserError
from sentinel.image.dockerconfig import Credential, docker_config
from sentinel.image.reference import Reference, parse_reference
from sentinel.kube.errors import AlreadyExists
from sentinel.kube.resources import SECRETS
from sentinel.plan.environment import user_variables
from sentinel.plan.images import WantedImages
from sentinel.plan.interpolate import interpolate
from sentinel.plan.logins import login_of, wants_login
from sentinel.plan.pod import owner_reference
from sentinel.plan.seal import check_object, sign_object
from sentinel.registry.ecr import EcrKeys, ecr_login

log = logging.getLogger(__name__)


async def logins(run: Run, wanted: WantedImages) -> dict[str, Credential]:
    """The logins that wercker.yml has for the images of a build, by `host/path`. Raises UserError."""
    boxes = [box for box in (wanted.box, *wanted.services) if wants_login(box)]
    if not boxes:
        return {}
    resolved = await run.references.resolve(user_variables(run.build))
    values = {**wanted.public, **dict(resolved.env)}
    found: dict[str, Credential] = {}
    for box in boxes:
        registry = run.tools.settings.images.default_registry
        reference = parse_reference(box.image, default_registry=registry)
        keys = _amazon(box, reference, values)
        login = login_of(box, values=values)
        if keys is not None:
            settings = run.tools.settings
            login = await ecr_login(keys, policy=settings.registry_policy(), ca=settings.ca)
        if login is not None:
            found[reference.name] = login
    return found


def _amazon(box: Box, reference: Reference, values: Mapping[str, str]) -> EcrKeys | None:
    """Amazon's keys for the box's image, if it has some. Raises UserError ImageAuthFailed."""
    said = {key: text for key, text in box.auth if key.startswith("aws-")}
    try:
        found = read_login(
            lambda name: interpolate(said.get(name, ""), public=values, where=name).strip(), said
        )
        if found.host and found.host != reference.registry:
            raise UserError(f"the image is on {reference.registry}, its login is for {found.host}")
    except UserError as error:
        raise UserError(
            f"{box.id} on line {box.line} of wercker.yml: {error.message}",
            reason=Reason.IMAGE_AUTH_FAILED,
        ) from None
    return found.login if isinstance(found.login, EcrKeys) else None


async def keep_logins(attempt: Attempt, found: Mapping[str, Credential]) -> None:
    """Make the Secret of these logins, if there are any; the attempt's plan pulls with it from then on."""
    if not found:
        return
    name, image = attempt.id.pull_secret, attempt.plan.image
    await put_logins(attempt, name, found)
    image = replace(image, pull_secrets=(*image.pull_secrets, name))
    attempt.plan = replace(attempt.plan, image=image)


async def put_logins(
    attempt: Attempt, name: str, found: Mapping[str, Credential]
) -> dict[str, Any]:
    """The Secret of that name with exactly these logins, owned by the Build. Raises NotVerified for another one."""
    identity = attempt.id.of_build
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {
            "name": name,
            "namespace": attempt.plan.namespace,
            "labels": attempt.id.labels,
            "ownerReferences": [owner_reference(attempt.build)],
        },
        "data": {".dockerconfigjson": base64.b64encode(docker_config(found).encode()).decode()},
    }
    body = sign_object(body, identity=identity, keys=attempt.tools.keys)
    try:
        return await create(attempt.run, SECRETS, body, within=attempt.plan.pending_timeout)
    except AlreadyExists:
        there = await attempt.tools.kube.get(SECRETS, namespace=attempt.plan.namespace, name=name)
        check_object(there, kind="Secret", identity=identity, keys=attempt.tools.keys)
        # Ours, from before a restart: the Secrets it was made of may have changed meanwhile.
        version = there["metadata"]["resourceVersion"]
        metadata = {**body["metadata"], "resourceVersion": version}
        return await attempt.tools.kube.replace(SECRETS, {**body, "metadata": metadata})
