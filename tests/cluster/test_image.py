"""What a build's image is: pushed under the right tags, runnable, with the project in it and no secret."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from tests.cluster.conftest import Builds
from tests.kubectl import condition

SECRET = "v3ry-s3cret-value"


def registry(builds: Builds, path: str, *, accept: str = "") -> Any:
    """An answer of the lab's registry, from its JSON."""
    request = urllib.request.Request(f"http://{builds.lab.registry}/v2/{path}")
    if accept:
        request.add_header("Accept", accept)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def repository(raw: dict[str, Any]) -> str:
    return str(raw["status"]["image"]["repository"]).partition("/")[2]


def config_of(builds: Builds, raw: dict[str, Any]) -> dict[str, Any]:
    """The pushed image's configuration."""
    name, digest = repository(raw), raw["status"]["image"]["digest"]
    kinds = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    manifest = registry(builds, f"{name}/manifests/{digest}", accept=kinds)
    config: dict[str, Any] = registry(builds, f"{name}/blobs/{manifest['config']['digest']}")
    return config


def run_image(builds: Builds, raw: dict[str, Any], command: str) -> str:
    """Output of a shell command in a pod of the pushed image, stdout and stderr in one stream.

    A runtime promises no order between the two, so the shell joins them.
    """
    image = raw["status"]["image"]
    container = {
        "name": "c",
        "image": f"{image['repository']}@{image['digest']}",
        "command": ["sh", "-c", f"exec 2>&1; {command}"],
    }
    builds.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "image", "namespace": builds.namespace},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
    )
    builds.kubectl.wait_for(
        "pod",
        "image",
        namespace=builds.namespace,
        until=lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"),
    )
    return builds.kubectl("logs", "image", "-n", builds.namespace)


def test_a_green_build_s_box_runs_as_an_image_without_its_secrets(builds: Builds) -> None:
    builds.secret("tokens", api=SECRET)
    token = {"secretKeyRef": {"name": "tokens", "key": "api"}}
    raw = builds.run(
        url=builds.script('echo "made by $WERCKER" > /made; test -n "$TOKEN"'),
        env=[{"name": "TOKEN", "valueFrom": token}],
        image={"commit": "end"},
    )
    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    uid = raw["metadata"]["uid"]
    assert raw["status"]["image"]["tags"] == [uid, "green", "latest"]
    tags = registry(builds, f"{repository(raw)}/tags/list")["tags"]
    assert set(tags) == {uid, "green", "latest"}

    config = config_of(builds, raw)
    text = json.dumps(config)
    assert SECRET not in text
    assert "boxkit" not in text
    assert "KUBERNETES" not in text
    labels = config["config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == raw["status"]["source"]["commit"]
    assert labels["com.wercker.result"] == "passed"

    said = run_image(
        builds,
        raw,
        f"cat /made; ls /pipeline /run/sentinel; grep -rl {SECRET} / --include=* "
        "--exclude-dir=proc --exclude-dir=sys 2>/dev/null; echo end",
    )
    assert said.startswith("made by true\n")
    assert {"cache", "output", "source"} <= set(said.split())
    assert "journal" not in said
    assert said.rstrip().endswith("end")
    assert "/pipeline/" not in said


def test_a_red_build_s_box_is_pushed_as_red_and_moves_nothing_else(builds: Builds) -> None:
    url = builds.script("echo broken > /state; exit 1")
    raw = builds.run(url=url, image={"commit": "end"})
    assert raw["status"]["phase"] == "Failed"
    assert raw["status"]["image"]["tags"] == [raw["metadata"]["uid"], "red"]
    assert run_image(builds, raw, "cat /state") == "broken\n"


def test_a_push_secret_is_read_by_the_agent_and_by_its_name_only(builds: Builds) -> None:
    auths = {"auths": {builds.lab.registry: {"username": "somebody", "password": "something"}}}
    builds.secret(
        "registry",
        type_="kubernetes.io/dockerconfigjson",
        **{".dockerconfigjson": json.dumps(auths)},
    )
    raw = builds.run(
        url=builds.script("true"), image={"commit": "end", "pushSecretRef": {"name": "registry"}}
    )
    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    (role,) = builds.kubectl.list("roles", namespace=builds.namespace)
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["registry"],
            "verbs": ["get"],
        }
    ]
    (commit,) = builds.kubectl.list("imagecommits", namespace=builds.namespace)
    owners = [(each["kind"], each["uid"]) for each in role["metadata"]["ownerReferences"]]
    assert owners == [("ImageCommit", commit["metadata"]["uid"])]
    name = commit["metadata"]["name"]
    builds.kubectl("delete", "imagecommit", name, "-n", builds.namespace)
    # The garbage collector deletes what the commit owned, in any order, and when it gets round to it.
    owned = [f"{kind}/{role['metadata']['name']}" for kind in ("role", "rolebinding")]
    builds.kubectl("wait", "--for=delete", *owned, "-n", builds.namespace, "--timeout=110s")
    for kind in ("roles", "rolebindings"):
        assert builds.kubectl.list(kind, namespace=builds.namespace) == []


