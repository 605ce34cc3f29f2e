"""The API's objects: discovery documents, and the Status that every refusal is. Pure."""

from __future__ import annotations

from typing import Any

from sentinel.kube.resources import RESULTS

Json = dict[str, Any]

LOG, OUTPUT = "log", "output"
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    416: "RequestedRangeNotSatisfiable",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


class Refusal(Exception):
    """An answer that is not a success. `message` is for a person: what is wrong and what to do."""

    def __init__(
        self, code: int, message: str, *, name: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.name = code, message, name
        self.headers = headers or {}

    def status(self) -> Json:
        """A metav1.Status, which kubectl prints as it prints the API server's own."""
        body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": REASONS[self.code],
            "code": self.code,
        }
        if self.name:
            body["details"] = {"name": self.name, "group": RESULTS.group, "kind": RESULTS.plural}
        return body


def resources() -> Json:
    """The group's resources. Only subresources: a resource `builds` here would stand beside the one of the CRD."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": RESULTS.api_version,
        "resources": [
            {
                "name": f"{RESULTS.plural}/{subresource}",
                "singularName": "",
                "namespaced": True,
                "kind": kind,
                "verbs": ["get"],
            }
            for subresource, kind in ((LOG, "BuildLog"), (OUTPUT, "BuildOutput"))
        ],
    }


def group() -> Json:
    """The group and its version."""
    version = {"groupVersion": RESULTS.api_version, "version": RESULTS.version}
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": RESULTS.group,
        "versions": [version],
        "preferredVersion": version,
    }


def groups() -> Json:
    """The list with this group alone."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]}
