"""Settings of what builds and runs images for the internal steps: a BuildKit, and containers in a build's pod."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator

_ADDRESS = re.compile(r"tcp://[A-Za-z0-9{}._-]+:[0-9]{1,5}|tcp://\[[0-9A-Fa-f:]+\]:[0-9]{1,5}")


class BuildKitSettings(BaseModel):
    """The BuildKit that internal/docker-build uses. Without an address such steps are refused."""

    address: Annotated[
        str,
        Field(
            description="tcp://host:port of a buildkitd that serves mutual TLS; {namespace} is replaced by the Build's "
            "namespace. Empty: internal/docker-build is refused."
        ),
    ] = ""
    tls_secret: Annotated[
        str,
        Field(
            description="Secret of the release's namespace with ca.crt, tls.crt and tls.key to connect with."
        ),
    ] = ""
    image: Annotated[
        str,
        Field(min_length=1, description="Image with buildctl and sh, for the pods that use it."),
    ] = "moby/buildkit:v0.34.2"
    pull_secrets: Annotated[
        list[dict[str, str]],
        Field(description="Secrets, as {name}, to pull that image and our own with."),
    ] = []
    context_mib: Annotated[
        int,
        Field(
            ge=1, description="Largest build context, packed, in MiB; unpacked it may have 2 GiB."
        ),
    ] = 1024
    log_kib: Annotated[
        int,
        Field(
            ge=64,
            description="Of the output of one image build, in KiB; of more only the last lines are kept.",
        ),
    ] = 4096
    resources: Annotated[
        dict[str, dict[str, str]],
        Field(
            description="Requests and limits of the pod that unpacks a context and sends it to BuildKit."
        ),
    ] = {
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"cpu": "1", "memory": "512Mi"},
    }
    node_selector: Annotated[dict[str, str], Field(description="Where those pods run.")] = {}
    tolerations: Annotated[
        list[dict[str, Any]], Field(description="Taints that those pods tolerate.")
    ] = []

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.address and not _ADDRESS.fullmatch(self.address):
            raise ValueError(
                f"engine.buildkit.address: {self.address!r} is not tcp://host:port (sockets of a node cannot be used)"
            )
        if self.address and not self.tls_secret:
            raise ValueError(
                "engine.buildkit.tlsSecret is missing: all who can connect to a BuildKit can use it, so it must ask "
                "for a certificate"
            )
        return self


class EngineSettings(BaseModel):
    """What takes the place of a Docker Engine."""

    buildkit: Annotated[BuildKitSettings, Field(description="For internal/docker-build.")] = (
        BuildKitSettings()
    )
    containers: Annotated[
        bool,
        Field(
            description="Let internal/docker-run start containers in the build's pod. They are ephemeral containers, "
            "which have no resource limits of their own."
        ),
    ] = False
