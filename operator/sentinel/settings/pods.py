"""Settings of build pods: what they have where their Build does not say otherwise."""

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
