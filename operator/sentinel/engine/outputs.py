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
from sentinel.engine.leftovers import delete_signed
from sentinel.errors import InfrastructureError
from sentinel.kube.errors import AlreadyExists
from sentinel.kube.resources import SECRETS
from sentinel.plan.outputs import output_key
from sentinel.plan.pod import owner_reference
from sentinel.plan.seal import sign_object

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
        await delete_signed(attempt.tools, SECRETS, attempt.id, attempt.id.outputs)
        await create(attempt.run, SECRETS, body, within=plan.pending_timeout)
