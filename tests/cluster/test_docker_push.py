"""internal/docker-push on the lab: images pushed in the middle of a build, with their configuration."""

from __future__ import annotations

import io
import json
import tarfile
import urllib.request
from typing import Any

import pytest
from tests.cluster.conftest import REGISTRY_PASSWORD, Builds, steps
from tests.cluster.test_recovery import operator_pod
from tests.install import NAMESPACE, PRIVATE_REGISTRY

YML = """\
box: {registry}/box/debian:12
build:
  steps:
    - script: {{name: first, code: 'export TAG=one; echo one > /opt/made'}}
    - internal/docker-push:
        name: push one
        repository: {registry}/{namespace}/app
        tag: $TAG latest
        cmd: cat '/opt/made'
        entrypoint: env
        env: WHO=$TAG B='two words'
        ports: "8080, 53/udp"
        labels: com.example.tag=x
        user: "65534"
        working-dir: /opt
        author: me
    - script: {{name: second, code: 'export TAG=two; echo two > /opt/made'}}
    - internal/docker-push:
        name: push two
        repository: {registry}/{namespace}/app
        tag: $TAG
    - internal/docker-push:
        name: push without the variable
        repository: {registry}/{namespace}/app
        tag: not$TAG
        disable-sync: "true"
"""


KINDS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def image_config(builds: Builds, name: str, tag: str) -> dict[str, Any]:
    """The configuration of an image in the lab's registry."""
    manifest = registry(builds, f"{name}/manifests/{tag}", accept=KINDS)
    config: dict[str, Any] = registry(builds, f"{name}/blobs/{manifest['config']['digest']}")
    return config


def image_layers(builds: Builds, name: str, tag: str) -> list[list[tuple[Any, ...]]]:
    """For each layer of an image, what its entries are."""
    manifest = registry(builds, f"{name}/manifests/{tag}", accept=KINDS)
    found = []
    for layer in manifest["layers"]:
        with tarfile.open(
            fileobj=io.BytesIO(fetched(builds, f"{name}/blobs/{layer['digest']}")), mode="r:gz"
        ) as tar:
            found.append(
                [
                    (m.name, m.type, m.mode, m.uid, m.gid, int(m.mtime), m.linkname)
                    for m in tar.getmembers()
                ]
            )
    return found


def registry(builds: Builds, path: str, *, accept: str = "") -> Any:
    """An answer of the lab's registry, from its JSON."""
    return json.loads(fetched(builds, path, accept=accept))


def fetched(builds: Builds, path: str, *, accept: str = "") -> bytes:
    """An answer of the lab's registry."""
    request = urllib.request.Request(f"http://{builds.lab.registry}/v2/{path}")
    if accept:
        request.add_header("Accept", accept)
    with urllib.request.urlopen(request, timeout=10) as answer:
        content: bytes = answer.read()
    return content


def test_two_pushes_of_one_build(builds: Builds) -> None:
    text = YML.format(registry=builds.lab.registry, namespace=builds.namespace)
    raw = builds.run(url=builds.project(text))

    assert raw["status"]["phase"] == "Succeeded", json.dumps(raw["status"], indent=1)
    assert [state for _, state, _ in steps(raw)] == ["Passed"] * 5
    one, latest, two, unsynced = (
        image_config(builds, f"{builds.namespace}/app", tag)
        for tag in ("one", "latest", "two", "not")
    )
    assert one == latest
    base = image_config(builds, "box/debian", "12")
    kept = {key: value for key, value in base["config"].items() if key not in ("Env", "Cmd")}
    assert one["config"] == {
        **kept,
        "Env": [*base["config"].get("Env", []), "WHO=one", "B=two words"],
        "Entrypoint": ["env"],
        "Cmd": ["cat", "/opt/made"],
        "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
        "Labels": {**(base["config"].get("Labels") or {}), "com.example.tag": "x"},
        "User": "65534",
        "WorkingDir": "/opt",
    }
    assert one["author"] == "me"
    assert two["config"] == unsynced["config"] == base["config"]
    log = builds.log(raw, "push one")
    assert log.startswith(
        f"pushing the box to {builds.lab.registry}/{builds.namespace}/app: one, latest\n"
    )
    assert "\npushed " in log
    assert builds.kubectl.list("secrets", namespace=builds.namespace) == []


