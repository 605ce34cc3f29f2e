"""Stage 6 for a source that is made of other Builds' outputs: their URLs come into the pod.

They are signed for an hour (setting store.urlSeconds) and are kept in a Secret of the attempt: a right to read the
namespace's pods and ConfigMaps is not a right to download with them.
"""

from __future__ import annotations

import base64
import logging

from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.create import create
from sentinel.engine.run import Run
from sentinel.errors import InfrastructureError, NotVerified
from sentinel.kube.errors import AlreadyExists, NotFound
from sentinel.kube.resources import SECRETS
from sentinel.plan.names import AttemptId
from sentinel.plan.outputs import output_key
from sentinel.plan.pod import owner_reference
from sentinel.plan.seal import check_object, sign_object

log = logging.getLogger(__name__)


async def deliver_outputs(attempt: Attempt) -> None:
    """Put fresh URLs of the outputs where the attempt's pod looks for them. Doing it again replaces them.

    Raises NotVerified where a Secret of that name is not the operator's.
    """
    plan, store, settings = attempt.plan, attempt.tools.store, attempt.tools.settings
    if not plan.source.outputs:
        return
    if store is None:
        raise InfrastructureError(
            "the source is the output of another Build, and the operator has no object store any more",
            reason=Reason.STORE_FAILED,
        )
    keys = [
        output_key(each, namespace=plan.namespace, settings=settings)
        for each in plan.source.outputs
    ]
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": attempt.id.outputs,
            "namespace": plan.namespace,
            "labels": attempt.id.labels,
            "ownerReferences": [owner_reference(attempt.build)],
        },
        "data": {
            f"{index}.url": base64.b64encode(store.presign_get(key).encode()).decode()
            for index, key in enumerate(keys)
        },
    }
    body = sign_object(body, identity=attempt.id.of_build, keys=attempt.tools.keys)
    try:
        await create(attempt.run, SECRETS, body, within=plan.pending_timeout)
    except AlreadyExists:
        await _drop(attempt.run, attempt.id)
        await create(attempt.run, SECRETS, body, within=plan.pending_timeout)


async def drop_outputs(run: Run, attempt: int) -> None:
    """Delete the Secret of an attempt, if there is one and it is ours."""
    try:
        await _drop(run, run.id(attempt))
    except NotVerified as e:
        log.info("build %s/%s: %s", *run.key, e.message)


async def _drop(run: Run, of: AttemptId) -> None:
    kube = run.tools.kube
    try:
        raw = await kube.get(SECRETS, namespace=of.namespace, name=of.outputs)
    except NotFound:
        return
    check_object(raw, kind="Secret", identity=of.of_build, keys=run.tools.keys)
    uid = raw["metadata"]["uid"]
    await kube.delete(SECRETS, namespace=of.namespace, name=of.outputs, uid=uid)
