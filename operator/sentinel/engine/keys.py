"""Keys of our own: Secrets of the release's namespace, each made by the first operator that needs it.

One has the keys that plans are signed with; the other what requests to a directory store are signed with, which that
store's pod has too. They are read once, when the operator starts to lead, and are never logged or handed to a build's
pod.
"""

from __future__ import annotations

import base64
import binascii
import logging
import secrets
from typing import Any

from sentinel.errors import UserError
from sentinel.kube.client import Kube
from sentinel.kube.errors import AlreadyExists, NotFound
from sentinel.kube.resources import SECRETS
from sentinel.plan.names import MANAGED_BY, MANAGED_BY_VALUE
from sentinel.plan.seal import KEY_BYTES, PlanKeys
from sentinel.settings.store import KEY_CHARACTERS

log = logging.getLogger(__name__)

CURRENT, PREVIOUS = "current", "previous"
"""The keys of the Secret's data: what signs, and what is still accepted."""


async def load_keys(kube: Kube, *, namespace: str, name: str) -> PlanKeys:
    """The keys in that Secret, which is created where it does not exist. Two operators that start at once agree.

    Raises UserError where the Secret holds no usable key.
    """
    generated = PlanKeys.generate().current
    return _keys(await _secret(kube, namespace=namespace, name=name, generated=generated))


async def load_store_key(kube: Kube, *, namespace: str, name: str) -> str:
    """The key of a directory store in that Secret, which is created in the same way: text, as pods have it in their
    environment. Raises UserError where the Secret holds none."""
    generated = secrets.token_hex(KEY_BYTES).encode()
    raw = await _secret(kube, namespace=namespace, name=name, generated=generated)
    try:
        key = base64.b64decode((raw.get("data") or {})[CURRENT], validate=True).decode("ascii")
    except (KeyError, ValueError):
        key = ""
    if len(key) < KEY_CHARACTERS or not key.isprintable():
        # Without the key itself.
        raise UserError(
            f"Secret {namespace}/{name} must hold {KEY_CHARACTERS} printable characters or more under {CURRENT!r}: "
            "correct it, or delete it and restart the operator, which creates it again, and then the store"
        )
    return key


async def _secret(kube: Kube, *, namespace: str, name: str, generated: bytes) -> dict[str, Any]:
    """The Secret, with `generated` as its current key where it has to be created."""
    try:
        return await kube.get(SECRETS, namespace=namespace, name=name)
    except NotFound:
        pass
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {MANAGED_BY: MANAGED_BY_VALUE},
        },
        "data": {CURRENT: base64.b64encode(generated).decode()},
    }
    try:
        await kube.create(SECRETS, body, namespace=namespace)
    except AlreadyExists:
        return await kube.get(SECRETS, namespace=namespace, name=name)
    log.info("created Secret %s/%s with a key", namespace, name)
    return body


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
