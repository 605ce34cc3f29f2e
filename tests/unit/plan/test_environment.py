"""The build's variables: which, in which order, and what Secrets make of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.plan.examples import SOURCE, UID, YML, build, plan, settings

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.plan.environment import ResolvedEnvironment, needed, resolve
from sentinel.plan.model import EnvSource, PlanSource, Variable
from sentinel.plan.source import GitUrl, parse_git_url, schemeless

RUN_URL = f"https://app.wercker.com/acme/hello/runs/build/{UID}"
LINKS = [
    ("REDIS_NAME", f"/wercker-pipeline-{UID}/redis"),
    ("REDIS_PORT", "tcp://127.0.0.1:6379"),
    ("REDIS_PORT_6379_TCP", "tcp://127.0.0.1:6379"),
    ("REDIS_PORT_6379_TCP_ADDR", "127.0.0.1"),
    ("REDIS_PORT_6379_TCP_PORT", "6379"),
    ("REDIS_PORT_6379_TCP_PROTO", "tcp"),
    ("REDIS_ENV_PATH", "/usr/bin"),
    ("REDIS_ENV_REDIS_VERSION", "7"),
]
COMMON = [
    ("WERCKER", "true"),
    ("WERCKER_ROOT", "/pipeline/source"),
    ("WERCKER_SOURCE_DIR", "/pipeline/source"),
    ("WERCKER_CACHE_DIR", "/pipeline/cache"),
    ("WERCKER_OUTPUT_DIR", "/pipeline/output"),
    ("WERCKER_PIPELINE_DIR", "/pipeline"),
    ("WERCKER_REPORT_DIR", "/report"),
    ("WERCKER_APPLICATION_ID", "hello"),
    ("WERCKER_APPLICATION_NAME", "hello"),
    ("WERCKER_APPLICATION_OWNER_NAME", "acme"),
    ("WERCKER_APPLICATION_URL", "https://app.wercker.com/#applications/hello"),
    ("TERM", "xterm-256color"),
]
GIT = [
    ("WERCKER_GIT_DOMAIN", "git.example.com"),
    ("WERCKER_GIT_OWNER", "acme"),
    ("WERCKER_GIT_REPOSITORY", "hello"),
    ("WERCKER_GIT_BRANCH", "main"),
    ("WERCKER_GIT_TAG", ""),
    ("WERCKER_GIT_COMMIT", SOURCE.commit),
    ("WERCKER_STARTED_BY", "alice"),
    ("WERCKER_MAIN_PIPELINE_STARTED", "1795426215"),
]
DIAGRAM = [
    ("BUILD_ID", UID),
    ("BUILD_DIR", "/pipeline"),
    ("WERCKER_DIR", "/mnt/wercker"),
    ("GIT_URL", "git.example.com/acme/hello.git"),
    ("OUTPUT_DIR", "/pipeline/output"),
]


def resolved(*variables: Variable | EnvSource, **data: Any) -> ResolvedEnvironment:
    return resolve(
        variables, secrets=data.get("secrets", {}), config_maps=data.get("config_maps", {})
    )


def test_the_environment_of_a_build_whole() -> None:
    yml = YML.replace("box: debian:12", "box: {id: debian:12, env: {lang: C, at: $WERCKER_ROOT/x}}")
    said = build(
        startedBy="alice",
        env=[
            {"name": "PUBLIC", "value": "hello"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "api"}}},
            {"name": "URL", "value": "https://u:$(TOKEN)@x/$PUBLIC"},
            {"name": "TERM", "value": "dumb"},
        ],
        envFrom=[{"configMapRef": {"name": "defaults"}}],
    )

    environment = resolve(
        plan(said, yml=yml).variables,
        secrets={"tokens": {"api": b"s3cr3t"}},
        config_maps={"defaults": {"PUBLIC": "overridden", "LEVEL": "3"}},
    )

    assert environment == ResolvedEnvironment(
        env=(
            *LINKS,
            *COMMON[:-1],
            ("TERM", "dumb"),
            ("BUILD", "true"),
            ("CI", "true"),
            ("WERCKER_BUILD_ID", UID),
            ("WERCKER_BUILD_URL", RUN_URL),
            ("WERCKER_RUN_ID", UID),
            ("WERCKER_RUN_URL", RUN_URL),
            *GIT,
            *DIAGRAM,
            ("LANG", "C"),
            ("AT", "/pipeline/source/x"),
            ("LEVEL", "3"),
            ("PUBLIC", "hello"),
            ("TOKEN", "s3cr3t"),
            ("URL", "https://u:s3cr3t@x/$PUBLIC"),
        ),
        masks=(b"s3cr3t", b"https://u:s3cr3t@x/$PUBLIC"),
    )


@pytest.mark.parametrize(
    ("spec", "target"),
    [
        ({"pipeline": "deploy", "startedBy": "alice"}, []),
        (
            {"pipeline": "deploy", "deployTarget": "production", "startedBy": "alice"},
            [("WERCKER_DEPLOYTARGET_NAME", "production")],
        ),
    ],
)
def test_the_environment_of_a_deploy_has_no_ci(
    spec: dict[str, Any], target: list[tuple[str, str]]
) -> None:
    url = RUN_URL.replace("/build/", "/deploy/")

    environment = resolved(*plan(build(**spec)).variables)

    assert list(environment.env) == [
        *LINKS,
        *COMMON,
        ("DEPLOY", "true"),
        ("WERCKER_DEPLOY_ID", UID),
        ("WERCKER_DEPLOY_URL", url),
        *target,
        ("WERCKER_RUN_ID", UID),
        ("WERCKER_RUN_URL", url),
        *GIT,
        *DIAGRAM,
    ]


def test_an_archive_has_no_git_url() -> None:
    variables = plan(source=PlanSource(url="https://u:p@x/a.tgz?signature=s", commit="")).variables

    assert dict(resolved(*variables).env)["GIT_URL"] == ""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://github.com/owner/project", "github.com/owner/project"),
        ("https://user:pw@host:8443/acme/hello.git?x=y#z", "host:8443/acme/hello.git"),
        ("ssh://git@host:2222/a/b/hello.git/", "host:2222/a/b/hello.git"),
        ("git@github.com:acme/hello.git", "github.com/acme/hello.git"),
        ("http://token@[::1]:80/x", "[::1]:80/x"),
        ("", ""),
    ],
)
def test_the_git_url_of_the_diagram_has_neither_scheme_nor_credentials(
    url: str, shown: str
) -> None:
    assert schemeless(url) == shown


PROXY = {"http": "http://proxy:3128", "https": "http://proxy:3129", "no_proxy": [".example.com"]}
PAST = "localhost,127.0.0.1,::1,redis,.example.com"


@pytest.mark.parametrize(
    ("env", "proxies"),
    [
        (
            [],
            [
                ("http_proxy", "http://proxy:3128"),
                ("HTTP_PROXY", "http://proxy:3128"),
                ("https_proxy", "http://proxy:3129"),
                ("HTTPS_PROXY", "http://proxy:3129"),
                ("no_proxy", PAST),
                ("NO_PROXY", PAST),
            ],
        ),
        (
            [{"name": "HTTPS_PROXY", "value": ""}, {"name": "no_proxy", "value": "*"}],
            [
                ("http_proxy", "http://proxy:3128"),
                ("HTTP_PROXY", "http://proxy:3128"),
                ("HTTPS_PROXY", ""),
                ("no_proxy", "*"),
            ],
        ),
    ],
)
def test_the_operators_proxies_reach_the_steps_unless_the_build_has_its_own(
    env: list[dict[str, str]], proxies: list[tuple[str, str]]
) -> None:
    made = plan(build(env=env, startedBy="alice"), with_settings=settings(proxy=PROXY))

    assert resolved(*made.variables).env[-len(proxies) :] == tuple(proxies)
    assert resolved(*made.variables).env[-len(proxies) - 1] == DIAGRAM[-1]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_our_own_values_arrive_byte_for_byte(value: str) -> None:
    """A branch may be called $(TOKEN): nothing in it is a reference."""
    from dataclasses import replace

    secret = Variable(name="TOKEN", secret=("t", "k"))
    variables = plan(source=replace(SOURCE, branch=value)).variables

    environment = resolved(secret, *variables, secrets={"t": {"k": b"hidden"}})

    assert dict(environment.env)["WERCKER_GIT_BRANCH"] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$(A)", "1"),
        ("$(A)$(A)-$A-${A}", "11-$A-${A}"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$$(A)"),
        ("$(B)", "$(B)"),
        ("$(A", "$(A"),
        ("$$", "$$"),
        ("$()", "$()"),
    ],
)
def test_only_earlier_variables_in_parentheses_are_replaced(text: str, value: str) -> None:
    environment = resolved(Variable(name="A", value="1"), Variable(name="X", value=text))

    assert environment.env == (("A", "1"), ("X", value))


def test_a_secrets_own_value_is_never_expanded() -> None:
    environment = resolved(
        Variable(name="A", value="1"),
        Variable(name="S", secret=("s", "k")),
        secrets={"s": {"k": b"$(A)$$(A)"}},
    )

    assert environment.env == (("A", "1"), ("S", "$(A)$$(A)"))


def test_whatever_a_secret_went_into_is_masked_too() -> None:
    environment = resolved(
        Variable(name="S", secret=("s", "k")),
        Variable(name="ONE", value="one $(S)"),
        Variable(name="TWO", value="two $(ONE)"),
        Variable(name="S", value="harmless"),
        Variable(name="THREE", value="three $(S)"),
        secrets={"s": {"k": b"hidden"}},
    )

    assert environment.masks == (b"hidden", b"one hidden", b"two one hidden")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("123", "its value is shorter than 4 bytes"),
        ("  ab  ", "its value is shorter than 4 bytes"),
        ("    ", "its value has no letter or digit"),
        ("\n\t    },\n", "its value has no letter or digit"),
        ("!!!---!!!", "its value has no letter or digit"),
    ],
)
def test_a_secret_value_that_is_not_masked_is_reported(value: str, why: str) -> None:
    environment = resolved(
        Variable(name="PIN", secret=("s", "k")), secrets={"s": {"k": value.encode()}}
    )

    assert environment == ResolvedEnvironment(
        env=(("PIN", value),),
        masks=(),
        warnings=(f"PIN is not masked in logs: {why}",),
    )


@pytest.mark.parametrize("value", ["", "pass", " p4ss ", "žluť", "{\n  1234\n}"])
def test_other_secret_values_are_masked_without_a_word(value: str) -> None:
    environment = resolved(
        Variable(name="S", secret=("s", "k")), secrets={"s": {"k": value.encode()}}
    )

    assert environment.masks == ((value.encode(),) if value else ())
    assert environment.warnings == ()


def test_keys_that_cannot_be_variables_are_skipped_and_reported() -> None:
    environment = resolved(
        EnvSource(kind="secret", name="s", prefix="P_"),
        secrets={"s": {"a.b": b"xxxx", "B": b"bbbb", "A": b"aaaa"}},
    )

    assert environment == ResolvedEnvironment(
        env=(("P_A", "aaaa"), ("P_B", "bbbb")),
        masks=(b"aaaa", b"bbbb"),
        warnings=("key a.b of Secret s is skipped: P_a.b cannot be a variable's name",),
    )


@pytest.mark.parametrize(
    ("variable", "secrets", "message"),
    [
        (
            Variable(name="TOKEN", secret=("tokens", "api")),
            {},
            "Secret tokens does not exist in the Build's namespace; variable TOKEN needs its key api",
        ),
        (
            Variable(name="TOKEN", secret=("tokens", "api")),
            {"tokens": {"other": b"x"}},
            "Secret tokens has no key api; variable TOKEN needs its key api",
        ),
        (
            Variable(name="LEVEL", config_map=("defaults", "level")),
            {},
            "ConfigMap defaults does not exist in the Build's namespace",
        ),
        (
            EnvSource(kind="secret", name="all"),
            {},
            "Secret all, named in spec.envFrom, does not exist",
        ),
    ],
)
def test_a_missing_secret_is_named_with_its_key_and_the_variable(
    variable: Variable | EnvSource, secrets: dict[str, dict[str, bytes]], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolved(variable, secrets=secrets)

    assert caught.value.reason is Reason.SECRET_NOT_FOUND


def test_an_optional_one_that_is_missing_is_left_out() -> None:
    environment = resolved(
        Variable(name="A", secret=("s", "k"), optional=True),
        Variable(name="B", config_map=("m", "k"), optional=True),
    )

    assert environment == ResolvedEnvironment(env=(), masks=())


@pytest.mark.parametrize(
    ("variables", "secret", "message"),
    [
        ([Variable(name="BIG", value="x" * 131_072)], b"", "BIG takes 131077 bytes"),
        (
            [Variable(name=f"V{n}", value="x" * 120_000) for n in range(9)],
            b"",
            "with V8 .* more than 1048576",
        ),
        ([Variable(name="S", secret=("s", "k"))], b"a\0b", "S has a NUL byte"),
        (
            [Variable(name="S", secret=("s", "k"))],
            b"\xff",
            "key k of Secret s, required by S, is no",
        ),
    ],
)
def test_what_no_environment_can_hold_is_refused(
    variables: list[Variable], secret: bytes, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolved(*variables, secrets={"s": {"k": secret}})

    assert caught.value.reason is Reason.INVALID_SPEC
    assert "\ufffd" not in caught.value.message


def test_a_secret_cannot_get_into_the_pod_through_wercker_yml() -> None:
    yml = YML.replace("box: debian:12", "box: {id: debian:12, env: {A: x$TOKEN}}")
    said = build(env=[{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}}])

    with pytest.raises(UserError, match=r"box env A in wercker\.yml uses \$TOKEN, which comes"):
        plan(said, yml=yml)


def test_the_secrets_and_config_maps_to_read_are_known_beforehand() -> None:
    variables = (
        Variable(name="A", value="1"),
        Variable(name="B", secret=("one", "k")),
        Variable(name="C", config_map=("two", "k"), optional=True),
        EnvSource(kind="secret", name="three"),
        EnvSource(kind="configMap", name="four"),
    )

    assert needed(variables) == (frozenset({"one", "three"}), frozenset({"two", "four"}))


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://github.com/acme/hello.git", ("github.com", "acme", "hello")),
        ("https://user:pw@host:8443/acme/hello", ("host", "acme", "hello")),
        ("ssh://git@host:2222/a/b/hello.git/", ("host", "a/b", "hello")),
        ("git@github.com:acme/hello.git", ("github.com", "acme", "hello")),
        ("git://host/hello.git", ("host", "", "hello")),
        ("file:///srv/acme/hello.git", ("", "srv/acme", "hello")),
        ("https://host", ("host", "", "")),
        ("", ("", "", "")),
    ],
)
def test_a_git_url_gives_domain_owner_and_repository(url: str, parts: tuple[str, str, str]) -> None:
    domain, owner, repository = parts

    assert parse_git_url(url) == GitUrl(domain=domain, owner=owner, repository=repository)
