"""The Secrets that a Build pushes and pulls with, read when they are needed and kept nowhere.

Not here: what is in them (`image/dockerconfig.py`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from sentinel.agent.failures import CommitFailure
from sentinel.agent.tools import Tools, patiently
from sentinel.api.imagecommit import ImageCommit
from sentinel.api.model import LocalRef
from sentinel.api.reasons import CommitReason
from sentinel.image.dockerconfig import Keychain, keychain_from_secrets
from sentinel.kube.errors import Forbidden, NotFound
from sentinel.kube.resources import SECRETS

_SECRET_TRIES = 17
_LONGEST_PAUSE = 5.0


async def read_keychain(commit: ImageCommit, refs: list[LocalRef], tools: Tools) -> Keychain:
    """All of these Secrets as one keychain. Raises CommitFailure(AuthFailed), UserError for a malformed one."""
    secrets = []
    for ref in refs:
        for attempt in range(1, _SECRET_TRIES + 1):
            try:
                secrets.append(await patiently(partial(_secret, commit, ref, tools), tools))
                break
            except NotFound as error:
                raise CommitFailure(
                    CommitReason.AUTH_FAILED, f"Secret {commit.namespace}/{ref.name} not found"
                ) from error
            except Forbidden as error:
                # The operator grants it once the ImageCommit exists, and a quota may delay that: wait for a minute.
                if attempt == _SECRET_TRIES:
                    raise CommitFailure(
                        CommitReason.AUTH_FAILED,
                        f"the agent is not allowed to read Secret {commit.namespace}/{ref.name}: {error.message}",
                    ) from error
                await tools.clock.sleep(min(_LONGEST_PAUSE, 0.05 * 2**attempt))
    return keychain_from_secrets(secrets)


async def _secret(commit: ImageCommit, ref: LocalRef, tools: Tools) -> dict[str, Any]:
    return await tools.kube.get(SECRETS, namespace=commit.namespace, name=ref.name)
