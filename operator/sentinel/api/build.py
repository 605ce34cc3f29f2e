"""The Build resource: one run of one pipeline of a project's wercker.yml.

Descriptions here are what `kubectl explain build` prints. Rules that the server can hold stand beside the field as
patterns and limits, or as CEL in `crd.py`; what needs to look outside (images, Secrets) is checked by the engine.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from sentinel.api.cache import Cache, CacheStatus
from sentinel.api.conditions import Condition, Phase
from sentinel.api.model import (
    Duration,
    KeyRef,
    LocalRef,
    Model,
    Resource,
    findings,
    is_deeper,
)
from sentinel.api.podshape import AFFINITY, RESOURCES, SECURITY_CONTEXT, TOLERATION
from sentinel.api.reasons import Reason
from sentinel.api.source import Input, Source
from sentinel.api.timeouts import Retries, Timeouts
from sentinel.api.usage import UsageStatus
from sentinel.errors import UserError

Text = Annotated[str, Field(max_length=1024)]
Variable = Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


CommitWhen: TypeAlias = Literal["never", "end", "onFailure", "eachStep"]
"""When a box becomes an image."""


class Application(Model):
    """The project as wercker names it; sets WERCKER_APPLICATION_*."""

    id: Annotated[Text, Field(description="Id; default: the name.")] = ""
    name: Annotated[
        Text, Field(description="Name; default: the repository's, or the archive's file name.")
    ] = ""
    owner: Annotated[Text, Field(description="Owner's name; default: the repository's owner.")] = ""
    url: Annotated[Text, Field(description="A page about it.")] = ""


class ValueFrom(Model):
    """Where a variable's value comes from."""

    secret_key_ref: Annotated[KeyRef | None, Field(description="A key of a Secret.")] = None
    config_map_key_ref: Annotated[KeyRef | None, Field(description="A key of a ConfigMap.")] = None


class EnvVar(Model):
    """One variable of the build."""

    name: Annotated[Variable, Field(description="Name; letters, digits and underscores.")]
    value: Annotated[
        str,
        Field(
            max_length=131072,
            description="Literal value. $(NAME) is replaced by an earlier variable, $$( escapes it; "
            "a plain $ is never expanded.",
        ),
    ] = ""
    value_from: Annotated[
        ValueFrom | None,
        Field(description="Take the value from a Secret (then it is masked in logs) or ConfigMap."),
    ] = None


class EnvFrom(Model):
    """All keys of one Secret or ConfigMap as variables."""

    prefix: Annotated[str, Field(max_length=128, description="Put before each key.")] = ""
    secret_ref: Annotated[LocalRef | None, Field(description="A Secret; values are masked.")] = None
    config_map_ref: Annotated[LocalRef | None, Field(description="A ConfigMap.")] = None


class Image(Model):
    """What becomes of the box when the build is done."""

    repository: Annotated[
        str,
        Field(
            max_length=1024,
            description="Where to push, without a tag. Default: the operator's prefix/namespace/application.",
        ),
    ] = ""
    commit: Annotated[
        CommitWhen,
        Field(
            description="never: no image. end: the box after the last main step that ran. onFailure: the same, "
            "of builds that failed only. eachStep: the box after every main step, tagged `<build uid>-step<number>`; "
            "each image has one layer more, of what that step changed, and keeps what a later step deletes."
        ),
    ] = "end"
    push_secret_ref: Annotated[
        LocalRef | None, Field(description="A kubernetes.io/dockerconfigjson Secret to push with.")
    ] = None
    pull_secret_refs: Annotated[
        list[LocalRef],
        Field(max_length=16, description="dockerconfigjson Secrets to pull box and services with."),
    ] = []
    exclude_paths: Annotated[
        list[Annotated[str, Field(max_length=1024)]],
        Field(max_length=64, description="Absolute paths that do not go into the image."),
    ] = []


class PodModel(Model):
    """A part of `spec.pod`: unknown fields are kept, so that a misspelt one can be refused by name."""

    model_config = ConfigDict(extra="allow")


