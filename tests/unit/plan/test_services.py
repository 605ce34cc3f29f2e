"""Services that share one network: their ports, what each knows of the others, and who they run as."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.plan.examples import BOX, DIGEST, REDIS, UID, YML, build, plan, settings

from sentinel.api.reasons import Reason
from sentinel.errors import UserError
from sentinel.plan.environment import resolve
from sentinel.plan.model import ImageFacts, PlanCache, PlanService
from sentinel.plan.pod import make_pod

DB = ImageFacts(
    name="postgres",
    reference=f"docker.io/library/postgres@{DIGEST}",
    env=(("PATH", "/bin"), ("PGDATA", "/data")),
    ports=("5432/tcp", "53/udp"),
)
REDIS_LINKS = (
    ("REDIS_NAME", f"/wercker-pipeline-{UID}/redis"),
    ("REDIS_PORT", "tcp://127.0.0.1:6379"),
    ("REDIS_PORT_6379_TCP", "tcp://127.0.0.1:6379"),
    ("REDIS_PORT_6379_TCP_ADDR", "127.0.0.1"),
    ("REDIS_PORT_6379_TCP_PORT", "6379"),
    ("REDIS_PORT_6379_TCP_PROTO", "tcp"),
    ("REDIS_ENV_PATH", "/usr/bin"),
    ("REDIS_ENV_REDIS_VERSION", "7"),
)
DB_LINKS = (
    ("MY_DB_NAME", f"/wercker-pipeline-{UID}/my-db"),
    # The lowest port, whatever its protocol.
    ("MY_DB_PORT", "udp://127.0.0.1:53"),
    ("MY_DB_PORT_53_UDP", "udp://127.0.0.1:53"),
    ("MY_DB_PORT_53_UDP_ADDR", "127.0.0.1"),
    ("MY_DB_PORT_53_UDP_PORT", "53"),
    ("MY_DB_PORT_53_UDP_PROTO", "udp"),
    ("MY_DB_PORT_5432_TCP", "tcp://127.0.0.1:5432"),
    ("MY_DB_PORT_5432_TCP_ADDR", "127.0.0.1"),
    ("MY_DB_PORT_5432_TCP_PORT", "5432"),
    ("MY_DB_PORT_5432_TCP_PROTO", "tcp"),
    ("MY_DB_ENV_PATH", "/bin"),
    ("MY_DB_ENV_PGDATA", "/mine"),
)


def with_services(text: str) -> str:
    return YML.replace("  - redis\n", text)


def test_each_service_gets_the_link_variables_of_those_before_it_and_the_box_all_of_them() -> None:
    yml = with_services("  - redis\n  - {id: postgres, name: my-db, env: {pgdata: /mine}}\n")

    made = plan(yml=yml, services=(REDIS, DB))

    assert made.services == (
        PlanService(alias="redis", container="service-1-redis", image=REDIS, ports=(6379,)),
        PlanService(
            alias="my-db",
            container="service-2-my-db",
            image=DB,
            env=(*REDIS_LINKS, ("PGDATA", "/mine")),
            ports=(5432,),
        ),
    )
    env = resolve(made.variables, secrets={}, config_maps={}).env
    links = (*REDIS_LINKS, *DB_LINKS)
    assert env[: len(links)] == links


def test_a_link_variable_that_no_pod_may_have_stays_out_of_the_pod() -> None:
    yml = with_services("  - {id: redis, name: 1st}\n  - postgres\n")

    made = plan(yml=yml, services=(REDIS, DB))

    assert made.services[1].env == ()
    assert "1ST_PORT" in dict(resolve(made.variables, secrets={}, config_maps={}).env)


def test_a_name_that_no_container_can_have_in_its_env_is_refused() -> None:
    with pytest.raises(UserError, match=r"env of service redis .* a variable 'a b': names are"):
        plan(yml=with_services("  - {id: redis, env: {a b: c}}\n"))


def test_every_port_that_several_services_listen_on_is_named_at_once() -> None:
    yml = with_services(
        "  - redis\n  - {id: keydb, ports: ['16379:6379', 53/udp]}\n  - postgres\n  - {id: redis, name: r2}\n"
    )
    keydb = ImageFacts(name="keydb", reference="keydb")

    with pytest.raises(UserError) as caught:
        plan(yml=yml, services=(REDIS, keydb, DB, REDIS))

    assert caught.value.reason is Reason.PORT_CONFLICT
    assert caught.value.message == (
        "services keydb and postgres listen on the same port, 53/udp; "
        "services redis, keydb and r2 listen on the same port, 6379/tcp. "
        "All services of a build share one network: start one of them on another port (with cmd or env), and list the "
        "port that it then has under its ports:"
    )


@pytest.mark.parametrize(
    ("first", "second", "ports"),
    [
        ("", ", ports: ['6380']", [(6379,), (6380,)]),
        (", ports: ['6380']", "", [(6380,), (6379,)]),
        (", ports: ['6380']", ", ports: ['6381']", [(6380,), (6381,)]),
        (", ports: ['6379']", ", ports: ['6381']", [(6379,), (6381,)]),
    ],
)
def test_one_of_two_services_of_an_image_may_say_that_it_listens_elsewhere(
    first: str, second: str, ports: list[tuple[int, ...]]
) -> None:
    yml = with_services(f"  - {{id: redis, name: a{first}}}\n  - {{id: redis, name: b{second}}}\n")

    made = plan(yml=yml, services=(REDIS, REDIS))

    assert [service.ports for service in made.services] == ports
    env = dict(resolve(made.variables, secrets={}, config_maps={}).env)
    assert env["B_PORT"] == f"tcp://127.0.0.1:{ports[1][0]}"


def test_a_tcp_and_a_udp_port_of_one_number_do_not_clash() -> None:
    yml = with_services("  - {id: a, ports: [53/tcp]}\n  - {id: b, ports: [53/udp]}\n")
    image = ImageFacts(name="x", reference="x")

    assert [s.ports for s in plan(yml=yml, services=(image, image)).services] == [(53,), ()]


@pytest.mark.parametrize(
    ("user", "context"),
    [
        ("1000", {"runAsUser": 1000}),
        ("1000:50", {"runAsUser": 1000, "runAsGroup": 50}),
        ("root", {"runAsUser": 0}),
        ("$APP_USER", {"runAsUser": 7}),
        ("redis", None),
    ],
)
def test_the_user_of_box_and_service_is_a_number_or_the_images_own(
    user: str, context: dict[str, Any] | None
) -> None:
    yml = with_services(f"  - {{id: redis, user: '{user}'}}\n").replace(
        "box: debian:12", f"box: {{id: debian:12, user: '{user}'}}"
    )
    said = build(env=[{"name": "APP_USER", "value": "7"}])
    images: dict[str, Any] = {
        "box": replace(BOX, user="redis"),
        "services": (replace(REDIS, user="redis"),),
    }

    pod = make_pod(plan(said, yml=yml, **images), build=said, settings=settings())

    box, redis = pod["spec"]["containers"]
    assert (box.get("securityContext"), redis.get("securityContext")) == (context, context)
    volumes = {each["name"] for each in pod["spec"]["volumes"]}
    assert ("pipeline" in volumes) == (user != "root")


@pytest.mark.parametrize(
    ("user", "context"),
    [
        ("1000:50", {"runAsUser": 1000, "runAsGroup": 50}),
        ("1000", None),
        ("app:app", None),
        ("app:50", None),
        ("", None),
    ],
)
def test_the_group_of_an_images_user_is_not_forgotten(
    user: str, context: dict[str, Any] | None
) -> None:
    made = plan(box=replace(BOX, user=user), services=(replace(REDIS, user=user),))

    box, redis = make_pod(made, build=build(), settings=settings())["spec"]["containers"]

    assert (box.get("securityContext"), redis.get("securityContext")) == (context, context)


def test_another_name_as_user_is_refused_with_what_to_write() -> None:
    yml = YML.replace("box: debian:12", "box: {id: debian:12, user: app}")

    with pytest.raises(UserError, match=r"user 'app' of debian:12 on line 1 .*`id -u app`") as e:
        plan(yml=yml)

    assert e.value.reason is Reason.CONFIG_INVALID


def test_the_builds_own_word_on_the_user_goes_before_that_of_wercker_yml() -> None:
    yml = YML.replace("box: debian:12", "box: {id: debian:12, user: 1000}")
    said = build(pod={"box": {"securityContext": {"runAsUser": 0}}})

    pod = make_pod(plan(said, yml=yml), build=said, settings=settings())

    assert pod["spec"]["containers"][0]["securityContext"] == {"runAsUser": 0}
    assert "pipeline" not in {each["name"] for each in pod["spec"]["volumes"]}


def test_git_in_the_init_container_goes_through_the_proxy_and_nothing_else_of_the_pod_does() -> (
    None
):
    proxy = {"https": "http://proxy:3129", "no_proxy": [".internal"]}

    pod = make_pod(plan(), build=build(), settings=settings(proxy=proxy))

    assert pod["spec"]["initContainers"][0]["env"][1:] == [
        {"name": "https_proxy", "value": "http://proxy:3129"},
        {"name": "no_proxy", "value": ".internal"},
    ]


def test_a_build_cannot_choose_the_fetchers_proxy_and_its_pod_holds_no_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Build's own variables are its steps' alone; the operator's own proxy, which has a login, is in no pod."""
    monkeypatch.setenv("https_proxy", "http://ci:hidden@own:3128")
    env = [{"name": name, "value": "http://evil:1"} for name in ("https_proxy", "HTTP_PROXY")]
    said = build(env=env)
    known = settings(
        proxy={"https": "http://proxy:3129", "no_proxy": ["10.0.0.0/8"]},
        store={"bucket": "b", "endpoint": "https://s3.example.com"},
    )
    made = plan(said, with_settings=known)
    cached = replace(made, cache=PlanCache(key="k", size=1))

    pod = make_pod(cached, build=said, settings=known)

    variables = pod["spec"]["initContainers"][0]["env"]
    assert variables[1:] == [
        {"name": "https_proxy", "value": "http://proxy:3129"},
        {"name": "no_proxy", "value": "10.0.0.0/8"},
    ]
    assert json.loads(variables[0]["value"])["cache"]["proxy"] == "http://proxy:3129"
    assert "evil" not in json.dumps(pod) and "hidden" not in json.dumps(pod)


def test_a_directory_store_is_reached_past_the_proxy() -> None:
    known = settings(proxy={"http": "http://proxy:3129"}, store={"url": "http://store.ci.svc:8080"})

    pod = make_pod(plan(), build=build(), settings=known)

    assert {"name": "no_proxy", "value": "store.ci.svc"} in pod["spec"]["initContainers"][0]["env"]


def test_local_images_are_never_committed() -> None:
    said = build(image={"repository": "r.example.com/x"})

    made = plan(said, with_settings=settings(images={"local": True}))

    assert made.image.commit == "never"


def test_a_clash_known_from_images_only_is_reported_and_shows_what_was_started() -> None:
    """Both were moved to 7001 by cmd, which nobody can see: only the images' 6379 is known."""
    yml = with_services(
        "  - {id: redis, cmd: --port 7001}\n  - {id: redis, name: r2, cmd: --port 7001}\n"
    )

    with pytest.raises(UserError) as caught:
        plan(yml=yml, services=(REDIS, REDIS))

    assert caught.value.message.startswith(
        "services redis (cmd: --port 7001) and r2 (cmd: --port 7001) have images that expose the same port, 6379/tcp. "
    )
