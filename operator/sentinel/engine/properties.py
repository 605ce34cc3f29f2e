"""The properties of an internal step, read in the box's environment at that moment (wercker.md "Internal steps"). Pure.

Not here: which properties a step has, and what they mean for it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.plan.interpolate import interpolate

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Properties:
    """A step's properties. `env` is what replaces `$NAME`. All methods raise UserError ConfigInvalid."""

    def __init__(self, properties: Mapping[str, str], env: Mapping[str, str]) -> None:
        self._properties, self._env = properties, env

    def raw(self, name: str) -> str:
        """The property as it stands in the file."""
        return self._properties.get(name, "")

    def text(self, name: str) -> str:
        """The property with its variables replaced, trimmed."""
        return interpolate(self.raw(name), public=self._env, where=name).strip()

    def items(self, name: str) -> list[str]:
        """Split at spaces and commas, after its variables were replaced."""
        return [each for each in re.split(r"[\s,]+", self.text(name)) if each]

    def words(self, name: str) -> list[str]:
        """Split as a shell does, its variables left alone: the image's own environment replaces them."""
        try:
            return shlex.split(self.raw(name))
        except ValueError as error:
            raise wrong(f"{name} cannot be split into words: {error}") from error

    def flag(self, name: str) -> bool:
        """Whether it is true. What is no boolean is false."""
        return self.text(name).lower() in ("1", "t", "true")

    def assignments(self, name: str) -> list[str]:
        """Words `NAME=value`, split as a shell does, then their variables replaced."""
        found: list[str] = []
        for word in self.words(name):
            text = interpolate(word, public=self._env, where=name)
            variable, equals, _ = text.partition("=")
            if not equals or not _NAME.fullmatch(variable):
                raise wrong(f"{name}: {text[:80]!r} is not NAME=value")
            found.append(text)
        return found

    def labels(self) -> dict[str, str]:
        """`labels`: words `key=value`, split as a shell does, then their variables replaced."""
        labels: dict[str, str] = {}
        for word in self.words("labels"):
            if word.count("=") != 1 or word.startswith("="):
                raise wrong(f"labels: {word[:80]!r} is not key=value")
            key, value = (
                interpolate(part, public=self._env, where="labels") for part in word.split("=")
            )
            labels[key] = value
        return labels


def wants_sync(properties: Mapping[str, str]) -> bool:
    """Whether variables that steps exported count in the properties: not with `disable-sync: "true"`."""
    return properties.get("disable-sync") != "true"


def wrong(message: str) -> UserError:
    """What is wrong with a step's properties."""
    return UserError(message, reason=Reason.CONFIG_INVALID)
