"""What each value of the chart becomes, as the lab's helm renders it. Nothing is installed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.install import ROOT, environ
from tests.lab.state import Lab

from sentinel.api.conditions import Phase
from sentinel.api.imagecommit import CommitPhase
from sentinel.api.reasons import Reason
from sentinel.settings.pods import PodDefaults

CHART = ROOT / "charts/sentinel"
Manifests = dict[tuple[str, str], dict[str, Any]]

COMMON: dict[str, Any] = {
    "podLabels": {"pod-label": "1", "app.kubernetes.io/component": "not-this"},
    "podAnnotations": {"pod-annotation": "2"},
    "serviceAccount": {
        "create": True,
        "name": "",
        "annotations": {"eks.amazonaws.com/role-arn": "r"},
    },
    "priorityClassName": "important",
    "nodeSelector": {"pool": "infra"},
    "tolerations": [{"key": "infra", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
        {"maxSkew": 1, "topologyKey": "rack", "labelSelector": {"matchLabels": {"own": "1"}}},
    ],
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["192.0.2.1"]},
    "hostAliases": [{"ip": "192.0.2.2", "hostnames": ["git.lan"]}],
    "podSecurityContext": {"fsGroup": 4321},
    "securityContext": {"seLinuxOptions": {"type": "spc_t"}},
    "resources": {"limits": {"memory": "3Gi"}},
    "livenessProbe": {"periodSeconds": 41},
    "readinessProbe": {"failureThreshold": 42},
    "extraEnv": [{"name": "EXTRA", "value": "3"}],
    "extraVolumes": [{"name": "extra", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
}
WORKLOADS = {
    "operator": ("Deployment", "operator"),
    "agent": ("DaemonSet", "agent"),
    "reporter": ("Deployment", "reports"),
    "results": ("Deployment", "results"),
}
EVERYTHING = {
    "reports": {"werckerAPI": {"url": "https://api.example.com"}},
    "store": {"bucket": "b"},
}
"""Values with which there are all these workloads."""


def render(lab: Lab, folder: Path, values: dict[str, Any], *, release: str = "x") -> Manifests:
    """What `helm template` makes of these values, by kind and name."""
    path = folder / "values.yaml"
    path.write_text(json.dumps({"crds": {"enabled": False}, **values}))
    done = subprocess.run(
        [f"{lab.bin}/helm", "template", release, str(CHART), "-n", "system", "-f", str(path)],
        check=False,
        capture_output=True,
        text=True,
        env=environ(lab),
    )
    assert done.returncode == 0, done.stderr
    found = [each for each in yaml.safe_load_all(done.stdout) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


@pytest.mark.parametrize("component", WORKLOADS)
def test_every_knob_of_a_workload_lands_in_its_pod(
    lab: Lab, tmp_path: Path, component: str
) -> None:
    kind, section = WORKLOADS[component]
    found = render(lab, tmp_path, merged(EVERYTHING, {section: COMMON}))
    template = found[kind, f"x-sentinel-{component}"]["spec"]["template"]
    metadata, spec = template["metadata"], template["spec"]
    container = next(each for each in spec["containers"] if each["name"] == component)
    selector = {
        "app.kubernetes.io/name": "sentinel",
        "app.kubernetes.io/instance": "x",
        "app.kubernetes.io/component": component,
    }

    assert metadata["labels"] == {**selector, "pod-label": "1"}
    assert metadata["annotations"]["pod-annotation"] == "2"
    account = found["ServiceAccount", f"x-sentinel-{component}"]
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": "r"}
    assert spec["nodeSelector"] == {"pool": "infra", "kubernetes.io/os": "linux"}
    for name in ("priorityClassName", "tolerations", "affinity", "dnsPolicy", "dnsConfig"):
        assert spec[name] == COMMON[name]
    assert spec["hostAliases"] == COMMON["hostAliases"]
    first, second = spec["topologySpreadConstraints"]
    assert first == {
        **COMMON["topologySpreadConstraints"][0],
        "labelSelector": {"matchLabels": selector},
    }
    assert second["labelSelector"]["matchLabels"]["own"] == "1"
    assert spec["securityContext"]["fsGroup"] == 4321
    assert container["securityContext"]["seLinuxOptions"] == {"type": "spc_t"}
    assert container["resources"]["limits"]["memory"] == "3Gi"
    assert container["livenessProbe"]["periodSeconds"] == 41
    assert container["readinessProbe"]["failureThreshold"] == 42
    assert {"name": "EXTRA", "value": "3"} in container["env"]
    assert COMMON["extraVolumes"][0] in spec["volumes"]
    assert COMMON["extraVolumeMounts"][0] in container["volumeMounts"]


@pytest.mark.parametrize("component", WORKLOADS)
def test_null_leaves_a_security_context_or_a_part_of_it_out(
    lab: Lab, tmp_path: Path, component: str
) -> None:
    """OpenShift's restricted-v2 assigns user ids, and refuses pods that name others."""
    kind, section = WORKLOADS[component]
    parts = {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
    source = {"source": {"securityContext": {"runAsUser": None, "runAsGroup": None}}}
    found = render(lab, tmp_path, merged(EVERYTHING, {section: parts}, source))
    spec = found[kind, f"x-sentinel-{component}"]["spec"]["template"]["spec"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & spec["securityContext"].keys()
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = json.loads(variables(found)["SENTINEL_SOURCE__SECURITY_CONTEXT"])
    assert not {"runAsUser", "runAsGroup"} & context.keys()
    assert context["runAsNonRoot"] is True

    nothing = {"podSecurityContext": None, "securityContext": None}
    found = render(lab, tmp_path, merged(EVERYTHING, {section: nothing}))
    spec = found[kind, f"x-sentinel-{component}"]["spec"]["template"]["spec"]
    assert "securityContext" not in spec
    assert all("securityContext" not in each for each in spec["containers"])


@pytest.mark.parametrize("component", WORKLOADS)
def test_a_service_account_that_exists_gets_the_rights(
    lab: Lab, tmp_path: Path, component: str
) -> None:
    kind, section = WORKLOADS[component]
    own = {section: {"serviceAccount": {"create": False, "name": "mine"}}}
    found = render(lab, tmp_path, merged(EVERYTHING, own))
    assert ("ServiceAccount", f"x-sentinel-{component}") not in found
    template = found[kind, f"x-sentinel-{component}"]["spec"]["template"]
    assert template["spec"]["serviceAccountName"] == "mine"
    subjects = [
        subject["name"]
        for (which, name), each in found.items()
        if which.endswith("RoleBinding") and name.startswith(f"x-sentinel-{component}")
        for subject in each["subjects"]
    ]
    assert set(subjects) == {"mine"}
    if component == "agent":
        assert variables(found)["SENTINEL_AGENT_SERVICE_ACCOUNT"] == "mine"
        policy = found["ValidatingAdmissionPolicy", "x-sentinel-agent"]["spec"]
        assert ":system:mine" in policy["matchConditions"][0]["expression"]


def test_names_labels_image_and_strategies(lab: Lab, tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    values = {
        "fullnameOverride": "ci",
        "commonLabels": {"team": "platform"},
        "revisionHistoryLimit": 7,
        "image": {"repository": "r/s", "digest": digest, "pullSecrets": [{"name": "pull"}]},
        "operator": {
            "replicas": 2,
            "strategy": {"type": "Recreate", "rollingUpdate": None},
            "podDisruptionBudget": {"maxUnavailable": "50%"},
        },
        "agent": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 3}}},
    }
    found = render(lab, tmp_path, values)
    assert [name for _, name in found if not name.startswith("ci-")] == []
    assert {each["metadata"]["labels"].get("team") for each in found.values()} == {"platform"}
    operator, agent = found["Deployment", "ci-operator"], found["DaemonSet", "ci-agent"]
    assert operator["spec"]["strategy"] == {"type": "Recreate"}
    assert agent["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 3}
    for each in (operator, agent):
        assert each["spec"]["revisionHistoryLimit"] == 7
        spec = each["spec"]["template"]["spec"]
        assert {container["image"] for container in spec["containers"]} == {f"r/s@{digest}"}
        assert spec["imagePullSecrets"] == [{"name": "pull"}]
        assert each["spec"]["template"]["metadata"]["labels"]["team"] == "platform"
        assert "team" not in each["spec"]["selector"]["matchLabels"]
    budget = found["PodDisruptionBudget", "ci-operator"]["spec"]
    assert budget["maxUnavailable"] == "50%"
    assert budget["selector"]["matchLabels"] == operator["spec"]["selector"]["matchLabels"]
    assert ("PodDisruptionBudget", "x-sentinel-operator") not in render(lab, tmp_path, {})


def test_defaults_of_build_pods_are_the_setting(lab: Lab, tmp_path: Path) -> None:
    defaults = {
        "labels": {"a": "b"},
        "annotations": {"sidecar.istio.io/inject": "false"},
        "nodeSelector": {"pool": "ci"},
        "tolerations": [{"key": "ci", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "low",
        "runtimeClassName": "gvisor",
        "boxResources": {"limits": {"memory": "4Gi"}},
        "serviceResources": {"limits": {"memory": "1Gi"}},
    }
    found = variables(render(lab, tmp_path, {"pods": {"defaults": defaults}}))
    given = PodDefaults.model_validate_json(found["SENTINEL_PODS__DEFAULTS"])
    assert given.annotations == defaults["annotations"]
    assert given.node_selector == {"pool": "ci"}
    assert given.tolerations == defaults["tolerations"]
    assert given.box_resources["limits"] == {"memory": "4Gi"}
    assert given.box_resources["requests"] == {"cpu": "100m", "memory": "128Mi"}
    assert (given.priority_class_name, given.runtime_class_name) == ("low", "gvisor")


def test_large_numbers_are_written_as_numbers(lab: Lab, tmp_path: Path) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    found = render(lab, tmp_path, merged(EVERYTHING, dict(largest(schema))))
    texts = [value for value in variables(found).values() if re.search(r"\de\+?\d", value)]
    assert texts == []
    assert variables(found)["SENTINEL_MAX_BUILDS"] == "3000000"


def largest(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Values with each number of the schema as large as three millions, where it may be."""
    for name, each in schema.get("properties", {}).items():
        if each.get("properties"):
            yield name, dict(largest(each))
        elif each.get("type") in ("integer", "number"):
            yield name, min(3_000_000, each.get("maximum", 3_000_000))


def variables(found: Manifests) -> dict[str, str]:
    """The literal environment variables of all containers."""
    return {
        each["name"]: each["value"]
        for manifest in found.values()
        if manifest["kind"] in ("Deployment", "DaemonSet")
        for container in manifest["spec"]["template"]["spec"]["containers"]
        for each in container["env"]
        if "value" in each
    }


MONITORING = {
    "metrics": {
        "serviceMonitor": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "interval": "15s",
            "scrapeTimeout": "10s",
            "relabelings": [{"action": "labeldrop", "regex": "x"}],
            "metricRelabelings": [{"action": "drop", "regex": "y"}],
        },
        "prometheusRule": {
            "enabled": True,
            "labels": {"role": "alerts"},
            "queueSeconds": 1_000_000,
            "erroredRatio": 0.25,
            "commitSeconds": 120,
            "watchSeconds": 3600,
            "extraRules": [{"alert": "Mine", "expr": "vector(1)"}],
        },
        "dashboard": {
            "enabled": True,
            "namespace": "grafana",
            "labels": {"grafana_dashboard": "yes"},
            "annotations": {"folder": "CI"},
        },
    }
}


def test_what_watches_sentinel_is_rendered_where_it_is_wanted(lab: Lab, tmp_path: Path) -> None:
    kinds = {kind for kind, _ in render(lab, tmp_path, {})}
    assert not kinds & {"ServiceMonitor", "PrometheusRule", "ConfigMap", "NetworkPolicy"}

    found = render(lab, tmp_path, merged(EVERYTHING, MONITORING))
    monitor = found["ServiceMonitor", "x-sentinel"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["endpoints"] == [
        {
            "port": "metrics",
            "interval": "15s",
            "scrapeTimeout": "10s",
            "relabelings": [{"action": "labeldrop", "regex": "x"}],
            "metricRelabelings": [{"action": "drop", "regex": "y"}],
        }
    ]
    selector = monitor["spec"]["selector"]
    (expression,) = selector["matchExpressions"]
    for component in ("operator", "reporter", "results"):
        service = found["Service", f"x-sentinel-{component}-metrics"]
        assert selector["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert service["metadata"]["labels"][expression["key"]] in expression["values"]
        deployment = found["Deployment", f"x-sentinel-{component}"]["spec"]
        assert service["spec"]["selector"] == deployment["selector"]["matchLabels"]
        ports = deployment["template"]["spec"]["containers"][0]["ports"]
        assert service["spec"]["ports"][0]["targetPort"] in {port["name"] for port in ports}

    rules = found["PrometheusRule", "x-sentinel"]["spec"]["groups"][0]["rules"]
    assert found["PrometheusRule", "x-sentinel"]["metadata"]["labels"]["role"] == "alerts"
    assert rules[-1] == {"alert": "Mine", "expr": "vector(1)"}
    by_name = {rule["alert"]: rule["expr"] for rule in rules}
    for name, end in (
        ("SentinelBuildsQueued", "> 1000000"),
        ("SentinelCommitsSlow", "> 120"),
        ("SentinelWatchSilent", '> 3600 and on () sum(sentinel_builds{namespace="system"}) > 0'),
    ):
        assert by_name[name].endswith(end)
    assert "> 0.25 and" in by_name["SentinelBuildsErrored"]

    dashboard = found["ConfigMap", "x-sentinel-dashboard"]
    assert dashboard["metadata"]["namespace"] == "grafana"
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "yes"
    assert dashboard["metadata"]["annotations"] == {"folder": "CI"}
    assert json.loads(dashboard["data"]["sentinel.json"])["title"] == "Sentinel"


def test_alerts_and_dashboard_use_metrics_and_labels_that_exist(lab: Lab, tmp_path: Path) -> None:
    """docs/reference/metrics.md is compared with the code by tests/unit/engine/test_metrics.py."""
    page = (ROOT / "docs/reference/metrics.md").read_text()
    rows = re.findall(r"^\| `(sentinel_[a-z_]+)` \| ([^|]*)\|", page, re.MULTILINE)
    labels = {name: set(re.findall(r"`([a-z]+)`", text)) for name, text in rows}
    found = render(lab, tmp_path, merged(EVERYTHING, MONITORING))
    expressions = [
        rule["expr"] for rule in found["PrometheusRule", "x-sentinel"]["spec"]["groups"][0]["rules"]
    ]
    dashboard = json.loads(found["ConfigMap", "x-sentinel-dashboard"]["data"]["sentinel.json"])
    expressions += [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    used = 0
    for expression in expressions:
        for name, matchers in re.findall(r"(sentinel_[a-z_]+)\{([^}]*)\}", expression):
            base = re.sub(r"_bucket$", "", name)
            if base.startswith("sentinel_process_"):
                continue
            assert base in labels, expression
            asked = dict(re.findall(r'([a-z]+)=~?"([^"]*)"', matchers))
            assert asked.pop("namespace")
            assert asked.keys() <= labels[base], expression
            for label, known in (("reason", Reason), ("phase", (*Phase, *CommitPhase))):
                assert asked.get(label, str(next(iter(known)))) in {str(each) for each in known}
            by = re.findall(r"by \(([^)]*)\)", expression)
            grouped = {each.strip() for group in by for each in group.split(",")}
            assert grouped <= {*labels[base], "le", "pod"}, expression
            used += 1
    assert used > 20


def test_the_network_policies_let_in_what_tests_and_scrapes(lab: Lab, tmp_path: Path) -> None:
    scrape = {"from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]}
    values = {"networkPolicy": {"enabled": True, "ingress": [scrape]}}
    found = render(lab, tmp_path, merged(EVERYTHING, values))
    test = found["Pod", "x-sentinel-test"]["metadata"]["labels"]
    # The API server has no pod to select.
    assert found["NetworkPolicy", "x-sentinel-results"]["spec"]["ingress"] == [
        {"ports": [{"protocol": "TCP", "port": 8443}]},
        scrape,
    ]
    assert found["NetworkPolicy", "x-sentinel-agent"]["spec"]["ingress"] == [scrape]
    first, second = found["NetworkPolicy", "x-sentinel-operator"]["spec"]["ingress"]
    assert second == scrape
    assert first["from"][0]["podSelector"]["matchLabels"].items() <= test.items()


def environment_of(found: Manifests, kind: str, name: str, container: str) -> dict[str, Any]:
    """The variables of a container, each with its value or where it comes from."""
    spec = found[kind, name]["spec"]
    if kind == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    (chosen,) = (c for c in spec["template"]["spec"]["containers"] if c["name"] == container)
    names = [each["name"] for each in chosen["env"]]
    assert len(names) == len(set(names)), (
        "server-side apply refuses a list with the same name twice"
    )
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in chosen["env"]}


OUTBOUND = {
    "operator": ("Deployment", "x-sentinel-operator"),
    "resolver": ("Deployment", "x-sentinel-operator"),
    "agent": ("DaemonSet", "x-sentinel-agent"),
    "reporter": ("Deployment", "x-sentinel-reporter"),
    "results": ("Deployment", "x-sentinel-results"),
    "prune": ("CronJob", "x-sentinel-prune"),
}
"""The containers that connect to servers outside the cluster."""


def test_one_authority_and_one_proxy_reach_every_container(lab: Lab, tmp_path: Path) -> None:
    everything = merged(EVERYTHING, {"retention": {"prune": {"enabled": True}}})
    plain = render(lab, tmp_path, everything)
    proxies = {"http": "http://plain:3128", "https": "http://secure:3128"}
    direct = "localhost,127.0.0.1,169.254.169.254,169.254.170.2,169.254.170.23,.svc,.cluster.local"
    found = render(lab, tmp_path, merged(everything, {"ca": "PEM", "proxy": proxies}))
    named = {"caConfigMap": "authorities", "proxy": {**proxies, "existingSecret": "proxy-login"}}
    secret = render(lab, tmp_path, merged(everything, named))
    for container, (kind, name) in OUTBOUND.items():
        known = environment_of(plain, kind, name, container)
        assert not {"http_proxy", "https_proxy", "no_proxy", "SENTINEL_CA"} & known.keys()

        known = environment_of(found, kind, name, container)
        assert (known["http_proxy"], known["https_proxy"]) == tuple(proxies.values())
        assert known["no_proxy"] == direct
        # The resolver is sent the authorities with each request.
        assert known.get("SENTINEL_CA", "PEM") == "PEM"
        assert ("SENTINEL_CA" in known) == (container != "resolver")

        known = environment_of(secret, kind, name, container)
        for scheme in ("http", "https"):
            assert known[f"{scheme}_proxy"] == {
                "secretKeyRef": {"name": "proxy-login", "key": scheme, "optional": True}
            }
        if container != "resolver":
            reference = {"configMapKeyRef": {"name": "authorities", "key": "ca.crt"}}
            assert known["SENTINEL_CA"] == reference
    # Of the Secret build pods know nothing.
    assert variables(secret)["SENTINEL_PROXY__HTTPS"] == "http://secure:3128"


def test_a_variable_of_extra_env_takes_the_place_of_the_proxys(lab: Lab, tmp_path: Path) -> None:
    values = {
        "proxy": {"https": "http://secure:3128"},
        "resolver": {"extraEnv": [{"name": "HTTPS_PROXY", "value": "http://other:1"}]},
        "operator": {"extraEnv": [{"name": "no_proxy", "value": "*"}]},
    }
    found = render(lab, tmp_path, values)
    resolver = environment_of(found, "Deployment", "x-sentinel-operator", "resolver")
    assert (resolver.get("https_proxy"), resolver["HTTPS_PROXY"]) == (None, "http://other:1")
    operator = environment_of(found, "Deployment", "x-sentinel-operator", "operator")
    assert (operator["https_proxy"], operator["no_proxy"]) == ("http://secure:3128", "*")


@pytest.mark.parametrize(
    "proxy",
    [{"https": "http://u:p@proxy:3128"}, {"http": "https://proxy:3128"}, {"noProxy": ["a,b"]}],
)
def test_a_proxy_with_a_login_or_of_another_kind_is_refused(
    lab: Lab, tmp_path: Path, proxy: dict[str, Any]
) -> None:
    with pytest.raises(AssertionError, match="proxy"):
        render(lab, tmp_path, {"proxy": proxy})
