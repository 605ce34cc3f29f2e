"""Settings of the results API (`sentinel results`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field


class ResultsSettings(BaseModel):
    """How logs and output of Builds are served behind the API server."""

    port: Annotated[int, Field(ge=0, description="Port of the API, with TLS.")] = 8443
    service: Annotated[
        str,
        Field(
            description="Name of the Service that the APIService leads to; the certificate is for it."
        ),
    ] = "sentinel-results"
    tls_secret: Annotated[
        str,
        Field(
            description="Secret of the release's namespace with tls.crt, tls.key and ca.crt. It must exist; where it "
            "is empty, a certificate is made and kept in it."
        ),
    ] = "sentinel-results-tls"  # noqa: S105 - its name
    at_once: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="Answers at once. Each takes about 2 MiB. More are refused with 429; clients try again.",
        ),
    ] = 32
    namespace_at_once: Annotated[
        int, Field(ge=1, description="Of these, the ones for Builds of one namespace.")
    ] = 8
