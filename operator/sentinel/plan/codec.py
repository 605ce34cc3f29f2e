"""The Plan as text for an annotation of its pod, and back: versioned JSON, compressed, base64."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from sentinel.api.reasons import Reason
from sentinel.errors import InternalError, NewerPlan, UserError
from sentinel.plan.model import VERSION, EnvSource, Plan, PlanStep, Variable

ANNOTATION_LIMIT = 200 * 1024
"""Bytes of the text. The API server takes 256 KiB for all annotations of an object."""

_EXPANDED_LIMIT = 16 * 1024 * 1024
_PLAN: TypeAdapter[Plan] = TypeAdapter(Plan)


def encode(plan: Plan) -> str:
    """The plan as text. Raises UserError InvalidSpec where it is larger than an annotation may be."""
    # Defaults are written too: an operator with other defaults must not change a build that is running.
    raw = _PLAN.dump_json(plan)
    document = json.dumps({"version": plan.version, "plan": json.loads(raw)}, separators=(",", ":"))
    text = base64.b64encode(zlib.compress(document.encode(), 9)).decode("ascii")
    if len(text) > ANNOTATION_LIMIT or len(raw) > _EXPANDED_LIMIT // 2:
        largest = _largest(plan.steps, plan.variables)
        raise UserError(
            f"the pipeline's steps and the Build's literal variables take {len(text)} bytes compressed, more than "
            f"{ANNOTATION_LIMIT}; the largest is {largest}. Move long scripts and values into files of the project",
            reason=Reason.INVALID_SPEC,
        )
    return text


def _largest(steps: Sequence[PlanStep], variables: Sequence[Variable | EnvSource]) -> str:
    """What takes most of the plan, for people: a step or a variable, with its size."""
    sizes = {
        f"step {step.ordinal} ({step.display_name[:100]})": len(step.code)
        + sum(len(name) + len(text) for name, text in step.exports)
        for step in steps
    }
    sizes |= {
        f"variable {each.name}": len(each.value) for each in variables if isinstance(each, Variable)
    }
    name, size = max(sizes.items(), key=lambda pair: pair[1], default=("the box's image", 0))
    return f"{name}, {size} characters"


def decode(text: str) -> Plan:
    """The plan in `text`. Raises NewerPlan for a later version, InternalError for what is no plan."""
    try:
        inflate = zlib.decompressobj()
        raw = inflate.decompress(base64.b64decode(text, validate=True), _EXPANDED_LIMIT)
        if not inflate.eof:
            raise InternalError(
                "the plan in the pod's annotation is cut off, or expands without end"
            )
        document = json.loads(raw)
        version = int(document["version"])
        if version > VERSION:
            raise NewerPlan(
                f"not followed: the pod's plan has version {version}, this operator reads up to {VERSION}. "
                "The pod is left alone and runs on; upgrade the operator"
            )
        return _PLAN.validate_python(_tupled(document["plan"]))
    except (
        binascii.Error,
        zlib.error,
        UnicodeDecodeError,
        RecursionError,
        ValueError,
        KeyError,
        TypeError,
        ValidationError,
    ) as error:
        raise InternalError(f"the pod's annotation holds no plan: {error}") from error


def _tupled(value: object) -> object:
    """JSON's lists as the tuples that the Plan has."""
    if isinstance(value, list):
        return tuple(_tupled(each) for each in value)
    if isinstance(value, dict):
        return {key: _tupled(each) for key, each in value.items()}
    return value
