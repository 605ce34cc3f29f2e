"""Logging in to registries: which Authorization header a request carries, and fetching the tokens for it.

Not here: when to log in (`transport.py`), and the form of challenges and tokens (`auth.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import aiohttp

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.image.dockerconfig import Credential, Keychain
from sentinel.image.reference import Reference
from sentinel.registry.answers import TRY_AGAIN, TooLong, json_object, read_bounded, registry_words
from sentinel.registry.auth import Challenge, Token, basic, is_usable_realm, parse_token

_TOKEN_LIMIT = 64 * 1024


class Logins:
    """What each registry wants, and the tokens we hold. Tokens are kept per scope for four fifths of their life."""

    def __init__(
        self,
        request: Callable[..., Awaitable[aiohttp.ClientResponse]],
        *,
        credentials: Keychain,
        is_insecure: Callable[[Reference], bool],
    ) -> None:
        """`request` sends one request without following redirects (`hosts.Connections`)."""
        self._request = request
        self._credentials = credentials
        self._is_insecure = is_insecure
        self._challenges: dict[str, Challenge] = {}
        self._tokens: dict[tuple[str, ...], Token] = {}

    async def authorization(
        self, reference: Reference, scopes: Sequence[str], *, fresh: bool = False
    ) -> str | None:
        """The header's value for what the registry wanted last time; None if it wanted nothing, or we have nothing.

        Raises UserError(ImageAuthFailed) when its token server refuses, aiohttp's errors when that is away.
        """
        challenge = self._challenges.get(reference.endpoint)
        if challenge is None:
            return None
        credential = self._credentials.find(reference)
        if challenge.scheme == "basic":
            return basic(credential) if credential else None
        who = credential.username if credential else ""
        key = (reference.endpoint, challenge.realm, challenge.service, who, *scopes)
        token = self._tokens.get(key)
        if fresh or token is None or token.usable_until <= asyncio.get_running_loop().time():
            token = await self._fetch_token(reference, scopes, challenge, credential)
            self._tokens[key] = token
        return f"Bearer {token.value}"

    async def answer(
        self, reference: Reference, scopes: Sequence[str], challenge: Challenge
    ) -> str | None:
        """The header's value for what the registry wants now, with a fresh token. Raises as `authorization` does."""
        self._challenges[reference.endpoint] = challenge
        return await self.authorization(reference, scopes, fresh=True)

    async def _fetch_token(
        self,
        reference: Reference,
        scopes: Sequence[str],
        challenge: Challenge,
        credential: Credential | None,
    ) -> Token:
        if not is_usable_realm(challenge.realm, insecure=self._is_insecure(reference)):
            raise UserError(
                f"registry {reference.registry} names a token server that does not use https: "
                f"{challenge.realm[:100]!r}",
                reason=Reason.IMAGE_AUTH_FAILED,
            )
        status, body = await self._ask(scopes, challenge, credential)
        if status in TRY_AGAIN:
            raise aiohttp.ClientError(f"its token server answers HTTP {status}")
        token = None
        if status == 200:
            token = parse_token(json_object(body), now=asyncio.get_running_loop().time())
        if token is None:
            who = f"the login of {credential.username!r}" if credential else "an anonymous login"
            words = registry_words(body) or f"HTTP {status} from its token server"
            raise UserError(
                f"registry {reference.registry} denied {who} for {reference}: {words}; check the Secret with the "
                "registry's credentials",
                reason=Reason.IMAGE_AUTH_FAILED,
            )
        return token

    async def _ask(
        self, scopes: Sequence[str], challenge: Challenge, credential: Credential | None
    ) -> tuple[int, bytes]:
        service = [("service", challenge.service)] if challenge.service else []
        if credential and credential.identity_token:
            form = dict(service) | {
                "scope": " ".join(scopes),
                "grant_type": "refresh_token",
                "client_id": "sentinel",
                "refresh_token": credential.identity_token,
            }
            response = await self._request("POST", challenge.realm, headers={}, data=form)
        else:
            response = await self._request(
                "GET",
                challenge.realm,
                params=[*service, *(("scope", scope) for scope in scopes)],
                headers={"Authorization": basic(credential)} if credential else {},
            )
        async with response:
            try:
                return response.status, await read_bounded(response, limit=_TOKEN_LIMIT)
            except TooLong:
                return response.status, b""
