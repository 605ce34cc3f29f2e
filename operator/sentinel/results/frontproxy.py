"""Who sent a request, by the API server: the front proxy's client certificate first, then the headers that it sets.

The cluster's ConfigMap `kube-system/extension-apiserver-authentication` has the authority of that certificate, the
names that it may have, and the names of the headers. A TLS connection without a certificate of that authority is not
established, so X-Remote-User from anything but the API server is never read.
https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from sentinel.errors import UserError

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"


class Unauthenticated(Exception):
    """The request does not come from the API server, or has no user."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The user of a request, as a SubjectAccessReview takes it."""

    user: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FrontProxy:
    """How the API server is recognized. `ca` is in PEM; no `names`: every certificate of that authority."""

    ca: str
    names: tuple[str, ...]
    user_headers: tuple[str, ...]
    uid_headers: tuple[str, ...]
    group_headers: tuple[str, ...]
    extra_prefixes: tuple[str, ...]

    @classmethod
    def read(cls, data: Mapping[str, str]) -> FrontProxy:
        """From the data of that ConfigMap. Raises UserError where the API server has no front proxy set up, or one
        that ordinary client certificates would pass as well."""
        ca = data.get("requestheader-client-ca-file", "").strip()
        names = _list(data, "requestheader-allowed-names")
        users = _list(data, "requestheader-username-headers")
        where = f"ConfigMap {NAMESPACE}/{NAME}"
        if not ca or not users:
            raise UserError(
                f"{where} has no requestheader-client-ca-file or no requestheader-username-headers: start the API "
                "server with --requestheader-client-ca-file, --requestheader-username-headers and "
                "--proxy-client-cert-file, or set results.enabled=false"
            )
        if not names and ca == data.get("client-ca-file", "").strip():
            raise UserError(
                f"{where}: the front proxy and ordinary clients have certificates of the same authority, and no names "
                "to tell them apart: set the API server's --requestheader-allowed-names, or results.enabled=false"
            )
        return cls(
            ca=ca,
            names=names,
            user_headers=users,
            uid_headers=_list(data, "requestheader-uid-headers"),
            group_headers=_list(data, "requestheader-group-headers"),
            extra_prefixes=_list(data, "requestheader-extra-headers-prefix"),
        )

    def context(self, *, certificate: Path, key: Path) -> ssl.SSLContext:
        """TLS for the server, with that certificate (files in PEM). A client must have one of the proxy's authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(cadata=self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def caller(
        self, certificate: Mapping[str, Any] | None, headers: CIMultiDictProxy[str]
    ) -> Caller:
        """The user that the API server names. `certificate` is the verified one of the client, as `ssl` shows it."""
        subject = (certificate or {}).get("subject", ())
        names = [value for part in subject for key, value in part if key == "commonName"]
        if not certificate or (self.names and (len(names) != 1 or names[0] not in self.names)):
            raise Unauthenticated(
                "the client certificate is not that of the API server's front proxy"
            )
        user = _first(headers, self.user_headers)
        if not user:
            raise Unauthenticated("the request names no user")
        caller = Caller(
            user=user,
            uid=_first(headers, self.uid_headers),
            groups=tuple(v for name in self.group_headers for v in headers.getall(name, ())),
            extra=self._extra(headers),
        )
        try:
            repr(caller).encode()
        except UnicodeEncodeError:
            raise Unauthenticated("the headers that name the user are not UTF-8") from None
        return caller

    def _extra(self, headers: CIMultiDictProxy[str]) -> dict[str, tuple[str, ...]]:
        """Further attributes of the user. A header's name is the prefix and the key, which is percent-encoded."""
        found: dict[str, tuple[str, ...]] = {}
        for name, value in headers.items():
            for prefix in self.extra_prefixes:
                if name.lower().startswith(prefix.lower()):
                    key = unquote(name[len(prefix) :].lower())
                    found[key] = (*found.get(key, ()), value)
        return found


def _first(headers: CIMultiDictProxy[str], names: tuple[str, ...]) -> str:
    return next((headers[name] for name in names if headers.get(name)), "")


def _list(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    """A key of the ConfigMap, which holds a JSON list of strings."""
    try:
        values = json.loads(data.get(key) or "[]")
    except ValueError:
        values = None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f"ConfigMap {NAMESPACE}/{NAME}: {key} is not a JSON list of strings")
    return tuple(value for value in values if value)
