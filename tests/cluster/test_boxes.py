"""Boxes of every kind: another user, nothing but a shell, not even that, odd entrypoints, private registries."""

from __future__ import annotations

import json

from tests.cluster.conftest import REGISTRY_PASSWORD, Builds, eventually, steps
from tests.install import PRIVATE_REGISTRY
from tests.kubectl import condition

USER_BOX = """\
box: {registry}/box/user:1
services: [{{id: {registry}/box/busybox:1, name: my_db, cmd: sleep 1000}}]
build:
  steps:
    - script:
        name: who
        code: |
          id -u; id -g
          echo x > "$WERCKER_OUTPUT_DIR/x"; echo x > "$WERCKER_STEP_TEMP/x"; setMessage "fine"
          pwd; cat README.md
    - script: {{name: next, cwd: .., code: "echo $0; ls output"}}
"""
ROOT_BOX = """\
box: {{id: {registry}/box/user:1, user: "0", cmd: /bin/sh}}
build:
  steps:
    - script: {{name: who, code: "id -u"}}
"""
OTHER_BOX = """\
box: {{id: {registry}/box/debian:12, user: "$APP:3000", entrypoint: env GREETING=hello}}
build:
  base-path: /go/src/x
  steps:
    - script: {{name: who, code: 'id -u; id -g; echo "$GREETING"; pwd; touch y'}}
"""
DASH_BOX = """\
box: {registry}/box/dash:1
build:
  steps:
    - script:
        name: shell
        some-key: value
        code: |
          if [ -e /tmp ] || command -v ls; then exit 9; fi
          info "$(get_option some-key)"
          export LEFT="$WERCKER_ROOT"
    - script:
        name: next
        code: |
          read -r line < README.md; echo "$line $LEFT"
          echo kept > "$WERCKER_OUTPUT_DIR/kept"
  after-steps:
    - script: {{name: after, code: 'echo "$WERCKER_RESULT"'}}
"""


def test_boxes_of_other_users_and_with_nothing_but_a_shell(builds: Builds) -> None:
    registry = builds.lab.registry
    texts = {"user": USER_BOX, "root": ROOT_BOX, "other": OTHER_BOX, "dash": DASH_BOX}
    for name, text in texts.items():
        builds.apply(
            name,
            url=builds.project(text.format(registry=registry)),
            env=[{"name": "APP", "value": "2000"}],
            image={
                "commit": "end" if name == "user" else "never",
                "repository": f"{registry}/test/{builds.namespace}",
            },
        )
    raw = {name: builds.finish(name) for name in texts}
    for each in raw.values():
        assert each["status"]["phase"] == "Succeeded", each["status"]
    assert builds.log(raw["user"], "who") == "1000\n1000\n/pipeline/source\nA project.\n"
    assert builds.log(raw["user"], "next") == "/bin/sh\nx\n"
    accepted = condition(raw["user"], "Accepted")["message"]
    assert "runs as user 1000:1000: /pipeline, /report and base-path are volumes" in accepted
    assert "service my_db is not a DNS name" in accepted
    eventually(lambda: "Notice" in events(builds, "user"))
    assert builds.log(raw["root"], "who") == "0\n"
    assert builds.log(raw["other"], "who") == "2000\n3000\nhello\n/go/src/x\n"
    assert builds.log(raw["dash"], "shell") == "\x1b[1;34mvalue\x1b[m\n"
    assert builds.log(raw["dash"], "next") == "A project. /pipeline/source\n"
    assert builds.log(raw["dash"], "after") == "passed\n"


def events(builds: Builds, name: str) -> str:
    """What `kubectl describe` shows of a Build's events, which are written beside its status."""
    described = builds.kubectl("describe", "build", name, "-n", builds.namespace)
    return described.partition("Events:")[2]


NO_SHELL = {
    "none": ("{registry}/box/shell-less:1", "no shell"),
    "ends": (
        "{{id: {registry}/box/debian:12, entrypoint: sh -c 'exit 4' --}}",
        "the entrypoint sh -c exit 4 -- ended with 4 and did not run",
    ),
    "nowhere": (
        "{{id: {registry}/box/debian:12, entrypoint: /nowhere/tini}}",
        '"/nowhere/tini" is not',
    ),
}


