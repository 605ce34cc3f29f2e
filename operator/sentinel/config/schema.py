"""A JSON Schema of wercker.yml, which editors complete and check with.

It says what is right, and lets pass what we repair: the mis-indented steps of old files, numbers where texts are
meant. What a schema cannot say (`docs/reference/diagnostics.md`) is left to `sentinel check`.
"""

from __future__ import annotations

from typing import Any

from sentinel.config.boxes import AUTH_KEYS
from sentinel.config.knownsteps import INTERNAL
from sentinel.config.standardsteps import STANDARD

Schema = dict[str, Any]

_TEXT = {"type": ["string", "number", "boolean", "null"]}


def wercker_schema() -> Schema:
    """The schema, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "wercker.yml",
        "description": "Pipelines of a project: boxes, services and steps. Any other key is a pipeline.",
        "type": "object",
        "properties": {
            "box": _about("The image that all pipelines run in.", {"$ref": "#/$defs/box"}),
            "services": {"$ref": "#/$defs/services"},
            "command-timeout": _minutes("Longest time of one step, in minutes. Default: 25."),
            "no-response-timeout": _minutes("Longest silence of a step, in minutes. Default: 5."),
            "source-dir": _about("Where the steps begin, below the project's root.", _TEXT),
            "ignore-file": _about("What of the project is not copied into the box.", _TEXT),
            "workflows": _workflows(),
            "build": _about("The pipeline that runs by default.", {"$ref": "#/$defs/pipeline"}),
            "deploy": _about("The deploy pipeline.", {"$ref": "#/$defs/pipeline"}),
        },
        # A root key with a list is there to be an anchor.
        "additionalProperties": {"anyOf": [{"$ref": "#/$defs/pipeline"}, {"type": "array"}]},
        "$defs": {
            "text": _TEXT,
            "box": _box(),
            "services": {
                "description": "Containers beside the box, reached by their name.",
                "type": ["array", "null"],
                "items": {"$ref": "#/$defs/box"},
            },
            "pipeline": _pipeline(),
            "steps": {"type": ["array", "null"], "items": {"$ref": "#/$defs/step"}},
            "step": {"anyOf": [_TEXT, _step()]},
        },
    }


def _about(description: str, schema: Schema) -> Schema:
    return {"description": description, **schema}


def _minutes(description: str) -> Schema:
    return _about(description, {"type": ["number", "null"], "maximum": 60})


def _box() -> Schema:
    texts = {
        "id": "The image, without tag or with.",
        "tag": "The image's tag.",
        "name": "The name by which others reach this service.",
        "cmd": "The service's command; of a box, its shell.",
        "entrypoint": "Instead of the image's.",
        "user": "Who runs in it: uid or uid:gid, instead of the image's user.",
        "volumes": "host:guest pairs.",
        "url": "file://path#pipeline: a project to build this service from.",
    }
    properties: Schema = {key: _about(about, _TEXT) for key, about in texts.items()}
    properties |= {key: _TEXT for key in AUTH_KEYS}
    properties["env"] = _about(
        "Variables of the container.",
        {"type": ["object", "null"], "additionalProperties": _TEXT},
    )
    properties["ports"] = _about("Ports.", {"type": ["array", "null"], "items": _TEXT})
    return {
        "anyOf": [
            _TEXT,
            {
                "type": "object",
                "properties": properties,
                "required": ["id"],
                "additionalProperties": False,
            },
        ]
    }


def _pipeline() -> Schema:
    return {
        "type": "object",
        "properties": {
            "box": _about("Instead of the file's box.", {"$ref": "#/$defs/box"}),
            "services": {"$ref": "#/$defs/services"},
            "steps": _about("What runs, in order.", {"$ref": "#/$defs/steps"}),
            "after-steps": _about(
                "What runs afterwards, whether the steps passed or not.", {"$ref": "#/$defs/steps"}
            ),
            "base-path": _about("Where the project lies in the box.", _TEXT),
            "docker": _about("Whether the pipeline gets a Docker daemon.", {"type": "boolean"}),
        },
        "additionalProperties": _about("A deploy target.", {"$ref": "#/$defs/steps"}),
    }


def _step() -> Schema:
    options: Schema = {
        "name": _about("What the log calls it.", _TEXT),
        "cwd": _about("Where it runs.", _TEXT),
        "checkpoint": _TEXT,
    }
    code = {"code": _about("The script.", _TEXT)}
    # Both forms: the options under the step, or (value null) beside it.
    properties: Schema = {"script": _options({**code, **options})}
    for name, known in INTERNAL.items():
        properties[f"internal/{name}"] = _options({**dict.fromkeys(known, _TEXT), **options})
    for name, known in STANDARD.items():
        properties[name] = _options({**dict.fromkeys(known, _TEXT), **options})
    return {"type": "object", "minProperties": 1, "properties": properties}


def _options(properties: Schema) -> Schema:
    return {"type": ["object", "null"], "properties": properties}


def _workflows() -> Schema:
    stage = {
        "type": "object",
        "properties": {
            "name": _about("Its name in the workflow.", _TEXT),
            "pipelineName": _about("The pipeline that it runs. Default: name.", _TEXT),
            "requires": _about("Which go before.", {"type": "array", "items": _TEXT}),
            "artifactPipeline": _about("Whose output it begins with.", _TEXT),
            "envFile": _TEXT,
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    return {
        "description": "Pipelines that follow each other.",
        "type": ["array", "null"],
        "items": {
            "type": "object",
            "properties": {"name": _TEXT, "pipelines": {"type": "array", "items": stage}},
            "required": ["name", "pipelines"],
            "additionalProperties": False,
        },
    }
