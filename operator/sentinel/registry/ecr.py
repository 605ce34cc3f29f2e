"""Amazon's registry (ECR): an access key is exchanged for a password that lives twelve hours.

By boto3, with the key of a build and nothing of the operator's own. The endpoint is the one that boto3 knows for the
region, or AWS_ENDPOINT_URL_ECR of the operator's environment; the network policy applies to it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sentinel.api.reasons import Reason
from sentinel.egress import proxies_for
from sentinel.errors import InfrastructureError, UserError
from sentinel.image.dockerconfig import Credential
from sentinel.network import Denied, Policy, Unresolved
from sentinel.plan.logins import ecr_host
from sentinel.text import printable
from sentinel.trust import bundle

_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}")
_ACCOUNT = re.compile(r"[0-9]{12}")
_KEY_ID = re.compile(r"[A-Za-z0-9]{1,128}")
_LATER = frozenset({"ThrottlingException", "ServerException", "ServiceUnavailable"})
_CALL_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class EcrKeys:
    """An access key, and the registry that it is for: a region, and the account that owns it. Never printed."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str
    registry_id: str

    def problem(self) -> str:
        """What cannot be right about them, "" where nothing is: the host's name is made of two of them."""
        if not _REGION.fullmatch(self.region):
            return f"aws-region {self.region[:40]!r} is no region: write it like eu-west-1"
        if not _ACCOUNT.fullmatch(self.registry_id):
            return f"aws-registry-id {self.registry_id[:40]!r} is no account: it has 12 digits"
        if not _KEY_ID.fullmatch(self.access_key):
            return "aws-access-key is no access key's id"
        return ""

    @property
    def host(self) -> str:
        """The registry."""
        return ecr_host(self.registry_id, self.region)


async def ecr_login(keys: EcrKeys, *, policy: Policy, ca: str = "") -> Credential:
    """User and password for the registry. `ca`: certificates (PEM) of authorities besides the system's.

    Raises UserError: ImageAuthFailed where Amazon denies it, RegistryNotAllowed where the policy denies the connection;
    InfrastructureError(RegistryUnavailable).
    """
    try:
        async with asyncio.timeout(_CALL_SECONDS):
            token = await asyncio.to_thread(_token, keys, policy, ca)
    except TimeoutError:
        raise _unavailable(keys, f"no answer within {_CALL_SECONDS:g} s") from None
    try:
        username, colon, password = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise _unavailable(keys, "its token is no user and password")
    return Credential(username=username, password=password)


def _token(keys: EcrKeys, policy: Policy, ca: str) -> str:
    # 0.2 s and 20 MB that only builds with such keys should pay.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    from botocore.httpsession import where  # noqa: PLC0415

    endpoint = (
        os.environ.get("AWS_ENDPOINT_URL_ECR") or f"https://api.ecr.{keys.region}.amazonaws.com"
    )
    proxies = proxies_for(endpoint)
    limits = Config(
        connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 3}, proxies=proxies
    )
    client: Any = boto3.session.Session().client(
        "ecr",
        region_name=keys.region,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        verify=bundle(ca, where()) if ca.strip() else None,
        config=limits,
    )
    try:
        place = urlsplit(client.meta.endpoint_url)
        check = policy.check_proxied if proxies else policy.resolve
        check(place.hostname or "", place.port or 443)
        answer = client.get_authorization_token()
        return str(answer["authorizationData"][0]["authorizationToken"])
    except Denied as error:
        raise UserError(
            f"connecting to Amazon ECR was denied: {error}", reason=Reason.REGISTRY_NOT_ALLOWED
        ) from None
    except ClientError as error:
        details = error.response.get("Error", {})
        code = str(details.get("Code", ""))
        words = printable(f"{code}: {details.get('Message', '')}"[:300]).rstrip(": ")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _LATER or status >= 500:
            raise _unavailable(keys, words) from None
        raise UserError(
            f"Amazon ECR denied a login for {keys.host}: {words}; check aws-access-key and aws-secret-key, and that "
            "the key may call ecr:GetAuthorizationToken",
            reason=Reason.IMAGE_AUTH_FAILED,
        ) from None
    except (Unresolved, BotoCoreError, LookupError) as error:
        raise _unavailable(keys, str(error)[:300]) from None
    finally:
        client.close()


def _unavailable(keys: EcrKeys, why: str) -> InfrastructureError:
    return InfrastructureError(
        f"Amazon ECR is unavailable for {keys.host}: {why}", reason=Reason.REGISTRY_UNAVAILABLE
    )