class PodContainer(PodModel):
    """What may be said about one container of the pod."""

    resources: Annotated[dict[str, Any], WithJsonSchema(RESOURCES)] = {}
    security_context: Annotated[dict[str, Any], WithJsonSchema(SECURITY_CONTEXT)] = {}


class PodSettings(PodModel):
    """About the build's pod. What besides resources and placement is allowed is the operator's to set."""

    service_account_name: Annotated[
        str,
        Field(
            max_length=253,
            description="Service account of the pod, if `pods.serviceAccounts` allows it.",
        ),
    ] = ""
    automount_service_account_token: Annotated[
        bool, Field(description="Mount the account's token into the box.")
    ] = False
    node_selector: Annotated[
        dict[str, str],
        Field(description="Labels the node must have.", json_schema_extra={"maxProperties": 64}),
    ] = {}
    tolerations: Annotated[
        list[Annotated[dict[str, Any], WithJsonSchema(TOLERATION)]],
        Field(max_length=64, description="As in a pod, for taints that `pods.tolerations` allows."),
    ] = []
    affinity: Annotated[dict[str, Any], WithJsonSchema(AFFINITY)] = {}
    priority_class_name: Annotated[
        str, Field(max_length=253, description="As in a pod, if `pods.priorityClasses` allows it.")
    ] = ""
    runtime_class_name: Annotated[
        str, Field(max_length=253, description="As in a pod, if `pods.runtimeClasses` allows it.")
    ] = ""
    image_pull_secrets: Annotated[
        list[LocalRef], Field(max_length=16, description="Besides spec.image.pullSecretRefs.")
    ] = []
    labels: Annotated[
        dict[str, str],
        Field(
            description="More labels for the pod, as far as `pods.labelPrefixes` allows.",
            json_schema_extra={"maxProperties": 64},
        ),
    ] = {}
    annotations: Annotated[
        dict[str, str],
        Field(
            description="More annotations for the pod, as far as `pods.annotationPrefixes` allows.",
            json_schema_extra={"maxProperties": 64},
        ),
    ] = {}
    box: Annotated[PodContainer, Field(description="The box container.")] = PodContainer()
    services: Annotated[
        dict[str, PodContainer],
        Field(description="Service containers by alias.", json_schema_extra={"maxProperties": 32}),
    ] = {}


class BuildSpec(Model):
    """What to build. Immutable but for `cancel` and `ttlAfterFinished`."""

    pipeline: Annotated[
        str, Field(min_length=1, max_length=128, description="The pipeline of wercker.yml to run.")
    ] = "build"
    source: Annotated[
        Source,
        Field(
            description="Where the project comes from. It may be left out with `parent`: then it is the parent's "
            "output, or the parent's own source where there is no output."
        ),
    ] = Source()
    parent: Annotated[
        LocalRef | None,
        Field(
            description="A Build of this namespace that this one goes on from, once it has succeeded: its image is the "
            "default box, its output the default source."
        ),
    ] = None
    inputs: Annotated[
        list[Input],
        Field(
            max_length=32,
            description="With `parent` and without `source`: outputs of several Builds, each in a directory of its "
            "own, instead of the parent's.",
        ),
    ] = []
    config: Annotated[
        str,
        Field(max_length=262144, description="Text of a wercker.yml, instead of the source's own."),
    ] = ""
    deploy_target: Annotated[
        str, Field(max_length=128, description="A target section of the pipeline.")
    ] = ""
    application: Annotated[Application, Field(description="The project's name and owner.")] = (
        Application()
    )
    started_by: Annotated[Text, Field(description="Sets WERCKER_STARTED_BY.")] = ""
    env: Annotated[
        list[EnvVar], Field(max_length=512, description="Variables of the build, in order.")
    ] = []
    env_from: Annotated[
        list[EnvFrom],
        Field(max_length=64, description="Secrets and ConfigMaps whose keys become variables."),
    ] = []
    image: Annotated[Image, Field(description="What becomes of the box.")] = Image()
    cache: Annotated[Cache, Field(description="What is kept for the next build.")] = Cache()
    timeouts: Annotated[Timeouts, Field(description="How long things may take.")] = Timeouts()
    retries: Annotated[Retries, Field(description="When the cluster fails.")] = Retries()
    ttl_after_finished: Annotated[
        Duration, Field(description="How long a finished Build is kept. 0s: until deleted.")
    ] = "168h"
    cancel: Annotated[bool, Field(description="Set it to true to stop the build.")] = False
    pod: Annotated[PodSettings, Field(description="About the build's pod.")] = PodSettings()


