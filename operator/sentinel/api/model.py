"""What the models of all resources share: the base class, names, durations and references to Secrets."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
"""Go's durations, as in `90s`, `25m`, `1h30m`; RE2, anchored."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

Duration = Annotated[str, Field(pattern=DURATION_PATTERN, max_length=32)]


def seconds(duration: str) -> float:
    """A Go duration in seconds. Raises ValueError for anything that `DURATION_PATTERN` refuses."""
    if not re.fullmatch(DURATION_PATTERN, duration):
        msg = f"{duration!r} is not a duration: write it like 90s, 25m or 1h30m"
        raise ValueError(msg)
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", duration)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


QUANTITY_PATTERN = r"^([1-9][0-9]{0,14}(k|M|G|T|Ki|Mi|Gi|Ti)?)?$"
"""Kubernetes' quantities of bytes, as in `500Mi` and `2Gi`; empty for none."""

_BYTES = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_BYTES |= {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4}

Quantity = Annotated[str, Field(pattern=QUANTITY_PATTERN, max_length=20)]


def quantity(text: str) -> int:
    """A quantity in bytes. Raises ValueError for anything that `QUANTITY_PATTERN` refuses, and for an empty one."""
    found = re.fullmatch(r"([1-9][0-9]{0,14})([A-Za-z]{0,2})", text)
    if found is None or found[2] not in _BYTES:
        raise ValueError(f"{text!r} is no quantity: write it like 500Mi or 2Gi")
    return int(found[1]) * _BYTES[found[2]]


def is_deeper(value: object, levels: int) -> bool:
    """Whether lists and maps are nested more than `levels` deep in `value`. Takes no stack, however deep it is."""
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return any(isinstance(each, dict | list) for each in level)


def findings(error: ValidationError) -> str:
    """Every wrong field with what is wrong with it, without the values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False)
    )


class Model(BaseModel):
    """A part of a resource: camelCase on the wire, frozen here, unknown fields ignored as the server prunes them."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore"
    )


class Resource(Model):
    """An object as read from the API server. Metadata stays a dict: the server owns its shape."""

    metadata: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def namespace(self) -> str:
        return str(self.metadata["namespace"])

    @property
    def uid(self) -> str:
        return str(self.metadata["uid"])


class LocalRef(Model):
    """A reference to an object by name, in the Build's own namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="Its name.")]


class KeyRef(Model):
    """One key of a Secret or ConfigMap in the Build's namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="The object's name.")]
    key: Annotated[str, Field(min_length=1, max_length=253, description="The key in its data.")]
    optional: Annotated[
        bool, Field(description="Leave the variable out when the object or key is missing.")
    ] = False
