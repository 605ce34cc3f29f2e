"""A keychain as messages carry it."""

from __future__ import annotations

from collections.abc import Iterable

from sentinel.image.dockerconfig import Credential, Keychain, Login
from sentinel.resolver import messages


def logins_of(keys: Keychain) -> tuple[messages.LoginMessage, ...]:
    """The entries of a keychain, in order."""
    return tuple(
        messages.LoginMessage(
            host=each.host,
            path=each.path,
            username=each.credential.username,
            password=each.credential.password,
            identity_token=each.credential.identity_token,
            source=each.source,
        )
        for each in keys.entries
    )


def keychain_of(logins: Iterable[messages.LoginMessage]) -> Keychain:
    """The keychain of these entries."""
    return Keychain(
        tuple(
            Login(
                host=each.host,
                path=each.path,
                credential=Credential(
                    username=each.username,
                    password=each.password,
                    identity_token=each.identity_token,
                ),
                source=each.source,
            )
            for each in logins
        )
    )
