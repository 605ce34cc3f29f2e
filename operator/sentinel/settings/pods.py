"""Settings of build pods: what Builds may ask for, and what they have where their Build does not say otherwise."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class PodDefaults(BaseModel):
    """Fields as in a pod. The Build's own come first; labels, annotations and node selectors are merged key by key."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    labels: Annotated[dict[str, str], Field(description="Labels of build pods.")] = {}
    annotations: Annotated[
        dict[str, str],
        Field(
            description="Annotations of build pods, e.g. `sidecar.istio.io/inject: 'false'` or "
            "`karpenter.sh/do-not-disrupt: 'true'`."
        ),
    ] = {}
    node_selector: Annotated[
        dict[str, str], Field(description="Labels of the nodes that builds run on.")
    ] = {}
    tolerations: Annotated[
        list[dict[str, Any]],
        Field(description="Tolerations of all build pods, besides those of their Builds."),
    ] = []
    affinity: Annotated[
        dict[str, Any], Field(description="Affinity, for Builds without an own one.")
    ] = {}
    priority_class_name: Annotated[
        str, Field(description="Priority class, for Builds without one.")
    ] = ""
    runtime_class_name: Annotated[
        str, Field(description="Runtime class, for Builds without one.")
    ] = ""
    box_resources: Annotated[
        dict[str, dict[str, str]],
        Field(description="Requests and limits of a box, for Builds that state none."),
    ] = {"requests": {"cpu": "100m", "memory": "128Mi"}}
    service_resources: Annotated[
        dict[str, dict[str, str]],
        Field(description="Requests and limits of a service, for Builds that state none."),
    ] = {"requests": {"cpu": "50m", "memory": "64Mi"}}


class PodPolicy(BaseModel):
    """What Builds may ask for their pods in `spec.pod`, besides resources, node selectors, affinity, pull Secrets and a
    security context that takes rights away. All lists are empty by default, which allows nothing; `*` in a pattern
    matches any text.
    """

    service_accounts: Annotated[
        list[str],
        Field(
            description="Patterns of service accounts; the token is mounted only of one of these."
        ),
    ] = []
    priority_classes: Annotated[list[str], Field(description="Patterns of priority classes.")] = []
    runtime_classes: Annotated[list[str], Field(description="Patterns of runtime classes.")] = []
    tolerations: Annotated[
        list[str],
        Field(
            description="Patterns of the keys of taints that builds may tolerate; `*` allows all."
        ),
    ] = []
    label_prefixes: Annotated[
        list[str], Field(description="What keys of additional labels may begin with.")
    ] = []
    annotation_prefixes: Annotated[
        list[str],
        Field(
            description="What keys of additional annotations may begin with. Annotations configure admission, meshes "
            "and runtimes: allow no prefix that something in the cluster reads."
        ),
    ] = []
    defaults: Annotated[
        PodDefaults, Field(description="What build pods have where their Build does not say.")
    ] = PodDefaults()
