"""Settings of the proxies that build pods use."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from sentinel.egress import bypasses, parse_proxy


class ProxySettings(BaseModel):
    """Proxies for build pods: the init container and boxkit's uploads, and the steps (http_proxy and the like, both
    spellings).

    They can be read in the pod. Our own processes have theirs from the variables http_proxy, https_proxy and no_proxy,
    which the chart sets, and which may hold a login.
    """

    http: Annotated[str, Field(description="URL of the proxy for http. Empty: none.")] = ""
    https: Annotated[str, Field(description="URL of the proxy for https. Empty: none.")] = ""
    no_proxy: Annotated[
        list[str],
        Field(
            description="Hosts, domains (which stand for all below them too), addresses and networks (CIDR) that are "
            "reached directly, besides localhost and the services."
        ),
    ] = []

    @field_validator("http", "https")
    @classmethod
    def _is_proxy(cls, text: str) -> str:
        if not text:
            return text
        try:
            proxy = parse_proxy(text)
        except ValueError as error:
            raise ValueError(f"proxy: {error}") from None
        if "://" not in text:
            raise ValueError("proxy: the proxy's URL is not http://host:port")
        if proxy.username or proxy.password:
            # The text is not quoted: it may stand in a log.
            raise ValueError(
                "proxy: the proxy's URL holds a login, which every user who can read build pods would see. Put it into "
                "a Secret and name that in proxy.existingSecret; build pods need a proxy without a login"
            )
        return text

    def of(self, url: str) -> str:
        """The proxy for a URL, "" for a direct connection."""
        parts = urlsplit(url)
        chosen = self.https if parts.scheme == "https" else self.http
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return "" if bypasses(parts.hostname or "", port, self.no_proxy) else chosen
