"""CustomResourceDefinitions from the models: `python -m sentinel.api.crd [DIR]` writes them.

pydantic's JSON schema is not what an API server takes. `structural` turns the one into the other, and raises for
whatever has no structural form instead of letting it through weakened. Rules across fields are CEL, so that no
webhook is needed; they are repeated nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sentinel.api import GROUP, VERSION
from sentinel.api.build import BuildSpec, BuildStatus
from sentinel.api.imagecommit import ImageCommitSpec, ImageCommitStatus
from sentinel.api.model import Model
from sentinel.api.workflowrun import WorkflowRunSpec, WorkflowRunStatus

Schema = dict[str, Any]

MUTABLE = ("cancel", "ttlAfterFinished")
"""The fields of a Build's spec that may change."""

RUN_MUTABLE = ("cancel", "retry", "ttlAfterFinished")
"""Those of a WorkflowRun's spec."""

_DROPPED = frozenset({"title", "examples", "deprecated", "default", "$defs"})
_KEPT = frozenset(
    {
        "type",
        "description",
        "properties",
        "required",
        "items",
        "enum",
        "format",
        "pattern",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
    }
)


def structural(schema: Schema) -> Schema:
    """An OpenAPI v3 structural schema for pydantic's `schema`.

    References are inlined; optional is not nullable; defaults go into the description and not into the stored
    object. Raises ValueError, naming the place, for what has no structural form: recursion, unions, tuples, sets.
    """
    return _node(schema, schema.get("$defs", {}), "$", ())


def _node(node: Schema, defs: Mapping[str, Schema], path: str, above: tuple[str, ...]) -> Schema:
    if "$ref" in node:
        name = str(node["$ref"]).removeprefix("#/$defs/")
        if name in above:
            raise ValueError(f"{path}: {name} contains itself, which a CRD cannot say")
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _node({**defs[name], **rest}, defs, path, (*above, name))
    if "anyOf" in node or "oneOf" in node:
        return _node(_without_null(node, path), defs, path, above)
    result: Schema = {}
    for key, value in node.items():
        match key:
            case "properties":
                result[key] = {
                    name: _node(each, defs, f"{path}.{name}", above) for name, each in value.items()
                }
            case "items":
                result[key] = _node(value, defs, f"{path}[]", above)
            case "additionalProperties":
                result |= _additional(value, node, defs, path, above)
            case "const":
                result["enum"] = [value]
            case _ if key in _KEPT or key.startswith("x-kubernetes-"):
                result[key] = value
            case _ if key not in _DROPPED:
                raise ValueError(f"{path}: {key} has no structural form")
    if "type" not in result and "x-kubernetes-preserve-unknown-fields" not in result:
        if "enum" not in result:
            raise ValueError(f"{path}: anything at all has no structural form")
        result["type"] = "string"
    _say_default(result, node)
    return result


def _without_null(node: Schema, path: str) -> Schema:
    """`T | None` as T: an absent field and null are the same to us, and the server drops nulls."""
    union: list[Schema] = node.get("anyOf") or node.get("oneOf") or []
    options = [each for each in union if each != {"type": "null"}]
    rest = {key: value for key, value in node.items() if key not in ("anyOf", "oneOf")}
    if len(options) != 1:
        raise ValueError(f"{path}: a union of several types has no structural form")
    return {**options[0], **rest}


def _additional(
    value: Any, node: Schema, defs: Mapping[str, Schema], path: str, above: tuple[str, ...]
) -> Schema:
    if "properties" in node:
        if value is True:
            return {"x-kubernetes-preserve-unknown-fields": True}
        if value is not False:
            raise ValueError(f"{path}: properties and additionalProperties exclude each other")
        return {}
    if value is True:
        return {"x-kubernetes-preserve-unknown-fields": True}
    return {"additionalProperties": _node(value, defs, f"{path}{{}}", above)}


def _say_default(result: Schema, node: Schema) -> None:
    default = node.get("default")
    text = str(result.get("description", ""))
    if isinstance(default, (dict, list)) or default in (None, "") or "efault" in text:
        return
    shown = str(default).lower() if isinstance(default, bool) else default
    result["description"] = f"{text} Default: {shown}.".strip()


def crds() -> dict[str, Schema]:
    """The definitions, by file name."""
    return {
        "builds.yaml": _build(),
        "imagecommits.yaml": _imagecommit(),
        "workflowruns.yaml": _workflowrun(),
    }


def _build() -> Schema:
    spec = _schema(BuildSpec)
    frozen = [name for name in spec["properties"] if name not in MUTABLE]
    spec["x-kubernetes-validations"] = [_frozen(name, "Build", MUTABLE) for name in frozen]
    spec["x-kubernetes-validations"] += [
        _rule(
            "has(self.source) || has(self.parent)",
            "a Build needs a source: set source.git or source.archive, or parent to go on from another Build",
        ),
        _rule(
            "!has(self.source) || !has(self.source.upload) || (has(self.config) && self.config != '')",
            "source.upload needs config: wercker.yml is read before the directory arrives; "
            "`sentinel run --cluster` sets both",
        ),
        _rule(
            "!has(self.inputs) || (has(self.parent) && !has(self.source))",
            "inputs are the source of a Build with a parent: set parent, and leave out source",
        ),
    ]
    fields = spec["properties"]
    _shared_rules(fields)
    fields["source"]["x-kubernetes-validations"] = [
        _rule(
            "[has(self.git), has(self.archive), has(self.upload)].filter(each, each).size() == 1",
            "source must say where the project comes from: set exactly one of source.git, source.archive and "
            "source.upload",
        )
    ]
    return _definition(
        kind="Build",
        plural="builds",
        short="bld",
        description="One run of one pipeline of a project's wercker.yml.",
        spec=spec,
        status=_schema(BuildStatus),
        columns=[
            _column("Phase", ".status.phase"),
            _column("Progress", ".status.progress"),
            _column("Step", ".status.currentStep"),
            _column("Commit", ".status.source.shortCommit"),
            _column("Started", ".status.startTime", type_="date"),
            _column("Finished", ".status.completionTime", type_="date"),
            _column("Reason", '.status.conditions[?(@.type=="Succeeded")].reason', priority=1),
            _column("Image", ".status.image.digest", priority=1),
        ],
    )


