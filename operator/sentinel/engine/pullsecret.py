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

from sentinel.engine.create import create
from sentinel.engine.ours import NO_ATTEMPT, identity_of
from sentinel.engine.run import Run
from sentinel.engine.secrets import resolve_variables
from sentinel.errors import NotVerified
from sentinel.kube.errors import AlreadyExists, NotFound
from sentinel.kube.resources import SECRETS
from sentinel.plan.environment import user_variables
from sentinel.plan.images import WantedImages
from sentinel.plan.logins import Login, docker_config, login_of, wants_login
from sentinel.plan.model import Plan
from sentinel.plan.names import labels, pull_secret_name
from sentinel.plan.pod import owner_reference
from sentinel.plan.seal import check_object, sign_object
from sentinel.registry.reference import parse_reference

log = logging.getLogger(__name__)


async def logins(run: Run, wanted: WantedImages) -> dict[str, Login]:
    """The logins that wercker.yml has for the images of a build, by `host/path`. Raises UserError."""
    boxes = [box for box in (wanted.box, *wanted.services) if wants_login(box)]
    if not boxes:
        return {}
    resolved = await resolve_variables(run, user_variables(run.build))
    values = {**wanted.public, **dict(resolved.env)}
    found: dict[str, Login] = {}
    for box in boxes:
        login = login_of(box, values=values)
        if login is not None:
            registry = run.tools.settings.images.default_registry
            found[parse_reference(box.image, default_registry=registry).name] = login
    return found


async def keep_logins(run: Run, plan: Plan, found: dict[str, Login]) -> Plan:
    """The plan with a Secret of these logins to pull with, which exists afterwards."""
    if not found:
        return plan
    name = pull_secret_name(build=plan.build, uid=plan.uid)
    await put_logins(run, plan, name, found)
    secrets = (*plan.image.pull_secrets, name)
    return replace(plan, image=replace(plan.image, pull_secrets=secrets))


async def put_logins(run: Run, plan: Plan, name: str, found: Mapping[str, Login]) -> dict[str, Any]:
    """The Secret of that name with exactly these logins, owned by the Build. Raises NotVerified for another one."""
    identity = identity_of(run, attempt=NO_ATTEMPT)
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {
            "name": name,
            "namespace": plan.namespace,
            "labels": labels(build=plan.build, uid=plan.uid, attempt=plan.attempt),
            "ownerReferences": [owner_reference(run.build)],
        },
        "data": {".dockerconfigjson": base64.b64encode(docker_config(found).encode()).decode()},
    }
    body = sign_object(body, identity=identity, keys=run.tools.keys)
    try:
        return await create(run, SECRETS, body, within=plan.pending_timeout)
    except AlreadyExists:
        there = await run.tools.kube.get(SECRETS, namespace=plan.namespace, name=name)
        check_object(there, kind="Secret", identity=identity, keys=run.tools.keys)
        # Ours, from before a restart: the Secrets it was made of may have changed meanwhile.
        version = there["metadata"]["resourceVersion"]
        metadata = {**body["metadata"], "resourceVersion": version}
        return await run.tools.kube.replace(SECRETS, {**body, "metadata": metadata})


async def drop_logins(run: Run, pod: dict[str, Any]) -> None:
    """Delete the Secret that `pod` pulled with, if it was the build's own."""
    name = pull_secret_name(build=run.build.name, uid=run.build.uid)
    used = [each.get("name") for each in pod["spec"].get("imagePullSecrets") or []]
    if name not in used:
        return
    kube, namespace = run.tools.kube, run.build.namespace
    try:
        raw = await kube.get(SECRETS, namespace=namespace, name=name)
        identity = identity_of(run, attempt=NO_ATTEMPT)
        check_object(raw, kind="Secret", identity=identity, keys=run.tools.keys)
    except (NotFound, NotVerified) as e:
        log.info("build %s/%s: %s", *run.key, e.message)
        return
    await kube.delete(SECRETS, namespace=namespace, name=name, uid=raw["metadata"]["uid"])
