"""The resources we speak of, and where they live on the API server.

Not here: their fields. Bodies are plain dicts; `api/` and `plan/` know what is in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Resource:
    """One kind of object, as it stands in a URL. `group` is "" for the core group."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`v1`, `coordination.k8s.io/v1`: the apiVersion of a body."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, *, namespace: str | None = None, name: str | None = None, subresource: str = ""
    ) -> str:
        """The path of a collection (no `name`) or an object, each part percent-encoded.

        Without `namespace` a collection is that of the whole cluster. Raises ValueError where a namespace is needed
        and missing: the request would otherwise reach an object of another kind.
        """
        if self.namespaced and name is not None and not namespace:
            raise ValueError(f"{self.plural} {name!r}: a namespace is needed")
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            if not name:
                raise ValueError(f"{self.plural}: an empty name")
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(quote(part, safe="") for part in parts)


PODS = Resource("", "v1", "pods")
SECRETS = Resource("", "v1", "secrets")
CONFIG_MAPS = Resource("", "v1", "configmaps")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
NODES = Resource("", "v1", "nodes", namespaced=False)
EVENTS = Resource("events.k8s.io", "v1", "events")
CORE_EVENTS = Resource("", "v1", "events")
"""The same events under the old group, whose field selectors (`involvedObject.uid`) are the useful ones."""
DAEMON_SETS = Resource("apps", "v1", "daemonsets")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings")
BUILDS = Resource("sentinel.wercker.com", "v1alpha1", "builds")
IMAGE_COMMITS = Resource("sentinel.wercker.com", "v1alpha1", "imagecommits")
WORKFLOW_RUNS = Resource("sentinel.wercker.com", "v1alpha1", "workflowruns")
RESULTS = Resource("results.sentinel.wercker.com", "v1alpha1", "builds")
"""Logs and output of Builds, as subresources; served by `sentinel results` behind the API server."""
SUBJECT_ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", namespaced=False
)
POD_METRICS = Resource("metrics.k8s.io", "v1beta1", "pods")
API_SERVICES = Resource("apiregistration.k8s.io", "v1", "apiservices", namespaced=False)
