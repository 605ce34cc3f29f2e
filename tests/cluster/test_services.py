"""Services beside the box: how it reaches them, what they get, what happens when one dies."""

from __future__ import annotations

from tests.cluster.conftest import Builds, eventually
from tests.kubectl import condition

SERVICES = """\
box: {registry}/box/debian:12
services:
  - {registry}/service/redis:7
  - id: {registry}/service/redis:7
    name: my_db
    cmd: redis-server --port 6380 --bind 0.0.0.0 --protected-mode no --save '' --requirepass 'hello two'
    ports: ["6380"]
  - id: {registry}/box/busybox:1
    name: Echo-1
    entrypoint: nc -ll -p 7000
    cmd: -e env
    env: {{greeting: "$WORD $(x) $$", my_port: mine}}
    ports: ["127.0.0.1:7000:7000/tcp", 7001/udp]
    user: "1234"
build:
  steps:
    - script:
        name: redis
        code: |
          ask() {{ exec 3<>"/dev/tcp/$1/$2"; printf '%s\\r\\n' "$3" >&3; head -n 1 <&3; exec 3>&-; }}
          ask redis "$REDIS_PORT_6379_TCP_PORT" PING
          ask my_db "$MY_DB_PORT_6380_TCP_PORT" 'AUTH "hello two"'
          ask "$MY_DB_PORT_6380_TCP_ADDR" 6380 PING
          echo "$REDIS_PORT $MY_DB_PORT $ECHO_1_PORT ${{MY_DB_PORT_6379_TCP-none}} $ECHO_1_PORT_7001_UDP_PROTO"
    - script:
        name: echo
        code: |
          exec 3<>/dev/tcp/Echo-1/7000
          sort <&3 | grep -v -e ^KUBERNETES -e _ENV_ -e ^HOSTNAME -e ^HOME
"""


def test_services_by_name_and_link_with_their_own_command_user_and_environment(
    builds: Builds,
) -> None:
    raw = builds.run(
        url=builds.project(SERVICES.format(registry=builds.lab.registry)),
        env=[{"name": "WORD", "value": "hello"}],
        pod={"services": {"my_db": {"resources": {"limits": {"memory": "64Mi"}}}}},
    )
    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    assert builds.log(raw, "redis").splitlines() == [
        "+PONG",
        "+OK",
        "-NOAUTH Authentication required.",
        "tcp://127.0.0.1:6379 tcp://127.0.0.1:6380 tcp://127.0.0.1:7000 none udp",
    ]
    uid = raw["metadata"]["uid"]

    def links(prefix: str, alias: str, port: int) -> list[str]:
        head = f"{prefix}_PORT_{port}_TCP"
        return [
            f"{prefix}_NAME=/wercker-pipeline-{uid}/{alias}",
            f"{prefix}_PORT=tcp://127.0.0.1:{port}",
            f"{head}=tcp://127.0.0.1:{port}",
            f"{head}_ADDR=127.0.0.1",
            f"{head}_PORT={port}",
            f"{head}_PROTO=tcp",
        ]

    assert builds.log(raw, "echo").splitlines() == sorted(
        [
            "GREETING=hello $(x) $$",
            "MY_PORT=mine",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            *links("REDIS", "redis", 6379),
            *links("MY_DB", "my_db", 6380),
        ]
    )


# One stream: how the node mixes two is not ours to say. The service ends when the step, which has printed by then,
# connects: one that ends by itself may do so before the step has begun, and is then noted above what the step prints.
DYING = """\
box: {registry}/box/debian:12
services:
  - id: {registry}/box/busybox:1
    name: dies
    cmd: sh -c 'nc -l -p 7009; echo starting >&2; echo "bad option near v3ry-s3cret-value" >&2; exit 3'
  - {{id: {registry}/box/busybox:1, name: done, cmd: "true"}}
build:
  steps:
    - script:
        name: wait
        code: |
          printf 'no newline'
          until (exec 3<>/dev/tcp/127.0.0.1/7009) 2>/dev/null; do sleep 0.05; done
          while [ ! -e /go ]; do sleep 0.05; done
          exit 7
"""


def test_the_last_words_of_a_service_that_died_are_in_the_builds_log(builds: Builds) -> None:
    builds.secret("tokens", api="v3ry-s3cret-value")
    builds.apply(
        "b",
        url=builds.project(DYING.format(registry=builds.lab.registry)),
        env=[{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "api"}}}],
    )
    eventually(lambda: "service dies ended with exit code 3" in events(builds), within=240)
    (pod,) = builds.pods("b")
    name = pod["metadata"]["name"]
    builds.kubectl("exec", "-n", builds.namespace, name, "-c", "box", "--", "touch", "/go")
    raw = builds.finish("b")
    assert builds.log(raw, "wait").splitlines() == [
        "no newline",
        "--- sentinel: service dies ended with exit code 3; its last words:",
        "starting",
        "bad option near ****",
        "--- sentinel: end of service dies",
    ]
    assert condition(raw, "Succeeded")["message"] == (
        "step 'wait' failed: exited with code 7; service dies ended with exit code 3"
    )


def events(builds: Builds) -> str:
    """What `kubectl describe` shows of the Build's events."""
    described = builds.kubectl("describe", "build", "b", "-n", builds.namespace)
    return described.partition("Events:")[2]


def test_two_services_on_one_port_are_refused_before_there_is_a_pod(builds: Builds) -> None:
    registry = builds.lab.registry
    text = (
        f"box: {registry}/box/debian:12\n"
        f"services: [{registry}/service/redis:7, {{id: {registry}/service/redis:7, name: other}}]\n"
        "build:\n  steps:\n    - script: {code: 'true'}\n"
    )
    raw = builds.run(url=builds.project(text))
    assert condition(raw, "Accepted")["reason"] == "PortConflict"
    said = "services redis and other have images that expose the same port, 6379/tcp"
    assert said in condition(raw, "Accepted")["message"]
    assert builds.pods("b") == []
