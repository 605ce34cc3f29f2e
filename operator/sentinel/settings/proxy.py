"""Settings of the proxies that builds use."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field


class ProxySettings(BaseModel):
    """Proxies for the builds: git in the init container, and the steps (http_proxy and the like, both spellings).

    They stand readable in the pod, so no password belongs in them. The operator's own come from its environment.
    """

    http: Annotated[str, Field(description="URL of the proxy for http. Empty: none.")] = ""
    https: Annotated[str, Field(description="URL of the proxy for https. Empty: none.")] = ""
    no_proxy: Annotated[
        list[str],
        Field(
            description="Hosts and domains that bypass the proxies, besides localhost and the services."
        ),
    ] = []