def test_a_box_whose_shell_cannot_be_started_is_reported(builds: Builds) -> None:
    for name, (box, _) in NO_SHELL.items():
        url = builds.script("true", name="one", box=box.format(registry=builds.lab.registry))
        builds.apply(name, url=url)
    for name, (_, message) in NO_SHELL.items():
        raw = builds.finish(name)
        assert raw["status"]["phase"] == "Failed"
        assert condition(raw, "Succeeded")["reason"] == "ShellMissing"
        assert message in condition(raw, "Succeeded")["message"]
        assert steps(raw) == [("one", "Failed", "ShellMissing")]


def test_a_user_by_name_is_refused_before_there_is_a_pod(builds: Builds) -> None:
    box = f"{{id: {builds.lab.registry}/box/debian:12, user: app}}"
    raw = builds.run(url=builds.script("true", box=box))
    assert condition(raw, "Accepted")["reason"] == "ConfigInvalid"
    assert "`id -u app`" in condition(raw, "Accepted")["message"]
    assert builds.pods("b") == []


def test_a_login_in_wercker_yml_pulls_from_a_private_registry_and_leaves_no_trace(
    builds: Builds, private_registry: str
) -> None:
    builds.secret("registry", password=REGISTRY_PASSWORD)
    text = (
        f"box: {{id: {private_registry}, tag: 1, registry: 'https://{PRIVATE_REGISTRY}/v2/', username: $USER_NAME, "
        "password: $PASSWORD}\n"
        "build:\n  steps:\n    - script: {name: wait, code: 'echo $PASSWORD; until [ -e /go ]; do sleep 0.1; done'}\n"
    )
    url = builds.project(text)
    user = {"name": "USER_NAME", "value": "ci"}
    secret = {"secretKeyRef": {"name": "registry", "key": "password"}}
    builds.apply(
        "right",
        url=url,
        env=[user, {"name": "PASSWORD", "valueFrom": secret}],
        image={"repository": f"{builds.lab.registry}/test/{builds.namespace}"},
    )
    builds.apply("wrong", url=url, env=[user, {"name": "PASSWORD", "value": "no"}])
    builds.apply("unset", url=url, env=[user])
    builds.kubectl.wait_for(
        "build",
        "right",
        namespace=builds.namespace,
        until=lambda raw: raw.get("status", {}).get("currentStep") == "wait",
    )
    (pod,) = builds.pods("right")
    uid = builds.get("right")["metadata"]["uid"]
    name = f"right-{uid[:8]}-pull"
    assert pod["spec"]["imagePullSecrets"] == [{"name": name}]
    image = next(c["image"] for c in pod["spec"]["containers"] if c["name"] == "box")
    assert image.startswith(f"{PRIVATE_REGISTRY}/{private_registry}@sha256:")
    made = builds.kubectl.get("secret", name, namespace=builds.namespace)
    assert made is not None
    assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == [uid]
    assert REGISTRY_PASSWORD not in json.dumps([pod, builds.get("right")])
    builds.kubectl(
        "exec", "-n", builds.namespace, pod["metadata"]["name"], "-c", "box", "--", "touch", "/go"
    )
    raw = builds.finish("right")
    # The agent has read the base image with the same login.
    assert raw["status"]["phase"] == "Succeeded", raw["status"]["conditions"]
    assert raw["status"]["image"]["digest"].startswith("sha256:")
    assert builds.log(raw, "wait") == "****\n"
    assert builds.kubectl.get("secret", name, namespace=builds.namespace) is None
    raw = builds.finish("wrong")
    assert condition(raw, "Accepted")["reason"] == "ImageAuthFailed"
    assert builds.pods("wrong") == []
    raw = builds.finish("unset")
    assert condition(raw, "Accepted")["reason"] == "ImageAuthFailed"
    assert "$PASSWORD has no value" in condition(raw, "Accepted")["message"]