class StepImage(Model):
    """The image of the box as a step left it, or why there is none. The build does not fail for that."""

    digest: Annotated[
        str, Field(description="Digest of the image in the repository of status.image.")
    ] = ""
    layer_bytes: Annotated[
        int | None,
        Field(
            description="Size of the layer that was added, in bytes.",
            json_schema_extra={"format": "int64"},
        ),
    ] = None
    reason: Annotated[
        str, Field(description="Why the image is missing, as one word of a fixed list.")
    ] = ""
    message: Annotated[
        str, Field(max_length=256, description="Why the image is missing, as a readable message.")
    ] = ""


class StepStatus(Model):
    """How one step stands."""

    id: Annotated[str, Field(description="Its safe id: name and a number unique in the build.")]
    name: Annotated[str, Field(description="The step's name.")]
    version: Annotated[str, Field(description="The version that a registry had.")] = ""
    digest: Annotated[str, Field(description="sha256 of its archive, in hexadecimal digits.")] = ""
    display_name: Annotated[str, Field(description="Name in logs.")] = ""
    phase: Annotated[Literal["main", "after"], Field(description="Main or after-step.")] = "main"
    state: Annotated[
        Literal["Pending", "Running", "Passed", "Failed", "Skipped"],
        Field(description="State."),
    ] = "Pending"
    exit_code: Annotated[int | None, Field(description="Exit code of a step that ended.")] = None
    reason: Annotated[str, Field(description="Reason, one word of a fixed list.")] = ""
    message: Annotated[str, Field(max_length=1024, description="What it reported.")] = ""
    start_time: Annotated[str, Field(description="When it started.")] = ""
    completion_time: Annotated[str, Field(description="When it ended.")] = ""
    image: Annotated[
        StepImage | None,
        Field(description="The box after it, with spec.image.commit eachStep or onFailure."),
    ] = None


class SourceStatus(Model):
    """What was fetched."""

    url: Annotated[
        str,
        Field(
            description="The git repository: spec.source's, or the parent's where that is left out."
        ),
    ] = ""
    commit: Annotated[str, Field(description="The commit.")] = ""
    short_commit: Annotated[
        str, Field(description="Its first seven characters, for `kubectl get`.")
    ] = ""
    branch: Annotated[str, Field(description="Its branch, if ref named one.")] = ""
    tag: Annotated[str, Field(description="Its tag, if ref named one.")] = ""
    subject: Annotated[str, Field(max_length=256, description="First line of its message.")] = ""
    digest: Annotated[
        str, Field(description="The archive's digest, as sha256:…; then there is no commit.")
    ] = ""

    @model_validator(mode="before")
    @classmethod
    def _shorten(cls, said: Any) -> Any:
        """`shortCommit` follows `commit`, and need not be set."""
        if isinstance(said, dict) and said.get("commit"):
            return {"shortCommit": str(said["commit"])[:7], **said}
        return said


class BoxStatus(Model):
    """The box's image."""

    image: Annotated[str, Field(description="As wercker.yml names it.")] = ""
    digest: Annotated[str, Field(description="What that was when the build began.")] = ""


class PodStatus(Model):
    """The pod of the present attempt."""

    name: Annotated[str, Field(description="Its name.")] = ""
    uid: Annotated[str, Field(description="Its uid.")] = ""
    node: Annotated[str, Field(description="Where it runs.")] = ""
    attempt: Annotated[int, Field(description="1, and one more for each pod that was lost.")] = 0