def test_the_output_as_an_image_from_scratch(builds: Builds) -> None:
    name = f"{builds.namespace}/static"
    text = f"""\
box: {builds.lab.registry}/box/debian:12
build:
  steps:
    - script:
        name: make
        code: |
          echo secret > /root/secret
          mkdir $WERCKER_OUTPUT_DIR/www
          echo '<p>hello' > $WERCKER_OUTPUT_DIR/www/index.html
          chmod 640 $WERCKER_OUTPUT_DIR/www/index.html
          touch -d @1600000000 $WERCKER_OUTPUT_DIR/www/index.html $WERCKER_OUTPUT_DIR/www
          ln -s www/index.html $WERCKER_OUTPUT_DIR/start
          touch -h -d @1600000000 $WERCKER_OUTPUT_DIR/start
    - internal/docker-scratch-push:
        name: push
        repository: {builds.lab.registry}/{name}
        tag: one
        entrypoint: /serve
        cmd: --root /www
        env: WHO=me
        ports: "8080"
        volumes: /data
        working-dir: /www
        labels: a=b
        user: "65534"
"""
    raw = builds.run(url=builds.project(text))

    assert raw["status"]["phase"] == "Succeeded", json.dumps(raw["status"], indent=1)
    config, layers = image_config(builds, name, "one"), image_layers(builds, name, "one")
    base = image_config(builds, "box/debian", "12")
    assert {key: config[key] for key in ("architecture", "os", "config")} == {
        "architecture": base["architecture"],
        "os": "linux",
        "config": {
            "Env": ["WHO=me"],
            "Entrypoint": ["/serve"],
            "Cmd": ["--root", "/www"],
            "ExposedPorts": {"8080/tcp": {}},
            "Volumes": {"/data": {}},
            "WorkingDir": "/www",
        },
    }
    assert len(config["rootfs"]["diff_ids"]) == len(config["history"]) == 1
    (members,) = layers
    assert members == [
        ("start", tarfile.SYMTYPE, 0o777, 0, 0, 1_600_000_000, "www/index.html"),
        ("www", tarfile.DIRTYPE, 0o755, 0, 0, 1_600_000_000, ""),
        ("www/index.html", tarfile.REGTYPE, 0o640, 0, 0, 1_600_000_000, ""),
    ]
    log = builds.log(raw, "push")
    assert log.startswith(
        "not used for an image from scratch: labels, user\n"
        f"pushing an image from scratch to {builds.lab.registry}/{name}: one\n"
    )


def test_a_login_of_the_step(builds: Builds, private_registry: str) -> None:
    builds.secret("login", right=REGISTRY_PASSWORD, wrong="s3cret-99")
    for name in ("right", "wrong"):
        url = builds.project(
            f"""\
box: {builds.lab.registry}/box/debian:12
build:
  steps:
    - internal/docker-push:
        name: push
        repository: {builds.namespace}/app
        registry: http://{PRIVATE_REGISTRY}
        username: ci
        password: $PASSWORD
"""
        )
        key = {"secretKeyRef": {"name": "login", "key": name}}
        builds.apply(name, url=url, env=[{"name": "PASSWORD", "valueFrom": key}])
    right, wrong = builds.finish("right"), builds.finish("wrong")

    assert right["status"]["phase"] == "Succeeded", right["status"]["conditions"]
    assert wrong["status"]["phase"] == "Failed"
    (push,) = wrong["status"]["steps"]
    assert (push["state"], push["exitCode"]) == ("Failed", 1)
    assert "AuthFailed" in push["message"]
    everything = json.dumps(
        [
            right,
            wrong,
            *builds.kubectl.list("imagecommits", namespace=builds.namespace),
            *builds.kubectl.list("events", namespace=builds.namespace),
        ]
    )
    everything += builds.log(right, "push") + builds.log(wrong, "push")
    assert REGISTRY_PASSWORD not in everything
    assert "s3cret-99" not in everything
    made = builds.kubectl.list("secrets", namespace=builds.namespace)
    assert [each["metadata"]["name"] for each in made] == ["login"]


@pytest.mark.alone
def test_an_operator_killed_during_the_push_pushes_once(builds: Builds) -> None:
    url = builds.project(
        f"""\
box: {builds.lab.registry}/box/debian:12
build:
  steps:
    - script: {{name: fill, code: 'head -c 50000000 /dev/urandom > /opt/made'}}
    - internal/docker-push: {{name: push, repository: {builds.lab.registry}/{builds.namespace}/app, tag: one}}
    - script: {{name: after, code: 'echo once >> /count; cat /count'}}
"""
    )
    builds.apply("b", url=url)
    builds.kubectl.wait_for(
        "build",
        "b",
        namespace=builds.namespace,
        until=lambda raw: raw.get("status", {}).get("currentStep") == "push",
    )
    name = operator_pod(builds)["metadata"]["name"]
    builds.kubectl("delete", "pod", name, "-n", NAMESPACE, "--grace-period=0", "--force")
    raw = builds.finish("b", timeout=120)

    assert raw["status"]["phase"] == "Succeeded", json.dumps(raw["status"], indent=1)
    assert [state for _, state, _ in steps(raw)] == ["Passed"] * 3
    assert builds.log(raw, "after") == "once\n"
    (commit,) = builds.kubectl.list("imagecommits", namespace=builds.namespace)
    assert commit["status"]["claim"]["attempt"] == 1
