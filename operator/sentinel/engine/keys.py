"""The keys that plans are signed with: a Secret of the release's namespace, made by the first operator that needs it.

They are read once, when the operator starts to lead, and are never logged or handed to a pod.
"""

from __future__ import annotations

import base64
import binascii
import logging
from typing import Any

from sentinel.errors import UserError
from sentinel.kube.client import Kube
from sentinel.kube.errors import AlreadyExists, NotFound
from sentinel.kube.resources import SECRETS
from sentinel.plan.names import MANAGED_BY, MANAGED_BY_VALUE
from sentinel.plan.seal import KEY_BYTES, PlanKeys

log = logging.getLogger(__name__)

CURRENT, PREVIOUS = "current", "previous"
"""The keys of the Secret's data: what signs, and what is still accepted."""


async def load_keys(kube: Kube, *, namespace: str, name: str) -> PlanKeys:
    """The keys in that Secret, which is created where it does not exist. Two operators that start at once agree.

    Raises UserError where the Secret holds no usable key.
    """
    try:
        return _keys(await kube.get(SECRETS, namespace=namespace, name=name))
    except NotFound:
        pass
    keys = PlanKeys.generate()
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {MANAGED_BY: MANAGED_BY_VALUE},
        },
        "data": {CURRENT: base64.b64encode(keys.current).decode()},
    }
    try:
        await kube.create(SECRETS, body, namespace=namespace)
    except AlreadyExists:
        return _keys(await kube.get(SECRETS, namespace=namespace, name=name))
    log.info("created Secret %s/%s with the key that plans are signed with", namespace, name)
    return keys


def _keys(raw: dict[str, Any]) -> PlanKeys:
    data = raw.get("data") or {}
    try:
        current = base64.b64decode(data[CURRENT], validate=True)
        previous = base64.b64decode(data.get(PREVIOUS) or "", validate=True)
        return PlanKeys(current, previous or None)
    except (KeyError, binascii.Error, ValueError):
        meta = raw["metadata"]
        # Without the error itself: it may quote the data.
        raise UserError(
            f"Secret {meta['namespace']}/{meta['name']} must hold {KEY_BYTES} random bytes or more under "
            f"{CURRENT!r}, and while a key is rotated the old ones under {PREVIOUS!r}: correct it, or delete it when "
            "no build runs and restart the operator, which creates it again"
        ) from None
