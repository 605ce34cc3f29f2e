"""internal/docker-build over a BuildKit, and what is done with its images."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.conftest import Builds, steps
from tests.cluster.test_docker_push import KINDS, image_config, registry
from tests.cluster.test_recovery import operator_pod
from tests.install import NAMESPACE, install
from tests.kubectl import Kubectl
from tests.lab.buildkit import buildkit
from tests.lab.state import Lab

BUILDERS = "app.kubernetes.io/component=image-build"
TLS_SECRET = "buildkit-client"
SECRET = "word-4711-of-the-registry"


@pytest.fixture(scope="module")
def engine(sentinel: Lab, kubectl: Kubectl) -> Iterator[None]:
    """An operator with a BuildKit, until the module's last test has ended."""
    with buildkit(sentinel) as running:
        kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": TLS_SECRET, "namespace": NAMESPACE},
                "stringData": running.tls,
            }
        )
        settings = {
            "engine.buildkit.address": running.address,
            "engine.buildkit.tlsSecret": TLS_SECRET,
            "engine.buildkit.image": running.image,
            "engine.containers": "true",
        }
        try:
            install(sentinel, quiet=True, more=settings)
            yield
        finally:
            kubectl("delete", "secret", TLS_SECRET, "-n", NAMESPACE)


@pytest.mark.usefixtures("engine")
def test_an_image_is_built_run_and_pushed(builds: Builds) -> None:
    box = f"{builds.lab.registry}/box/busybox:1"
    yml = f"""\
box: {builds.lab.registry}/box/debian:12
build:
  steps:
    - script: {{name: prepare, code: 'export WORD=made PORT=8099; echo "in the box" > docker/file'}}
    - internal/docker-build:
        name: build
        image-name: app/$WORD
        context: docker
        dockerfile: Dockerfile.app
        build-args: WORD=$WORD TOKEN=$TOKEN
        labels: com.example.word=$WORD
        extra-hosts: somewhere:10.1.2.3
        no-cache: true
        squash: true
        registry-auth-config: |
          {{"registry.example.com": {{"username": "ci", "password": "$TOKEN"}}}}
    - internal/docker-run:
        name: web
        image: app/$WORD
        cmd: busybox httpd -f -p $PORT -h /www
        env: WORD=$WORD
        working-dir: /www
        ports: "8099"
    - script:
        name: request
        code: |
          until exec 3<>/dev/tcp/web/$PORT; do sleep 0.1; done 2>/dev/null
          printf 'GET /file HTTP/1.0\\r\\n\\r\\n' >&3
          cat <&3
    - internal/docker-kill: {{name: web}}
    - script: {{name: closed, code: '! exec 3<>/dev/tcp/web/$PORT'}}
    - internal/docker-push:
        name: push
        image-name: app/$WORD
        repository: {builds.lab.registry}/{builds.namespace}/app
        tag: one $WORD
        cmd: not used
    - internal/store-container: {{name: store}}
"""
    dockerfile = f"""\
# syntax=registry.example.com/somebody/frontend:1
FROM {box}
ARG WORD
ARG TOKEN
COPY file /www/file
RUN --mount=type=cache,id=x,target=/cache echo "the word is $WORD" && grep somewhere /etc/hosts && cat /www/file
RUN test "$TOKEN" = {SECRET} && echo "the token is $TOKEN"
CMD ["cat", "/www/file"]
"""
    url = builds.project(
        yml, **{"docker/Dockerfile.app": dockerfile, "docker/other": uuid.uuid4().hex}
    )
    builds.secret("token", value=SECRET)
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "value"}}}]

    raw = builds.run(url=url, env=env)

    log = builds.log(raw, "build")
    assert raw["status"]["phase"] == "Succeeded", json.dumps(raw["status"], indent=1) + log
    assert [state for _, state, _ in steps(raw)] == ["Passed"] * 8
    assert "the word is made" in log
    assert "10.1.2.3" in log
    assert "in the box" in log
    assert "squash is ignored" in log
    assert "build-args has a value that comes from a Secret" in log
    assert "the token is" in log
    assert SECRET not in log
    assert "in the box" in builds.log(raw, "request")
    assert "ports is not needed" in builds.log(raw, "web")
    name = f"{builds.namespace}/app"
    config = image_config(builds, name, "one")
    assert config == image_config(builds, name, "made")
    assert config["config"]["Cmd"] == ["cat", "/www/file"]
    assert config["config"]["Labels"]["com.example.word"] == "made"
    push = builds.log(raw, "push")
    assert push.startswith(
        "not used for an image of internal/docker-build: cmd\n"
        f"pushing image app/made to {builds.lab.registry}/{name}: one, made\n"
    )
    stored = builds.log(raw, "store").splitlines()[0].removeprefix("storing the box as ")
    place, _, tag = stored.removeprefix(f"{builds.lab.registry}/").rpartition(":")
    assert image_config(builds, place, tag)["rootfs"]
    # The image that was pushed is the one that was built, and nothing else is left of the build.
    digest = push.rstrip().rpartition(" ")[2]
    assert log.rstrip().endswith(digest)
    assert registry(builds, f"{name}/manifests/{digest}", accept=KINDS)["config"]
    assert _builder(builds, raw) is None
    with pytest.raises(Exception, match="NoSuchKey"):
        builds.stored(raw, f"step/{raw['status']['steps'][1]['id']}/context.tar.gz")


