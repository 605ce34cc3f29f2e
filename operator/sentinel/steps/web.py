"""HTTP for steps: bounded answers, three tries, and a token that only its own origin ever sees. Blocking."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from sentinel import network
from sentinel.api.reasons import Reason
from sentinel.source.address import parse_web_address
from sentinel.source.failure import BACKOFF, Deadline, PermanentFailure, retry_until
from sentinel.source.http import Answer, Client, HttpError, WebLogin, tls_context
from sentinel.steps.wanted import invalid, unavailable, without_credentials

_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})


class Web:
    """Asks servers without a name, and the one server that the token is for with it.

    `home` is the URL of that server, with scheme and port: a token for https is not sent over http. Without a token,
    user and password in `home` are used in its place. `ca`: certificates (PEM) that are trusted besides the system's.
    """

    def __init__(
        self,
        *,
        home: str = "",
        token: str = "",
        ca: str = "",
        pause: float = 0.3,
        policy: network.Policy | None = None,
    ) -> None:
        address = parse_web_address(home) if home else None
        login = WebLogin(token=token)
        if not token and address is not None:
            login = WebLogin(username=address.username, password=address.password)
        self._client = Client(policy=policy, tls=tls_context(ca=ca), home=address, login=login)
        self._pause = pause

    def get_json(
        self, url: str, *, limit: int, deadline: Deadline, with_token: bool = True
    ) -> tuple[int, Any]:
        """Status and parsed JSON of an answer; None where the status is not 200.

        InfrastructureError for servers that cannot be reached, go on failing, or say what is no JSON with a 200.
        """
        where = without_credentials(url)
        too_large = unavailable(
            f"{where} answers more than {limit} bytes, so it is not a step registry"
        )
        content = io.BytesIO()

        def start() -> BinaryIO:
            content.seek(0)
            content.truncate()
            return content

        answer = self._retried(
            url, start, limit=limit, deadline=deadline, with_token=with_token, too_large=too_large
        )
        if answer.status != 200:
            return answer.status, None
        try:
            return 200, json.loads(content.getvalue())
        except (ValueError, RecursionError):
            raise unavailable(
                f"{where} did not answer with JSON, so it is not a step registry"
            ) from None

    def download(
        self, url: str, target: Path, *, limit: int, deadline: Deadline, with_token: bool = True
    ) -> tuple[int, str]:
        """Write a file of at most `limit` bytes; its status and SHA-256 in hex, "" where the status is not 200.

        UserError(StepInvalid) for one that is larger; InfrastructureError as above.
        """
        too_large = invalid(
            f"{without_credentials(url)} has more than {limit} bytes, the most a step may"
        )
        with target.open("wb") as file:

            def start() -> BinaryIO:
                file.seek(0)
                file.truncate()
                return file

            answer = self._retried(
                url,
                start,
                limit=limit,
                deadline=deadline,
                with_token=with_token,
                too_large=too_large,
            )
        return answer.status, answer.digest

    def _retried(
        self,
        url: str,
        start: Callable[[], BinaryIO],
        *,
        limit: int,
        deadline: Deadline,
        with_token: bool,
        too_large: Exception,
    ) -> Answer:
        where, after = without_credentials(url), f", after {BACKOFF.tries} tries"

        def once() -> Answer:
            try:
                answer = self._client.get(
                    url, start(), limit=limit, deadline=deadline, with_login=with_token
                )
            except HttpError as error:
                if error.kind == "too large":
                    raise too_large from None
                if error.kind == "denied":
                    raise invalid(f"{where} {error.message}") from None
                if error.kind == "unavailable":
                    raise unavailable(f"{where} {error.message}{after}") from None
                raise PermanentFailure(
                    f"{where} {error.message}", reason=Reason.REGISTRY_UNAVAILABLE
                ) from None
            if answer.status in _TRY_AGAIN:
                raise unavailable(f"{where} answers HTTP {answer.status}{after}")
            return answer

        return retry_until(deadline, once, backoff=replace(BACKOFF, first=self._pause))