def test_what_is_not_in_the_image_is_reported_with_counts(builds: Builds) -> None:
    code = "mkdir -p /keep /opt/c && echo x > /keep/.wh.gone && echo secret > /opt/c/token && mknod /keep/null c 1 3"
    image = {"commit": "end", "excludePaths": ["/opt/c", "/opt/nothing"]}
    raw = builds.run(url=builds.script(code), image=image)
    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    (commit,) = builds.kubectl.list("imagecommits", namespace=builds.namespace)
    status = commit["status"]
    assert status["excluded"] == [
        {"path": "/opt/c", "entries": 2},
        {"path": "/opt/nothing", "entries": 0},
    ]
    assert status["leftOut"] == [
        "names beginning with .wh., which in an image layer delete a file of the base image: 1, the first at "
        "'/keep/.wh.gone'",
        "device nodes: 1, the first at '/keep/null'",
    ]
    deadline = time.monotonic() + 60
    events = ""
    # Nothing waits for an event to be written, the build's end neither.
    while "not in the image: names beginning with .wh." not in events:
        assert time.monotonic() < deadline, events
        events = builds.kubectl("describe", "build", "b", "-n", builds.namespace)
    assert "/opt/c (2 entries), /opt/nothing (matched nothing)" in events
    assert run_image(builds, raw, "ls /opt/c /keep; echo end").endswith("end\n")


def test_a_box_too_big_for_an_image_is_the_projects_failure(builds: Builds) -> None:
    """100 GiB of holes: nothing is read, and the message says which file it was."""
    raw = builds.run(url=builds.script("truncate -s 100G /sparse"), image={"commit": "end"})
    assert (raw["status"]["phase"], condition(raw, "Succeeded")["reason"]) == (
        "Failed",
        "ImageTooLarge",
    )
    message = condition(raw, "Succeeded")["message"]
    assert "/sparse', a file of 100 GiB" in message
    assert "image.excludePaths" in message


def test_a_push_secret_that_is_missing_stops_the_build_before_its_pod(builds: Builds) -> None:
    raw = builds.run(
        url=builds.script("true"), image={"commit": "end", "pushSecretRef": {"name": "nope"}}
    )
    assert raw["status"]["phase"] == "Failed"
    assert condition(raw, "Succeeded")["reason"] == "SecretNotFound"
    assert builds.pods("b") == []


def test_a_registry_that_is_away_fails_a_green_build_with_its_name(builds: Builds) -> None:
    raw = builds.run(
        url=builds.script("true"),
        image={"commit": "end", "repository": "registry.lab:1/team/app"},
    )
    assert raw["status"]["phase"] == "Failed"
    assert condition(raw, "Succeeded")["reason"] == "PushFailed"
    assert "registry.lab:1/team/app" in condition(raw, "Succeeded")["message"]
    assert raw["status"]["steps"][0]["state"] == "Passed"
