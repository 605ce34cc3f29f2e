"""URLs of a directory store: what one permits, and the signature that makes it so. Pure.

::

    <url>/objects/<key>?method=GET&expires=1796000000&signature=…
    <url>/objects/<key>?method=PUT&expires=…&once=1&nonce=…&sha256=…&size=…&signature=…
    <url>/list?method=LIST&key=…&after=…&expires=…&signature=…

The signature is an HMAC-SHA256 over everything but itself, so a URL opens one object for one method, and a PUT takes
these very bytes. A `nonce` makes each URL to PUT to one of its own: the server stores with it once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from urllib.parse import urlencode

from sentinel.plan.keys import check_key, check_prefix

METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "LIST"})

_SIGNATURE = "signature"
_VERSION = "sentinel-store-1"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NONCE = re.compile(r"[0-9a-f]{32}")


class Refused(Exception):
    """A URL that permits nothing. The message is for a person."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What one URL permits.

    `key`: the object, or for LIST what the keys begin with. `expires`: Unix time in seconds. For PUT: `size` in bytes
    and `sha256` (hex) of what is stored, `once`: only where there is no object yet, and `nonce`: 32 hexadecimal digits,
    the URL's own. For LIST: `after`: the last key that is known.
    """

    method: str
    key: str
    expires: int
    size: int = 0
    sha256: str = ""
    once: bool = False
    nonce: str = ""
    after: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError where a field cannot be what it says."""
        if self.method not in METHODS:
            raise ValueError(f"{self.method[:20]!r} is not a method")
        if self.method == "LIST":
            check_prefix(self.key)
            check_prefix(self.after)
        else:
            check_key(self.key)
        if self.method == "PUT" and not (
            self.size >= 0 and _SHA256.fullmatch(self.sha256) and _NONCE.fullmatch(self.nonce)
        ):
            raise ValueError("a PUT needs a size, a sha256 and a nonce")

    @property
    def path(self) -> str:
        """Of the URL, below the server's."""
        return "/list" if self.method == "LIST" else f"/objects/{self.key}"

    def url(self, base: str, *, secret: str) -> str:
        """The URL below `base`, signed with `secret`."""
        query = {
            name: str(int(value)) if isinstance(value, bool) else str(value)
            for name, value in asdict(self).items()
            if value not in ("", 0) or name == "expires"
        }
        if self.method != "LIST":
            del query["key"]
        query[_SIGNATURE] = _sign(self, secret)
        return f"{base.rstrip('/')}{self.path}?{urlencode(query)}"


def permitted(query: Mapping[str, str], *, key: str, method: str, secret: str, now: float) -> Grant:
    """What a request may do: `key` of its path ("" for a listing), its HTTP method. Raises Refused."""
    names = {_SIGNATURE, *(field.name for field in fields(Grant))}
    if not names >= query.keys() or (key and "key" in query):
        raise Refused("the URL has parameters that none of ours has")
    try:
        grant = Grant(
            method=query.get("method", ""),
            key=key or query.get("key", ""),
            expires=int(query.get("expires", "")[:16]),
            size=int(query.get("size", "0")[:16]),
            sha256=query.get("sha256", ""),
            once=query.get("once", "") == "1",
            nonce=query.get("nonce", ""),
            after=query.get("after", ""),
        )
    except ValueError as error:
        raise Refused(f"the URL is not a signed one: {error}") from None
    given = query.get(_SIGNATURE, "").encode("utf-8", "surrogatepass")
    if not hmac.compare_digest(_sign(grant, secret).encode(), given):
        raise Refused(
            "the URL's signature does not match: it was changed, or signed with another key than this server's"
        )
    if grant.expires < now:
        raise Refused(f"the URL expired {now - grant.expires:.0f} s ago by this server's clock")
    wanted = "GET" if grant.method == "LIST" else grant.method
    if method != wanted or (grant.method == "LIST") != (not key):
        raise Refused(f"the URL is for {grant.method}, not for {method[:20]}")
    return grant


def _sign(grant: Grant, secret: str) -> str:
    text = json.dumps([_VERSION, asdict(grant)], sort_keys=True)
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
