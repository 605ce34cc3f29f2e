"""The pod, compared whole, and what the Build may say about it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.plan.examples import BOX, DIGEST, SOURCE, UID, YML, build, plan, settings

from sentinel.plan.codec import decode
from sentinel.plan.model import PlanCache
from sentinel.plan.names import PLAN_ANNOTATION
from sentinel.plan.pod import make_pod, sign_pod
from sentinel.plan.seal import PlanKeys, open_plan, pod_imprint
from sentinel.settings import NetworkSettings, SourceSettings
from sentinel.settings.pods import PodDefaults, PodPolicy

FETCH = {
    "url": "https://git.example.com/acme/hello.git",
    "commit": SOURCE.commit,
    "ref": "main",
    "branch": "main",
    "tag": "",
    "submodules": False,
    "ignoreFile": ".werckerignore",
    "dest": "/mnt/wercker/source",
    "kit": "/run/sentinel/kit",
    "secretDir": "",
    "maxBytes": 10 * 1024**3,
    "network": NetworkSettings().policy().to_json(),
}

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "hello-42-6f0d3a52-1",
        "namespace": "team",
        "labels": {
            "app.kubernetes.io/managed-by": "sentinel",
            "sentinel.wercker.com/build": "hello-42",
            "sentinel.wercker.com/uid": UID,
            "sentinel.wercker.com/attempt": "1",
        },
        "annotations": {},
        "ownerReferences": [
            {
                "apiVersion": "sentinel.wercker.com/v1alpha1",
                "kind": "Build",
                "name": "hello-42",
                "uid": UID,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    },
    "spec": {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "activeDeadlineSeconds": 15 * 60 + 2 * 3600 + 30 * 60,
        "terminationGracePeriodSeconds": 30,
        "volumes": [
            {"name": "wercker", "emptyDir": {}},
            {"name": "kit", "emptyDir": {}},
            {"name": "session", "emptyDir": {}},
        ],
        "initContainers": [
            {
                "name": "source",
                "image": "registry.example.com/sentinel:1",
                "imagePullPolicy": "IfNotPresent",
                "command": ["/opt/sentinel/bin/python3", "-I", "-m", "sentinel.source.fetch"],
                "env": [{"name": "SENTINEL_FETCH", "value": json.dumps(FETCH, sort_keys=True)}],
                "volumeMounts": [
                    {"name": "wercker", "mountPath": "/mnt/wercker"},
                    {"name": "kit", "mountPath": "/run/sentinel/kit"},
                ],
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "resources": {
                    "requests": {"cpu": "50m", "memory": "64Mi"},
                    "limits": {"cpu": "1", "memory": "1Gi"},
                },
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                    "runAsGroup": 65532,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            }
        ],
        "containers": [
            {
                "name": "box",
                "image": f"docker.io/library/debian@{DIGEST}",
                "imagePullPolicy": "IfNotPresent",
                "command": ["/run/sentinel/kit/boxkit", "init"],
                "volumeMounts": [
                    {"name": "wercker", "mountPath": "/mnt/wercker", "readOnly": True},
                    {"name": "kit", "mountPath": "/run/sentinel/kit", "readOnly": True},
                    {"name": "session", "mountPath": "/run/sentinel/session"},
                ],
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            },
            {
                "name": "service-1-redis",
                "image": f"docker.io/library/redis@{DIGEST}",
                "imagePullPolicy": "IfNotPresent",
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
            },
        ],
        "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["redis"]}],
    },
}


def test_the_pod_of_a_build_whole() -> None:
    the_plan = plan()

    assert make_pod(the_plan, build=build(), settings=settings()) == POD


def test_the_signed_plan_is_added_to_the_pod() -> None:
    the_plan, keys = plan(), PlanKeys.generate()
    pod = make_pod(the_plan, build=build(), settings=settings())

    signed = sign_pod(pod, the_plan, keys=keys)

    text = signed["metadata"]["annotations"].pop(PLAN_ANNOTATION)
    assert signed == pod
    payload, imprint = open_plan(text, identity=the_plan.id, keys=keys)
    assert decode(payload) == the_plan
    assert imprint == pod_imprint(pod["spec"], the_plan)


def test_the_operators_authorities_and_bounds_of_sources_reach_the_fetcher() -> None:
    source = SourceSettings.model_construct(ca="-----BEGIN CERTIFICATE-----\n$(x)\n", max_gib=3)
    pod = make_pod(plan(), build=build(), settings=settings(source=source))
    (variable,) = pod["spec"]["initContainers"][0]["env"]
    fetch = json.loads(variable["value"].replace("$$", "$"))
    assert fetch == {**FETCH, "ca": source.ca, "maxBytes": 3 * 1024**3}


def test_git_credentials_are_mounted_in_the_init_container_only() -> None:
    pod = make_pod(plan(source=replace(SOURCE, secret="git")), build=build(), settings=settings())

    mounts = {
        container["name"]: container.get("volumeMounts", [])
        for container in (*pod["spec"]["initContainers"], *pod["spec"]["containers"])
    }
    git = {"name": "git", "mountPath": "/run/sentinel/git", "readOnly": True}
    assert pod["spec"]["volumes"][-1] == {
        "name": "git",
        "secret": {"secretName": "git", "defaultMode": 0o444},
    }
    assert mounts["source"][-1] == git
    assert git not in (*mounts["box"], *mounts["service-1-redis"])
    fetch = json.loads(pod["spec"]["initContainers"][0]["env"][0]["value"])
    assert fetch == {**FETCH, "secretDir": "/run/sentinel/git"}


def test_what_the_build_says_of_its_pod_is_used_but_never_against_our_own_labels() -> None:
    said = build(
        image={"pullSecretRefs": [{"name": "registry"}]},
        pod={
            "serviceAccountName": "builder",
            "automountServiceAccountToken": True,
            "nodeSelector": {"disk": "ssd", "kubernetes.io/os": "plan9"},
            "tolerations": [{"key": "ci", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "low",
            "runtimeClassName": "gvisor",
            "imagePullSecrets": [{"name": "registry"}, {"name": "other"}],
            "labels": {"team": "a", "sentinel.wercker.com/uid": "forged"},
            "annotations": {"note": "b", PLAN_ANNOTATION: "forged"},
            "box": {
                "resources": {"limits": {"memory": "2Gi"}},
                "securityContext": {"privileged": False},
            },
            "services": {"redis": {"resources": {"limits": {"memory": "1Gi"}}}},
        },
    )
    the_plan = plan(said)

    keys = PlanKeys.generate()
    pod = sign_pod(make_pod(the_plan, build=said, settings=settings()), the_plan, keys=keys)

    assert pod["metadata"]["labels"] == {**POD["metadata"]["labels"], "team": "a"}
    assert pod["metadata"]["annotations"].keys() == {"note", PLAN_ANNOTATION}
    text = pod["metadata"]["annotations"][PLAN_ANNOTATION]
    payload, _ = open_plan(text, identity=the_plan.id, keys=keys)
    assert decode(payload) == the_plan
    box, redis = POD["spec"]["containers"]
    assert pod["spec"] == {
        **POD["spec"],
        "automountServiceAccountToken": True,
        "nodeSelector": {"disk": "ssd", "kubernetes.io/os": "linux"},
        "containers": [
            {
                **box,
                "resources": {"limits": {"memory": "2Gi"}},
                "securityContext": {"privileged": False},
            },
            {**redis, "resources": {"limits": {"memory": "1Gi"}}},
        ],
        "imagePullSecrets": [{"name": "registry"}, {"name": "other"}],
        "serviceAccountName": "builder",
        "tolerations": [{"key": "ci", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "low",
        "runtimeClassName": "gvisor",
    }


def test_defaults_of_the_settings_stand_where_the_build_has_none() -> None:
    ours = PodDefaults.model_validate(
        {
            "labels": {"pool": "ci", "sentinel.wercker.com/uid": "forged"},
            "annotations": {"sidecar.istio.io/inject": "false", "note": "default"},
            "nodeSelector": {"pool": "ci", "disk": "hdd"},
            "tolerations": [{"key": "ci", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "low",
            "runtimeClassName": "gvisor",
            "boxResources": {"limits": {"memory": "4Gi"}},
            "serviceResources": {"limits": {"memory": "1Gi"}},
        }
    )
    its_settings = settings(pods=PodPolicy(defaults=ours))
    pod = make_pod(plan(), build=build(), settings=its_settings)
    assert pod["metadata"]["labels"] == {**POD["metadata"]["labels"], "pool": "ci"}
    assert pod["metadata"]["annotations"] == ours.annotations
    box, redis = POD["spec"]["containers"]
    assert pod["spec"] == {
        **POD["spec"],
        "nodeSelector": {"pool": "ci", "disk": "hdd", "kubernetes.io/os": "linux"},
        "containers": [
            {**box, "resources": ours.box_resources},
            {**redis, "resources": ours.service_resources},
        ],
        "tolerations": ours.tolerations,
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "low",
        "runtimeClassName": "gvisor",
    }

    of = build(
        pod={
            "annotations": {"note": "own"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "own"}],
            "affinity": {"podAffinity": {}},
            "priorityClassName": "high",
            "runtimeClassName": "kata",
            "box": {"resources": {"limits": {"cpu": "1"}}},
        }
    )
    pod = make_pod(plan(of), build=of, settings=its_settings)
    spec = pod["spec"]
    assert pod["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false", "note": "own"}
    assert spec["nodeSelector"] == {"pool": "ci", "disk": "ssd", "kubernetes.io/os": "linux"}
    assert spec["tolerations"] == [{"key": "ci", "operator": "Exists"}, {"key": "own"}]
    assert spec["affinity"] == {"podAffinity": {}}
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("high", "kata")
    assert spec["containers"][0]["resources"] == {"limits": {"cpu": "1"}}


def test_no_value_of_the_builds_environment_stands_in_a_container() -> None:
    said = build(env=[{"name": "PUBLIC", "value": "quite-public"}])

    pod = make_pod(plan(said), build=said, settings=settings())

    assert "quite-public" not in json.dumps(pod)


def test_a_service_gets_its_words_and_values_past_the_kubelets_expansion() -> None:
    yml = YML.replace(
        "  - redis\n",
        "  - id: redis\n    name: my_db\n    cmd: sh -c 'echo $HOME $(X)'\n"
        "    entrypoint: /entry $$\n    env: {pass: a$(b)$$}\n",
    )

    pod = make_pod(plan(yml=yml), build=build(), settings=settings())

    redis = pod["spec"]["containers"][1]
    assert redis["name"] == "service-1-my-db"
    assert redis["command"] == ["/entry", "$$$$"]
    assert redis["args"] == ["sh", "-c", "echo $$HOME $$(X)"]
    assert redis["env"] == [{"name": "PASS", "value": "a$$(b)$$$$"}]
    # An underscore is not a host name: boxkit adds that alias instead.
    assert "hostAliases" not in pod["spec"]


@pytest.mark.parametrize(
    ("user", "said"),
    [("app:app", {}), ("1000", {}), ("", {"runAsUser": 1000}), ("root", {"runAsUser": 1})],
)
def test_a_box_that_is_not_root_gets_directories_it_can_write(
    user: str, said: dict[str, Any]
) -> None:
    of = build(pod={"box": {"securityContext": said}})

    pod = make_pod(plan(of, box=replace(BOX, user=user)), build=of, settings=settings())

    assert pod["spec"]["volumes"][3:] == [
        {"name": "pipeline", "emptyDir": {}},
        {"name": "report", "emptyDir": {}},
    ]
    assert pod["spec"]["containers"][0]["volumeMounts"][3:] == [
        {"name": "pipeline", "mountPath": "/pipeline"},
        {"name": "report", "mountPath": "/report"},
    ]


@pytest.mark.parametrize("user", ["", "1000"])
def test_a_box_with_a_read_only_root_gets_them_as_root_too_and_tmp(user: str) -> None:
    of = build(pod={"box": {"securityContext": {"readOnlyRootFilesystem": True}}})

    pod = make_pod(plan(of, box=replace(BOX, user=user)), build=of, settings=settings())

    places = {
        each["name"]: each["mountPath"] for each in pod["spec"]["containers"][0]["volumeMounts"][3:]
    }
    assert places == {"pipeline": "/pipeline", "report": "/report", "tmp": "/tmp"}
    assert {each["name"] for each in pod["spec"]["volumes"][3:]} == places.keys()


def test_a_base_path_elsewhere_is_a_volume_too_where_the_box_is_not_root() -> None:
    yml = YML.replace("build:\n", "build:\n  base-path: /go/src/x\n")
    place = {"name": "base", "mountPath": "/go/src/x"}

    pods = [
        make_pod(plan(yml=yml, box=replace(BOX, user=user)), build=build(), settings=settings())
        for user in ("app", "")
    ]

    mounted = [place in pod["spec"]["containers"][0]["volumeMounts"] for pod in pods]
    there = [{"name": "base", "emptyDir": {}} in pod["spec"]["volumes"] for pod in pods]
    assert (mounted, there) == ([True, False], [True, False])


def test_another_attempt_is_another_pod_with_the_same_steps() -> None:
    first = plan()

    second = first.at(2)

    pod = make_pod(second, build=build(), settings=settings())
    assert pod["metadata"]["name"] == "hello-42-6f0d3a52-2"
    assert pod["metadata"]["labels"]["sentinel.wercker.com/attempt"] == "2"
    assert second == replace(
        first, attempt=2, results_prefix=f"team/project-artifacts/hello/{UID}/2/"
    )


def test_without_defaults_a_pod_has_the_build_s_own_resources_only() -> None:
    own = {"limits": {"memory": "1Gi"}}
    of = build(pod={"services": {"redis": {"resources": own}}})
    spec = make_pod(plan(of), build=of, settings=settings(), defaults=False)["spec"]

    containers = [*spec["initContainers"], *spec["containers"]]
    assert [(each["name"], each["resources"]) for each in containers] == [
        ("source", {}),
        ("box", {}),
        ("service-1-redis", own),
    ]


def test_the_init_container_restores_a_cache_and_its_secret_may_be_missing() -> None:
    without = make_pod(plan(), build=build(), settings=settings())
    cache = PlanCache(key="team/cache/u/hello/build/default.tar.zst", space="u", size=9, limit=77)
    of = replace(plan(), cache=cache)
    pod = make_pod(of, build=build(), settings=settings())
    assert pod["spec"]["volumes"][-1] == {
        "name": "cache",
        "secret": {"secretName": of.id.cache, "defaultMode": 0o444, "optional": True},
    }
    (source,) = pod["spec"]["initContainers"]
    task = json.loads(source["env"][0]["value"])
    assert task.pop("cache") == {
        "urlFile": "/run/sentinel/cache/url",
        "dest": "/mnt/wercker/cache",
        "state": "/run/sentinel/kit",
        "bytes": 77,
        "entries": 300_000,
        "seconds": 300.0,
    }
    (plain,) = without["spec"]["initContainers"]
    assert task == json.loads(plain["env"][0]["value"])
    assert [mount["name"] for mount in source["volumeMounts"]] == ["wercker", "kit", "cache"]
    assert pod["spec"]["containers"][0] == without["spec"]["containers"][0]
    # One that is only saved costs the pod nothing.
    only_saved = replace(plan(), cache=replace(cache, size=0, save=True))
    assert make_pod(only_saved, build=build(), settings=settings()) == without


def test_our_own_image_is_pulled_with_the_operators_secrets_besides_the_builds() -> None:
    said = build(image={"pullSecretRefs": [{"name": "registry"}]})

    pod = make_pod(
        plan(said), build=said, settings=settings(image_pull_secrets=["sentinel-image", "registry"])
    )

    names = [each["name"] for each in pod["spec"]["imagePullSecrets"]]
    assert names == ["sentinel-image", "registry"]
