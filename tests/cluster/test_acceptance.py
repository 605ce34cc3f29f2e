"""What a Build's spec may say on a real cluster: the rest ends it before a pod exists, and names the field."""

from __future__ import annotations

from typing import Any

from tests.cluster.conftest import Builds
from tests.kubectl import condition

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "tagged": (
        {"image": {"repository": "registry.lab:5000/{namespace}/app:v1"}},
        "spec.image.repository cannot be used",
    ),
    "foreign": (
        {"image": {"repository": "registry.lab:5000/builds/other/app"}},
        "may not push to registry.lab:5000/builds/other/app",
    ),
    "excluded": (
        {"image": {"excludePaths": ["/opt/c/*"]}},
        "spec.image.excludePaths: '/opt/c/*' cannot be used",
    ),
    "limit": (
        {"pod": {"box": {"resources": {"limit": {"memory": "1Gi"}}}}},
        "spec.pod.box.resources.limit: there is no such field; did you mean limits?",
    ),
    "user": (
        {"pod": {"box": {"securityContext": {"runAsUsr": 1000}}}},
        "spec.pod.box.securityContext.runAsUsr: there is no such field; did you mean runAsUser?",
    ),
    "affinity": (
        {"pod": {"afinity": {}}},
        "spec.pod.afinity: there is no such field; did you mean affinity?",
    ),
    "privileged": (
        {"pod": {"box": {"securityContext": {"privileged": True}}}},
        "spec.pod.box.securityContext.privileged: only false is allowed in builds",
    ),
    "account": (
        {"pod": {"serviceAccountName": "admin"}},
        "'admin' is not allowed by the operator's setting pods.serviceAccounts (nobody)",
    ),
    "endless": (
        {"timeouts": {"build": "1000000h"}},
        "spec.timeouts.build: 1000000h is longer than 168h",
    ),
}


def filled(value: Any, namespace: str) -> Any:
    if isinstance(value, dict):
        return {key: filled(each, namespace) for key, each in value.items()}
    return value.replace("{namespace}", namespace) if isinstance(value, str) else value


def test_what_a_spec_may_not_say_ends_the_build_before_its_pod(builds: Builds) -> None:
    url = builds.script("true")
    for name, (spec, _) in REFUSED.items():
        builds.apply(name, url=url, **filled(spec, builds.namespace))
    for name, (_, message) in REFUSED.items():
        raw = builds.finish(name)
        succeeded = condition(raw, "Succeeded")
        assert (raw["status"]["phase"], succeeded["reason"]) == ("Failed", "InvalidSpec"), raw
        assert message in succeeded["message"]
        assert builds.pods(name) == []


def test_a_spec_as_deep_as_the_server_takes_it_stops_no_other_build(builds: Builds) -> None:
    """Python's json gives up at 1000 levels: one such Build ended the watch of all of them."""
    deep = '{"x":' * 9000 + "1" + "}" * 9000
    url, namespace = builds.script("true"), builds.namespace
    text = (
        '{"apiVersion": "sentinel.wercker.com/v1alpha1", "kind": "Build", "metadata": {"name": "deeper"}, "spec": '
        f'{{"source": {{"git": {{"url": "{url}"}}}}, "pod": {{"affinity": {deep}}}}}}}'
    )
    builds.kubectl("create", "-n", namespace, "-f", "-", stdin=text)
    try:
        builds.kubectl(
            "wait", "build/deeper", "-n", namespace, "--for=condition=Finished", "--timeout=240s"
        )
        path = "jsonpath={.status.conditions[?(@.type=='Succeeded')].message}"
        message = builds.kubectl("get", "build", "deeper", "-n", namespace, "-o", path)
        assert (
            message
            == "the Build's spec is nested more than 32 levels deep, which no field of it is"
        )
        assert builds.run("after", url=url)["status"]["phase"] == "Succeeded"
    finally:
        builds.kubectl("delete", "build", "deeper", "-n", namespace, "--wait")


READ_ONLY = """\
echo x > new && echo x > "$WERCKER_OUTPUT_DIR/o" && echo x > "$WERCKER_STEP_TEMP/t"
echo x > "$WERCKER_REPORT_ARTIFACTS_DIR/a" && mktemp >/dev/null
! touch /usr/x 2>/dev/null && id -u
"""


def test_a_root_box_with_a_read_only_root_file_system_has_places_to_write(builds: Builds) -> None:
    raw = builds.run(
        url=builds.script(READ_ONLY, name="write"),
        pod={"box": {"securityContext": {"readOnlyRootFilesystem": True}}},
    )

    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    assert builds.log(raw, "write") == "0\n"


def test_a_name_that_is_not_a_repository_is_made_valid_and_reported(builds: Builds) -> None:
    raw = builds.run(
        url=builds.script("true"), image={"commit": "end"}, application={"name": "My App"}
    )

    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    repository = raw["status"]["image"]["repository"]
    assert repository.startswith(f"{builds.lab.registry}/builds/{builds.namespace}/my-app-")
    assert "'My App' is not a valid repository name" in condition(raw, "Accepted")["message"]
