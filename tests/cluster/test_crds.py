"""The definitions on a real API server: taken, explained, listed, and refusing what they should.

No operator takes part: what is created here carries the label of a finished Build, or is a dry run.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.cluster.conftest import eventually
from tests.kubectl import Kubectl, KubectlError

from sentinel.api.crd import crds

SOURCE = {"git": {"url": "https://git.example.com/acme/hello.git", "ref": "main"}}


def build(namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "sentinel.wercker.com/v1alpha1",
        "kind": "Build",
        "metadata": {
            "name": "hello",
            "namespace": namespace,
            "labels": {"sentinel.wercker.com/finished": "true"},
        },
        "spec": {"source": SOURCE, **spec},
    }


def image_commit(namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "sentinel.wercker.com/v1alpha1",
        "kind": "ImageCommit",
        "metadata": {"name": "hello-end", "namespace": namespace},
        "spec": {
            "nodeName": "nowhere",
            "podName": "p",
            "podUid": "u",
            "containerId": "containerd://c",
            "repository": "registry.example.com/acme/hello",
            "tags": ["b1", "green"],
            "deadline": "2026-11-23T12:00:00Z",
            **spec,
        },
    }


def refusal(kubectl: Kubectl, raw: dict[str, Any], *, dry: bool = True) -> str:
    """What the server says against `raw`; the test fails where it takes it."""
    mode = ("--dry-run=server",) if dry else ()
    with pytest.raises(KubectlError) as caught:
        kubectl("apply", "--validate=ignore", *mode, "-f", "-", stdin=json.dumps(raw))
    return str(caught.value)


def test_the_server_has_no_complaint_about_the_schemas(served: Kubectl) -> None:
    for crd in crds().values():
        live = served.get("crd", crd["metadata"]["name"])
        assert live is not None
        conditions = {c["type"]: (c["status"], c["reason"]) for c in live["status"]["conditions"]}
        assert conditions == {
            "NamesAccepted": ("True", "NoConflicts"),
            "Established": ("True", "InitialNamesAccepted"),
        }
        schemas = [version["schema"] for version in live["spec"]["versions"]]
        assert schemas == [version["schema"] for version in crd["spec"]["versions"]]


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("build", "One run of one pipeline of a project's wercker.yml."),
        ("build.spec", "The pipeline of wercker.yml to run. Default: build."),
        ("build.spec.source.git.secretRef", "kubernetes.io/basic-auth or kubernetes.io/ssh-auth"),
        ("build.spec.timeouts", "One step. Default: command-timeout of wercker.yml, else 25m."),
        ("build.status.conditions", "One word of the closed list, for machines."),
        ("imagecommit.spec", "Tags in the order they are written"),
    ],
)
def test_kubectl_explains_the_fields(served: Kubectl, field: str, says: str) -> None:
    # What it prints comes from the OpenAPI document, which follows the definitions some time later.
    eventually(lambda: says in explained(served, field))

    assert "<empty>" not in explained(served, field)


def test_a_build_with_every_field_is_taken(served: Kubectl, namespace: str) -> None:
    everything = build(
        namespace,
        pipeline="build",
        config="box: debian",
        deployTarget="production",
        application={"id": "1", "name": "hello", "owner": "acme", "url": "https://x"},
        startedBy="alice",
        env=[
            {"name": "A", "value": "1"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        envFrom=[{"prefix": "P_", "configMapRef": {"name": "m"}}],
        image={
            "repository": "r/x",
            "commit": "end",
            "pushSecretRef": {"name": "p"},
            "pullSecretRefs": [{"name": "p"}],
            "excludePaths": ["/root"],
        },
        timeouts={"pending": "15m", "build": "1h30m", "command": "90s", "noResponse": "1.5m"},
        retries={"infrastructure": 2, "afterStart": True},
        ttlAfterFinished="0s",
        cancel=False,
        pod={
            "nodeSelector": {"a": "b"},
            "tolerations": [{"key": "x", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {"anything": [1]}},
            "box": {"resources": {"limits": {"cpu": 1, "memory": "1Gi"}}},
            "services": {"redis": {"securityContext": {"runAsUser": 1}}},
        },
    )

    text = served(
        "apply",
        "--validate=strict",
        "--dry-run=server",
        "-o",
        "json",
        "-f",
        "-",
        stdin=json.dumps(everything),
    )

    assert json.loads(text)["spec"] == everything["spec"]


def explained(kubectl: Kubectl, field: str) -> str:
    """What `kubectl explain` prints, in one line; its error where there is none."""
    try:
        return " ".join(kubectl("explain", field).split())
    except KubectlError as error:
        return str(error)


def test_kubectl_names_a_misspelt_field(served: Kubectl, namespace: str) -> None:
    with pytest.raises(KubectlError, match=r'unknown field "spec\.pipelin"'):
        served("apply", "-f", "-", stdin=json.dumps(build(namespace, pipelin="x")))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (
            {"source": {}},
            "source must say where the project comes from: set exactly one of source.git, source.archive and "
            "source.upload",
        ),
        (
            {"source": {"git": {"url": "http://h/p.git"}, "archive": {"url": "http://h/p.tar"}}},
            "set exactly one of source.git, source.archive and source.upload",
        ),
        (
            {"source": {"upload": {"sha256": "a" * 64, "size": 1}}},
            "source.upload needs config",
        ),
        (
            {"source": {"upload": {"sha256": "a" * 64, "size": 1 << 30}}, "config": "box: x"},
            "spec.source.upload.size: Invalid value",
        ),
        (
            {"source": {"archive": {"url": "http://h/p.tar", "sha256": "A" * 64}}},
            "spec.source.archive.sha256: Invalid value",
        ),
        ({"timeouts": {"build": "2 hours"}}, "spec.timeouts.build: Invalid value"),
        ({"image": {"commit": "sometimes"}}, 'Unsupported value: "sometimes": supported values'),
        ({"env": [{"name": "1A", "value": ""}]}, "spec.env[0].name: Invalid value"),
        (
            {
                "env": [
                    {
                        "name": "A",
                        "value": "x",
                        "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}},
                    }
                ]
            },
            "a variable has value or valueFrom, not both",
        ),
        (
            {"env": [{"name": "A", "valueFrom": {}}]},
            "set exactly one of secretKeyRef and configMapKeyRef",
        ),
        ({"envFrom": [{"prefix": "P_"}]}, "set exactly one of secretRef and configMapRef"),
        ({"retries": {"infrastructure": 9}}, "should be less than or equal to 5"),
    ],
)
def test_a_bad_spec_is_refused_with_its_place(
    served: Kubectl, namespace: str, spec: dict[str, Any], says: str
) -> None:
    assert says in refusal(served, build(namespace, **spec))


def test_only_cancel_and_ttl_of_a_build_may_change(served: Kubectl, namespace: str) -> None:
    first = {
        "pipeline": "build",
        "env": [{"name": "A", "value": "1"}],
        "pod": {"affinity": {"a": 1}},
    }
    served.apply(build(namespace, **first))

    for field, value in {
        "pipeline": "deploy",
        "env": [{"name": "A", "value": "2"}],
        "config": "box: x",
        "pod": {"affinity": {"a": 2}},
        "source": {"git": {**SOURCE["git"], "ref": "other"}},
    }.items():
        said = refusal(served, build(namespace, **{**first, field: value}), dry=False)
        assert f"{field} cannot be changed once the Build exists: make a new Build" in said
    removed = {"pipeline": "build", "env": first["env"]}
    assert "pod cannot be changed" in refusal(served, build(namespace, **removed), dry=False)

    changed = {**first, "cancel": True, "ttlAfterFinished": "1h"}
    served.apply(build(namespace, **changed))
    live = served.get("build", "hello", namespace=namespace)
    assert live is not None
    assert live["spec"] == {"source": SOURCE, **changed}


def test_an_imagecommit_never_changes(served: Kubectl, namespace: str) -> None:
    served.apply(image_commit(namespace))

    said = refusal(
        served, image_commit(namespace, repository="registry.example.com/other"), dry=False
    )

    assert "an ImageCommit cannot be changed" in said
    assert "spec.tags[0]: Invalid value" in refusal(
        served, image_commit(namespace, tags=["no/tag"])
    )


def test_builds_are_listed_as_people_want_to_see_them(served: Kubectl, namespace: str) -> None:
    served.apply(build(namespace))
    condition = {
        "type": "Succeeded",
        "status": "False",
        "reason": "ExitCode",
        "message": "step test ended with 3",
        "lastTransitionTime": "2026-11-23T09:00:00Z",
        "observedGeneration": 1,
    }
    status = {
        "phase": "Failed",
        "progress": "4/9",
        "currentStep": "test",
        "source": {"commit": "c0ffee" + "0" * 34, "shortCommit": "c0ffee0"},
        "conditions": [condition],
        "image": {"repository": "r/x", "digest": "sha256:abc"},
    }
    where = ("-n", namespace)
    served(
        "patch", "build", "hello", *where, "--subresource=status", "--type=merge", "-p",
        json.dumps({"status": status}),
    )  # fmt: skip

    narrow = [line.split() for line in served("get", "bld", *where).splitlines()]
    wide = [line.split() for line in served("get", "ci", *where, "-o", "wide").splitlines()]

    head = ["NAME", "PHASE", "PROGRESS", "STEP", "COMMIT", "STARTED", "FINISHED"]
    assert narrow == [head, ["hello", "Failed", "4/9", "test", "c0ffee0"]]
    assert wide[0] == [*head, "REASON", "IMAGE"]
    assert wide[1][-2:] == ["ExitCode", "sha256:abc"]


def test_the_status_cannot_be_written_with_the_spec(served: Kubectl, namespace: str) -> None:
    served.apply({**build(namespace), "status": {"phase": "Succeeded"}})

    live = served.get("build", "hello", namespace=namespace)
    assert live is not None
    assert "status" not in live