class ImageStatus(Model):
    """The image that was pushed."""

    repository: Annotated[str, Field(description="Where it was pushed.")] = ""
    digest: Annotated[str, Field(description="Its manifest's digest.")] = ""
    tags: Annotated[list[str], Field(description="The tags that point to it.")] = []


class OutputStatus(Model):
    """The build's output as stored."""

    size_bytes: Annotated[
        int,
        Field(description="Size of the archive in bytes.", json_schema_extra={"format": "int64"}),
    ] = 0
    sha256: Annotated[str, Field(description="Its sha256.")] = ""


class Results(Model):
    """Where logs and output lie in the object store."""

    prefix: Annotated[str, Field(description="All keys of this attempt begin with it.")] = ""
    output: Annotated[OutputStatus | None, Field(description="output.tar below prefix.")] = None


class DiagnosticStatus(Model):
    """One finding in wercker.yml."""

    code: Annotated[str, Field(description="Stable code.")]
    severity: Annotated[Literal["error", "warning"], Field(description="How bad.")]
    line: Annotated[int, Field(description="Line, from 1; 0 for none.")] = 0
    column: Annotated[int, Field(description="Column, from 1; 0 for none.")] = 0
    message: Annotated[str, Field(max_length=256, description="What is wrong.")] = ""
    hint: Annotated[str, Field(max_length=256, description="How to correct it.")] = ""


class BuildStatus(Model):
    """How the build stands."""

    observed_generation: Annotated[int, Field(description="The generation last looked at.")] = 0
    phase: Annotated[Phase | None, Field(description="One word, from the conditions.")] = None
    conditions: Annotated[
        list[Condition],
        Field(
            description="Accepted, PodReady, Succeeded, Finished.",
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = []
    progress: Annotated[str, Field(description="Steps done / all.")] = ""
    current_step: Annotated[str, Field(description="The step that runs.")] = ""
    start_time: Annotated[str, Field(description="When work on it began.")] = ""
    completion_time: Annotated[str, Field(description="When it ended.")] = ""
    crashes: Annotated[
        int | None,
        Field(
            description="How often the operator failed, or was killed, while it worked on this Build. The fifth time "
            "ends it.",
        ),
    ] = None
    source: Annotated[SourceStatus | None, Field(description="What was fetched.")] = None
    generated_config: Annotated[
        str,
        Field(
            max_length=4096,
            description="The wercker.yml that was made for a project without one.",
        ),
    ] = ""
    box: Annotated[BoxStatus | None, Field(description="The box's image.")] = None
    pod: Annotated[PodStatus | None, Field(description="The pod of the present attempt.")] = None
    steps: Annotated[list[StepStatus], Field(description="Every step, in order.")] = []
    image: Annotated[ImageStatus | None, Field(description="The image that was pushed.")] = None
    results: Annotated[Results | None, Field(description="Where logs and output lie.")] = None
    cache: Annotated[CacheStatus | None, Field(description="What became of the cache.")] = None
    usage: Annotated[UsageStatus | None, Field(description="What the build took.")] = None
    diagnostics: Annotated[
        list[DiagnosticStatus], Field(max_length=10, description="Findings in wercker.yml.")
    ] = []


DEEPEST = 32
"""Levels of a spec: the deepest field, an affinity's match expression, has 10."""


class Build(Resource):
    """A Build as read from the API server."""

    spec: BuildSpec
    status: BuildStatus = BuildStatus()

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Build:
        """The Build in `raw`, or UserError InvalidSpec that names every wrong field."""
        if is_deeper(raw.get("spec"), DEEPEST):
            raise UserError(
                f"the Build's spec is nested more than {DEEPEST} levels deep, which no field of it is",
                reason=Reason.INVALID_SPEC,
            )
        try:
            return cls.model_validate(raw)
        except ValidationError as e:
            raise UserError(
                f"the Build's spec is not valid: {findings(e)}", reason=Reason.INVALID_SPEC
            ) from e