def _shared_rules(fields: Schema) -> None:
    """The rules of what Builds and WorkflowRuns have in common."""
    variable = fields["env"]["items"]
    variable["x-kubernetes-validations"] = [
        _rule(
            "!(has(self.value) && has(self.valueFrom))",
            "a variable has value or valueFrom, not both",
        )
    ]
    value_from = variable["properties"]["valueFrom"]
    value_from["x-kubernetes-validations"] = [_exactly_one("secretKeyRef", "configMapKeyRef")]
    env_from = fields["envFrom"]["items"]
    env_from["x-kubernetes-validations"] = [_exactly_one("secretRef", "configMapRef")]


def _workflowrun() -> Schema:
    spec = _schema(WorkflowRunSpec)
    frozen = [name for name in spec["properties"] if name not in RUN_MUTABLE]
    spec["x-kubernetes-validations"] = [
        *(_frozen(name, "WorkflowRun", RUN_MUTABLE) for name in frozen),
        _rule(
            "!has(oldSelf.retry) || (has(self.retry) && self.retry >= oldSelf.retry)",
            "retry can only grow",
        ),
    ]
    fields = spec["properties"]
    _shared_rules(fields)
    # A directory is sent to one pod, and a run has the pods of many Builds.
    del fields["source"]["properties"]["upload"]
    fields["source"]["x-kubernetes-validations"] = [
        _rule(
            "has(self.git) != has(self.archive)",
            "source must say where the project comes from: set exactly one of source.git and source.archive",
        )
    ]
    return _definition(
        kind="WorkflowRun",
        plural="workflowruns",
        short="wfr",
        description="One run of a workflow of a project's wercker.yml.",
        spec=spec,
        status=_schema(WorkflowRunStatus),
        columns=[
            _column("Workflow", ".status.workflow"),
            _column("Phase", ".status.phase"),
            _column("Progress", ".status.progress"),
            _column("Commit", ".status.source.shortCommit"),
            _column("Started", ".status.startTime", type_="date"),
            _column("Finished", ".status.completionTime", type_="date"),
            _column("Reason", '.status.conditions[?(@.type=="Succeeded")].reason', priority=1),
        ],
    )


def _imagecommit() -> Schema:
    spec = _schema(ImageCommitSpec)
    spec["x-kubernetes-validations"] = [
        _rule("self == oldSelf", "an ImageCommit cannot be changed: only the operator makes one")
    ]
    return _definition(
        kind="ImageCommit",
        plural="imagecommits",
        short="imgc",
        description="A build's box to be committed and pushed. Made by the operator; read it, do not write it.",
        spec=spec,
        status=_schema(ImageCommitStatus),
        columns=[
            _column("Phase", ".status.phase"),
            _column("Node", ".spec.nodeName"),
            _column("Repository", ".spec.repository"),
            _column("Age", ".metadata.creationTimestamp", type_="date"),
            _column("Reason", ".status.reason", priority=1),
            _column("Digest", ".status.digest", priority=1),
        ],
    )


def _schema(model: type[Model]) -> Schema:
    return structural(model.model_json_schema(by_alias=True))


def _definition(
    *,
    kind: str,
    plural: str,
    short: str,
    description: str,
    spec: Schema,
    status: Schema,
    columns: list[Schema],
) -> Schema:
    root: Schema = {
        "type": "object",
        "description": description,
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
            "kind": {"type": "string", "description": kind},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        "required": ["spec"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["ci", "wercker"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


def _rule(rule: str, message: str) -> Schema:
    return {"rule": rule, "message": message}


def _frozen(name: str, kind: str, mutable: Sequence[str]) -> Schema:
    """A rule of its own for each field: the server's answer then says which one was touched."""
    return _rule(
        f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})",
        f"{name} cannot be changed once the {kind} exists: make a new {kind} "
        f"(only {' and '.join(mutable)} may change)",
    )


def _exactly_one(first: str, second: str) -> Schema:
    return _rule(
        f"has(self.{first}) != has(self.{second})", f"set exactly one of {first} and {second}"
    )


def _column(name: str, path: str, *, type_: str = "string", priority: int = 0) -> Schema:
    column: Schema = {"name": name, "type": type_, "jsonPath": path}
    return column | ({"priority": priority} if priority else {})


def render(crd: Schema) -> str:
    """The definition as the text of its file."""
    head = "# Generated from operator/sentinel/api by `python -m sentinel.api.crd`; do not edit.\n"
    return head + yaml.dump(crd, Dumper=_Plain, sort_keys=False, width=100, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Writes what stands twice twice: anchors are no help to who reads a definition."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def main(arguments: list[str]) -> int:
    """Write the definitions to the folder named on the command line, or to `crds`."""
    folder = Path(arguments[0] if arguments else "crds")
    folder.mkdir(parents=True, exist_ok=True)
    for name, crd in crds().items():
        (folder / name).write_text(render(crd), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
