"""Settings of where projects come from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator

from sentinel.trust import check_authorities


class SourceSettings(BaseModel):
    """Where projects come from."""

    ca: Annotated[
        str,
        Field(
            max_length=65536,
            description="Certificates (PEM) of authorities that git servers' certificates are checked against, besides "
            "the system's. They are in every build pod.",
        ),
    ] = ""
    max_gib: Annotated[
        int, Field(ge=1, description="Disk that a checkout may take, in GiB; more fails the build.")
    ] = 10
    resources: Annotated[
        dict[str, dict[str, str]],
        Field(
            description="Requests and limits of the init container that fetches the source, as in a container. Where "
            "the namespace's LimitRange does not allow them, its defaults are taken."
        ),
    ] = {
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }
    security_context: Annotated[
        dict[str, Any],
        Field(
            description="securityContext of that init container. Where the cluster assigns user ids (OpenShift), "
            "leave out runAsUser and runAsGroup."
        ),
    ] = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }

    @field_validator("ca")
    @classmethod
    def _holds_certificates(cls, text: str) -> str:
        try:
            check_authorities(text)
        except ValueError as error:
            raise ValueError(f"source.ca {error}") from error
        return text
