"""The Secrets that a Build pushes and pulls with, read when they are needed and kept nowhere.

Not here: what is in them (`image/dockerconfig.py`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from sentinel.agent.failures import CommitFailure
from sentinel.agent.tools import Tools, retry_api
from sentinel.api.imagecommit import ImageCommit
from sentinel.api.model import LocalRef
from sentinel.api.reasons import CommitReason
from sentinel.backoff import Backoff
from sentinel.image.dockerconfig import Keychain, keychain_from_secrets
from sentinel.kube.errors import Forbidden, NotFound
from sentinel.kube.resources import SECRETS
from sentinel.retry import retry

_GRANTED = Backoff(first=0.1, longest=5.0, tries=17)


async def read_keychain(commit: ImageCommit, refs: list[LocalRef], tools: Tools) -> Keychain:
    """All of these Secrets as one keychain. Raises CommitFailure(AuthFailed), UserError for a malformed one."""
    secrets = []
    for ref in refs:
        place = f"{commit.namespace}/{ref.name}"
        read = partial(retry_api, partial(_secret, commit, ref, tools), tools)
        try:
            # The operator grants it once the ImageCommit exists, and a quota may delay that: wait for a minute.
            secret = await retry(
                read,
                clock=tools.clock,
                backoff=_GRANTED,
                what=f"reading Secret {place}",
                passing=Forbidden,
            )
        except NotFound as error:
            raise CommitFailure(CommitReason.AUTH_FAILED, f"Secret {place} not found") from error
        except Forbidden as error:
            raise CommitFailure(
                CommitReason.AUTH_FAILED,
                f"the agent is not allowed to read Secret {place}: {error.message}",
            ) from error
        secrets.append(secret)
    return keychain_from_secrets(secrets)


async def _secret(commit: ImageCommit, ref: LocalRef, tools: Tools) -> dict[str, Any]:
    return await tools.kube.get(SECRETS, namespace=commit.namespace, name=ref.name)
