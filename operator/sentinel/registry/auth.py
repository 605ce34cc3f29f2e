"""What a registry asks for with a 401, and how a token is asked for in return.

Pure: headers in, values out. Not here: sending anything (`transport.py`), and which credential fits
(`credentials.py`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sentinel.image.dockerconfig import Credential

_DEFAULT_LIFE = 60.0
_LONGEST_LIFE = 86400
_USABLE_SHARE = 0.8
_MAX_OFFERS = 8
_MAX_OFFER = 4096
# Possessive, and only from a word's start: a header of one long word costs one pass, not one for each letter.
_PAIR = re.compile(r'(?<![A-Za-z_])([A-Za-z_]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s,"]++))')
_SCHEME = re.compile(r"(?:^|,)\s*(Basic|Bearer)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """One offer of a WWW-Authenticate header. `scheme` is `basic` or `bearer`; the rest is Bearer's."""

    scheme: str
    realm: str = ""
    service: str = ""


@dataclass(frozen=True, kw_only=True)
class Token:
    """A bearer token and the loop time until which it is used: four fifths of its life."""

    value: str
    usable_until: float


def parse_challenges(headers: list[str]) -> tuple[Challenge, ...]:
    """The challenges of the WWW-Authenticate headers that we can answer, Bearer first.

    A registry has one or two, of some hundred bytes; of more than 8, or in headers longer than 4 KiB, none is read.
    """
    found = []
    for header in headers[:_MAX_OFFERS]:
        if len(header) > _MAX_OFFER:
            continue
        marks = list(_SCHEME.finditer(header))
        ends = [mark.start() for mark in marks[1:]] + [len(header)]
        for mark, end in zip(marks, ends, strict=True):
            pairs = {
                name.lower(): quoted or bare
                for name, quoted, bare in _PAIR.findall(header[mark.end() : end])
            }
            found.append(
                Challenge(
                    scheme=mark.group(1).lower(),
                    realm=pairs.get("realm", ""),
                    service=pairs.get("service", ""),
                )
            )
    return tuple(sorted(found, key=lambda challenge: challenge.scheme != "bearer"))


def basic(credential: Credential) -> str:
    """The value of an Authorization header for user and password."""
    pair = f"{credential.username}:{credential.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def parse_token(answer: Mapping[str, Any], *, now: float) -> Token | None:
    """The token in a token server's answer, or None. `now` is the loop's time in seconds."""
    value = answer.get("token") or answer.get("access_token")
    if not isinstance(value, str) or not value:
        return None
    life = answer.get("expires_in")
    seconds = _DEFAULT_LIFE
    if isinstance(life, int | float) and life >= _DEFAULT_LIFE:
        seconds = float(min(life, _LONGEST_LIFE))
    return Token(value=value, usable_until=now + seconds * _USABLE_SHARE)


def is_usable_realm(realm: str, *, insecure: bool) -> bool:
    """Whether a password may be sent there: https, or plain http where the registry itself speaks it."""
    scheme = urlsplit(realm).scheme
    return scheme == "https" or (scheme == "http" and insecure)
