"""The build's environment: which variables there are, in which order, and what they are once Secrets are read.

Later ones win. The order is wercker's original design's: generic variables, those of wercker.yml, those of the API
(`wercker-semantics.md` §4.1 to 4.3, §11); service link variables come before all of them. Values from the Build arrive
byte for byte: no shell sees them on their way. Step variables are no part of this: the step's driver exports them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sentinel.api.build import Build, EnvFrom, EnvVar
from sentinel.api.reasons import Reason
from sentinel.config.model import Box
from sentinel.errors import UserError
from sentinel.plan.archiveurl import archive_name
from sentinel.plan.giturl import GitUrl, parse_git_url
from sentinel.plan.model import EnvSource, PlanSource, Variable
from sentinel.settings import Settings

VARIABLE_LIMIT = 128 * 1024
"""Bytes of `NAME=value` and its NUL: Linux refuses a longer one in execve."""

ENVIRONMENT_LIMIT = 1024 * 1024
"""Bytes of all of them."""

SHORTEST_MASK = 4
"""Values shorter than this are not masked: they would blot out half the log."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"\$\$\(|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


@dataclass(frozen=True, kw_only=True)
class ResolvedEnvironment:
    """What boxkit gets: `env` as unique (name, value) in order, `masks` as protected values, `warnings` for people."""

    env: tuple[tuple[str, str], ...]
    masks: tuple[bytes, ...]
    warnings: tuple[str, ...] = ()


def is_deploy(build: Build) -> bool:
    """Whether the build has a deploy's variables: its pipeline is `deploy`, or it names a deploy target.

    wercker decided by the verb of its command line (§1.7); a Build has no verb.
    """
    return build.spec.pipeline == "deploy" or bool(build.spec.deploy_target)


def application_name(build: Build, *, source: PlanSource) -> str:
    """The application's name: the spec's, else the repository's or the archive's file name, else the Build's."""
    if source.digest:
        return build.spec.application.name or archive_name(source.url) or build.name
    return build.spec.application.name or parse_git_url(source.url).repository or build.name


def application_id(build: Build, *, source: PlanSource) -> str:
    """The application's id: the spec's, else its name."""
    return build.spec.application.id or application_name(build, source=source)


def build_variables(
    build: Build,
    *,
    source: PlanSource,
    box: Box | None,
    links: Sequence[tuple[str, str]],
    settings: Settings,
    started: datetime,
    base_path: str,
    source_dir: str,
) -> tuple[Variable | EnvSource, ...]:
    """All variables of a build in order, without reading a Secret.

    `box` is the one of wercker.yml, for its `env`; `links` the services' link variables. `started` becomes
    WERCKER_MAIN_PIPELINE_STARTED in whole seconds.
    """
    generic = generic_variables(
        build,
        source=source,
        settings=settings,
        started=started,
        base_path=base_path,
        source_dir=source_dir,
    )
    fixed = [*links, *generic]
    known = dict(fixed)
    if box is not None:
        public = {**known, **public_values(build.spec.env)}
        hidden = hidden_names(build.spec.env)
        for name, text in box.env:
            value = interpolate(text, public=public, hidden=hidden, where=f"box env {name}")
            fixed.append((name.upper(), value))
    return (
        *(Variable(name=name, value=_literal(value)) for name, value in fixed),
        *(_env_source(each) for each in build.spec.env_from),
        *(_variable(each) for each in build.spec.env),
    )


def generic_variables(
    build: Build,
    *,
    source: PlanSource,
    settings: Settings,
    started: datetime,
    base_path: str,
    source_dir: str,
) -> tuple[tuple[str, str], ...]:
    """wercker's own variables, in its order (§4.1, §4.2).

    Two are what upstream meant and not what it did: WERCKER_ROOT follows base-path, and WERCKER_REPORT_DIR is
    where the reports are.
    """
    spec = build.spec
    git = GitUrl() if source.digest else parse_git_url(source.url)
    name = application_name(build, source=source)
    application = application_id(build, source=source)
    owner = spec.application.owner or git.owner
    base = settings.base_url.rstrip("/")
    run_url = f"{base}/{owner}/{name}/runs/{spec.pipeline}/{build.uid}"
    if is_deploy(build):
        verb = [
            ("DEPLOY", "true"),
            ("WERCKER_DEPLOY_ID", build.uid),
            ("WERCKER_DEPLOY_URL", run_url),
        ]
        if spec.deploy_target:
            verb.append(("WERCKER_DEPLOYTARGET_NAME", spec.deploy_target))
    else:
        verb = [
            ("BUILD", "true"),
            ("CI", "true"),
            ("WERCKER_BUILD_ID", build.uid),
            ("WERCKER_BUILD_URL", run_url),
        ]
    return (
        ("WERCKER", "true"),
        ("WERCKER_ROOT", base_path),
        ("WERCKER_SOURCE_DIR", source_dir),
        ("WERCKER_CACHE_DIR", "/pipeline/cache"),
        ("WERCKER_OUTPUT_DIR", "/pipeline/output"),
        ("WERCKER_PIPELINE_DIR", "/pipeline"),
        ("WERCKER_REPORT_DIR", "/report"),
        ("WERCKER_APPLICATION_ID", application),
        ("WERCKER_APPLICATION_NAME", name),
        ("WERCKER_APPLICATION_OWNER_NAME", owner),
        ("WERCKER_APPLICATION_URL", spec.application.url or f"{base}/#applications/{application}"),
        ("TERM", "xterm-256color"),
        *verb,
        ("WERCKER_RUN_ID", build.uid),
        ("WERCKER_RUN_URL", run_url),
        ("WERCKER_GIT_DOMAIN", git.domain),
        ("WERCKER_GIT_OWNER", git.owner),
        ("WERCKER_GIT_REPOSITORY", git.repository),
        ("WERCKER_GIT_BRANCH", source.branch),
        ("WERCKER_GIT_TAG", source.tag),
        ("WERCKER_GIT_COMMIT", source.commit),
        ("WERCKER_STARTED_BY", spec.started_by),
        ("WERCKER_MAIN_PIPELINE_STARTED", str(int(started.astimezone(UTC).timestamp()))),
    )


def public_values(env: Sequence[EnvVar]) -> dict[str, str]:
    """The literal values of spec.env that no Secret has gone into; what wercker.yml may interpolate (§4.4)."""
    values: dict[str, str] = {}
    for each in env:
        values.pop(each.name, None)
        if each.value_from is None and "$(" not in each.value:
            values[each.name] = each.value
    return values


def hidden_names(env: Sequence[EnvVar]) -> frozenset[str]:
    """Variables of spec.env whose value is not known when the plan is made, or may hold a Secret's."""
    return frozenset({each.name for each in env if each.value_from or "$(" in each.value})


def interpolate(
    text: str, *, public: Mapping[str, str], hidden: frozenset[str] = frozenset(), where: str
) -> str:
    """`$NAME` and `${NAME}` in a field of box or service replaced, an unknown name by nothing (§4.4, second engine).

    Raises UserError where `text` asks for a variable from a Secret: such a field ends up in the pod's spec.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name in hidden:
            raise UserError(
                f"{where} in wercker.yml uses ${name}, which comes from a Secret: it would stand readable in the pod. "
                f"Use ${name} in a step instead, or give it a literal value in spec.env",
                reason=Reason.CONFIG_INVALID,
            )
        return public.get(name, "")

    return re.sub(r"\$(?:\{([^}]*)\}|([A-Za-z_][A-Za-z0-9_]*))", value, text)


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

    def run(self, variables: Sequence[Variable | EnvSource]) -> ResolvedEnvironment:
        for variable in variables:
            if isinstance(variable, EnvSource):
                self._take_all(variable)
            else:
                self._take(variable)
        total = sum(len(n.encode()) + len(v.encode()) + 2 for n, v in self._values.items())
        if total > ENVIRONMENT_LIMIT:
            raise UserError(
                f"the build's variables take {total} bytes together, more than {ENVIRONMENT_LIMIT}: "
                "put large values into files of the project or into a step",
                reason=Reason.INVALID_SPEC,
            )
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
            value, protected = self._expanded(variable.value)
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

    def _expanded(self, text: str) -> tuple[str, bool]:
        """`text` with $(NAME) replaced and $$( unescaped, and whether a protected value went into it."""
        protected = False

        def value(match: re.Match[str]) -> str:
            nonlocal protected
            name = match[1]
            if name is None:
                return "$("
            if name not in self._values:
                # As in a pod: what refers to nothing stays as it is.
                return match[0]
            protected = protected or name in self._protected
            return self._values[name]

        return _REFERENCE.sub(value, text), protected

    def _set(self, name: str, value: str, *, protected: bool) -> None:
        if "\0" in value:
            raise UserError(
                f"the value of {name} has a NUL byte: an environment variable cannot hold it",
                reason=Reason.INVALID_SPEC,
            )
        size = len(name.encode()) + len(value.encode()) + 2
        if size > VARIABLE_LIMIT:
            raise UserError(
                f"{name} takes {size} bytes: an environment variable holds at most {VARIABLE_LIMIT}",
                reason=Reason.INVALID_SPEC,
            )
        self._values[name] = value
        if not protected:
            self._protected.discard(name)
            return
        self._protected.add(name)
        mask = value.encode()
        if len(mask) >= SHORTEST_MASK:
            self._masks[mask] = None
        elif mask:
            self._warnings.append(
                f"{name} is not masked in logs: its value is shorter than {SHORTEST_MASK} bytes"
            )

    def _missing(self, variable: Variable, kind: str, owner: str, key: str, *, known: bool) -> None:
        if variable.optional:
            return
        what = (
            f"{kind} {owner} has no key {key}"
            if known
            else f"{kind} {owner} does not exist in the Build's namespace"
        )
        raise UserError(
            f"{what}; variable {variable.name} wants its key {key}. "
            "Create it, or set optional: true on the reference",
            reason=Reason.SECRET_NOT_FOUND,
        )


def _decoded(raw: bytes, *, where: str, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}, wanted by {name}, is no UTF-8 text: a variable cannot hold it. Encode it, e.g. as base64",
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
