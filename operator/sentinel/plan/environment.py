"""The build's environment: which variables there are, in which order, and what they are once Secrets are read.

Later ones win. The order is wercker's original design's: generic variables, those of wercker.yml, those of the API
(wercker.md "The environment"); service link variables come before all of them. Values from the Build arrive
byte for byte: no shell sees them on their way. Step variables are no part of this: the step's driver exports them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentinel.api.build import Build, EnvFrom, EnvVar
from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.plan.facts import Facts
from sentinel.plan.generic import proxy_variables
from sentinel.plan.interpolate import (
    ENVIRONMENT_LIMIT,
    VARIABLE_LIMIT,
    interpolate,
    public_values,
    size_of,
)
from sentinel.plan.model import EnvSource, Variable

EXPANSION_LIMIT = 4 * ENVIRONMENT_LIMIT
"""Bytes of all values that are made on the way, those included that a later variable of the same name replaces."""

SHORTEST_MASK = 4
"""Bytes, without white space around them. Shorter values are not masked: they would mask parts of other words."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"\$\$\(|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


@dataclass(frozen=True, kw_only=True)
class ResolvedEnvironment:
    """What boxkit gets: `env` as unique (name, value) in order, `masks` as protected values, `warnings` for people."""

    env: tuple[tuple[str, str], ...]
    masks: tuple[bytes, ...]
    warnings: tuple[str, ...] = ()


def build_variables(
    facts: Facts, *, links: Sequence[tuple[str, str]], services: Sequence[str] = ()
) -> tuple[Variable | EnvSource, ...]:
    """All variables of a build in order, without reading a Secret.

    `links` are the services' link variables, `services` their aliases.
    """
    build = facts.build
    proxies = proxy_variables(build, settings=facts.settings, services=services)
    fixed = [*links, *facts.generic, *proxies]
    public = {**dict(fixed), **public_values(build.spec.env)}
    for name, text in facts.images.box.env:
        where = f"box env {name}"
        value = interpolate(
            text, public=public, hidden=facts.hidden, where=where, budget=facts.budget
        )
        fixed.append((name.upper(), value))
    return (
        *(Variable(name=name, value=_literal(value)) for name, value in fixed),
        *user_variables(build),
    )


def user_variables(build: Build) -> tuple[Variable | EnvSource, ...]:
    """What the Build itself says, in its order: envFrom, then env."""
    return (
        *(_env_source(each) for each in build.spec.env_from),
        *(_variable(each) for each in build.spec.env),
    )


def needed(variables: Sequence[Variable | EnvSource]) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the Secrets and of the ConfigMaps that `resolve` will want, optional ones too."""
    secrets = {v.secret[0] for v in variables if isinstance(v, Variable) and v.secret}
    maps = {v.config_map[0] for v in variables if isinstance(v, Variable) and v.config_map}
    sources = [v for v in variables if isinstance(v, EnvSource)]
    secrets |= {v.name for v in sources if v.kind == "secret"}
    maps |= {v.name for v in sources if v.kind == "configMap"}
    return frozenset(secrets), frozenset(maps)


def resolve(
    variables: Sequence[Variable | EnvSource],
    *,
    secrets: Mapping[str, Mapping[str, bytes]],
    config_maps: Mapping[str, Mapping[str, str]],
) -> ResolvedEnvironment:
    """Every variable with its value, and what must not be seen in a log.

    `secrets` and `config_maps` hold the data of those that exist, by name. A literal into which a Secret's value
    was put by $(NAME) is protected as well. Raises UserError SecretNotFound for a missing required one, InvalidSpec
    for a value that cannot be an environment variable or is too big.
    """
    return _Resolver(secrets=secrets, config_maps=config_maps).run(variables)


def why_not_masked(value: str) -> str:
    """Why boxkit does not mask a protected value, as the end of a sentence; empty if it does, or if there is none.

    The same rule as `maskable` in `operator/boxkit/internal/mask`, which applies it to each line of a value too.
    """
    bare = value.strip()
    if value and not any(c.isalnum() for c in bare):
        return "its value has no letter or digit"
    if value and len(bare.encode()) < SHORTEST_MASK:
        return f"its value is shorter than {SHORTEST_MASK} bytes"
    return ""


class _Resolver:
    """One run of `resolve`: the values so far, and which of them are protected."""

    def __init__(
        self,
        *,
        secrets: Mapping[str, Mapping[str, bytes]],
        config_maps: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._secrets = secrets
        self._maps = config_maps
        self._values: dict[str, str] = {}
        self._protected: set[str] = set()
        self._masks: dict[bytes, None] = {}
        self._warnings: list[str] = []
        self._held = 0
        self._made = 0

    def run(self, variables: Sequence[Variable | EnvSource]) -> ResolvedEnvironment:
        for variable in variables:
            if isinstance(variable, EnvSource):
                self._take_all(variable)
            else:
                self._take(variable)
        return ResolvedEnvironment(
            env=tuple(self._values.items()),
            masks=tuple(self._masks),
            warnings=tuple(self._warnings),
        )

    def _take(self, variable: Variable) -> None:
        name = variable.name
        if variable.secret is not None:
            owner, key = variable.secret
            raw = self._secrets.get(owner, {}).get(key)
            if raw is None:
                self._missing(variable, "Secret", owner, key, known=owner in self._secrets)
            else:
                text = _decoded(raw, where=f"key {key} of Secret {owner}", name=name)
                self._set(name, text, protected=True)
        elif variable.config_map is not None:
            owner, key = variable.config_map
            value = self._maps.get(owner, {}).get(key)
            if value is None:
                self._missing(variable, "ConfigMap", owner, key, known=owner in self._maps)
            else:
                self._set(name, value, protected=False)
        else:
            value, protected = self._expanded(name, variable.value)
            self._set(name, value, protected=protected)

    def _take_all(self, source: EnvSource) -> None:
        if source.kind == "secret":
            data: Mapping[str, bytes | str] | None = self._secrets.get(source.name)
        else:
            data = self._maps.get(source.name)
        kind = "Secret" if source.kind == "secret" else "ConfigMap"
        if data is None:
            raise UserError(
                f"{kind} {source.name}, named in spec.envFrom, does not exist in the Build's namespace: "
                "create it, or remove the entry",
                reason=Reason.SECRET_NOT_FOUND,
            )
        for key in sorted(data):
            name = source.prefix + key
            if _IDENTIFIER.fullmatch(name) is None:
                self._warnings.append(
                    f"key {key} of {kind} {source.name} is skipped: {name} cannot be a variable's name"
                )
                continue
            raw = data[key]
            text = (
                raw
                if isinstance(raw, str)
                else _decoded(raw, where=f"key {key} of {kind} {source.name}", name=name)
            )
            self._set(name, text, protected=source.kind == "secret")

    def _expanded(self, name: str, text: str) -> tuple[str, bool]:
        """`text` with $(NAME) replaced and $$( unescaped, and whether a protected value went into it."""
        protected = False
        parts: list[str] = []
        size = end = 0
        for match in _REFERENCE.finditer(text):
            used = match[1]
            parts.append(text[end : match.start()])
            # As in a pod: a reference to nothing stays as it is.
            parts.append("$(" if used is None else self._values.get(used, match[0]))
            protected = protected or used in self._protected
            size += len(parts[-1]) + len(parts[-2])
            end = match.end()
            if size > VARIABLE_LIMIT:
                raise _too_long(name)
        parts.append(text[end:])
        return "".join(parts), protected

    def _set(self, name: str, value: str, *, protected: bool) -> None:
        if "\0" in value:
            raise UserError(
                f"the value of {name} has a NUL byte: an environment variable cannot hold it",
                reason=Reason.INVALID_SPEC,
            )
        size = size_of(name, value)
        if size > VARIABLE_LIMIT:
            raise _too_long(name, size)
        before = self._values.get(name)
        self._held += size - (size_of(name, before) if before is not None else 0)
        self._made += size
        if self._held > ENVIRONMENT_LIMIT or self._made > EXPANSION_LIMIT:
            raise UserError(
                f"with {name} the build's variables take more than {ENVIRONMENT_LIMIT} bytes together: put large "
                "values into files of the project or into a step",
                reason=Reason.INVALID_SPEC,
            )
        self._values[name] = value
        if not protected:
            self._protected.discard(name)
            return
        self._protected.add(name)
        unmaskable = why_not_masked(value)
        if unmaskable:
            self._warnings.append(f"{name} is not masked in logs: {unmaskable}")
        elif value:
            self._masks[value.encode()] = None

    def _missing(self, variable: Variable, kind: str, owner: str, key: str, *, known: bool) -> None:
        if variable.optional:
            return
        what = (
            f"{kind} {owner} has no key {key}"
            if known
            else f"{kind} {owner} does not exist in the Build's namespace"
        )
        raise UserError(
            f"{what}; variable {variable.name} needs its key {key}. "
            "Create it, or set optional: true on the reference",
            reason=Reason.SECRET_NOT_FOUND,
        )


def _too_long(name: str, size: int = 0) -> UserError:
    takes = f"{size} bytes" if size else f"more than {VARIABLE_LIMIT} bytes once expanded"
    return UserError(
        f"{name} takes {takes}: an environment variable holds at most {VARIABLE_LIMIT}",
        reason=Reason.INVALID_SPEC,
    )


def _decoded(raw: bytes, *, where: str, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}, required by {name}, is not UTF-8: a variable cannot hold it. Encode it, e.g. as base64",
            reason=Reason.INVALID_SPEC,
        ) from error


def _literal(value: str) -> str:
    """`value` so written that `resolve` gives it back unchanged."""
    return value.replace("$(", "$$(")


def _variable(each: EnvVar) -> Variable:
    source = each.value_from
    if source is None:
        return Variable(name=each.name, value=each.value)
    if each.value or (source.secret_key_ref is None) == (source.config_map_key_ref is None):
        raise UserError(
            f"variable {each.name} in spec.env must have exactly one of value, valueFrom.secretKeyRef and "
            "valueFrom.configMapKeyRef",
            reason=Reason.INVALID_SPEC,
        )
    if source.secret_key_ref is not None:
        ref = source.secret_key_ref
        return Variable(name=each.name, secret=(ref.name, ref.key), optional=ref.optional)
    assert source.config_map_key_ref is not None  # noqa: S101 - exactly one of the two, as checked above
    ref = source.config_map_key_ref
    return Variable(name=each.name, config_map=(ref.name, ref.key), optional=ref.optional)


def _env_source(each: EnvFrom) -> EnvSource:
    if each.secret_ref is not None and each.config_map_ref is None:
        return EnvSource(kind="secret", name=each.secret_ref.name, prefix=each.prefix)
    if each.config_map_ref is not None and each.secret_ref is None:
        return EnvSource(kind="configMap", name=each.config_map_ref.name, prefix=each.prefix)
    raise UserError(
        "an entry of spec.envFrom must have exactly one of secretRef and configMapRef",
        reason=Reason.INVALID_SPEC,
    )