@pytest.mark.usefixtures("engine")
def test_an_image_build_goes_on_while_the_operator_is_replaced(builds: Builds) -> None:
    yml = f"""\
box: {builds.lab.registry}/box/debian:12
build:
  steps:
    - internal/docker-build: {{name: build, image-name: app, no-cache: true, build-args: TOKEN=$TOKEN}}
"""
    dockerfile = f"""\
FROM {builds.lab.registry}/box/busybox:1
ARG TOKEN
RUN for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do echo "tick $i."; sleep 1; done
"""
    builds.secret("token", value=SECRET)
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "value"}}}]
    builds.apply("b", url=builds.project(yml, Dockerfile=dockerfile), env=env)
    started = builds.kubectl.wait_for(
        "build", "b", namespace=builds.namespace, until=lambda raw: _builder(builds, raw)
    )
    pod = _builder(builds, started)
    builds.kubectl.wait_for(
        "pod",
        pod["metadata"]["name"],
        namespace=NAMESPACE,
        until=lambda raw: raw["status"].get("phase") == "Running",
    )
    everything = (
        pod,
        started,
        builds.pods("b"),
        builds.kubectl.list("events", namespace=NAMESPACE),
    )
    assert SECRET not in json.dumps(everything)

    name = operator_pod(builds)["metadata"]["name"]
    builds.kubectl("delete", "pod", name, "-n", NAMESPACE, "--grace-period=0", "--force")

    raw = builds.finish("b", timeout=150)
    log = builds.log(raw, "build")
    assert raw["status"]["phase"] == "Succeeded", json.dumps(raw["status"], indent=1) + log
    assert [log.count(f" tick {n}.\n") for n in range(1, 16)] == [1] * 15
    assert _builder(builds, raw) is None


def _builder(builds: Builds, raw: dict[str, Any]) -> Any:
    """The pod that builds an image for that Build, None without one or once it is being deleted."""
    found = builds.kubectl.list(
        "pods",
        namespace=NAMESPACE,
        selector=f"{BUILDERS},sentinel.wercker.com/uid={raw['metadata']['uid']}",
    )
    left = [each for each in found if "deletionTimestamp" not in each["metadata"]]
    return left[0] if left else None


@pytest.mark.usefixtures("engine")
def test_a_dockerfile_that_fails_fails_its_step(builds: Builds) -> None:
    yml = f"""\
box: {builds.lab.registry}/box/debian:12
build:
  steps:
    - internal/docker-build: {{name: build, image-name: app}}
    - internal/docker-push: {{name: push, image-name: app, repository: {builds.lab.registry}/{builds.namespace}/app}}
"""
    dockerfile = f"FROM {builds.lab.registry}/box/busybox:1\nRUN echo about to fail; exit 3\n"

    raw = builds.run(url=builds.project(yml, Dockerfile=dockerfile))

    assert raw["status"]["phase"] == "Failed"
    assert steps(raw) == [("build", "Failed", "ExitCode"), ("push", "Skipped", "Skipped")]
    step = raw["status"]["steps"][0]
    assert step["exitCode"] == 1
    assert "exit code: 3" in step["message"]
    log = builds.log(raw, "build")
    assert "about to fail" in log
    assert ">>> RUN echo about to fail; exit 3" in log
