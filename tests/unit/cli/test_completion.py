"""`sentinel completion` and `sentinel version`, and the names that the command is installed under."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from click.shell_completion import ShellComplete
from tests.unit.cli.conftest import Cluster, Sentinel

from sentinel import __version__
from sentinel.cli import VERBS, main
from sentinel.cli.version import VERSION_LABEL
from sentinel.kube.errors import Forbidden, Unavailable

ROOT = Path(__file__).parents[3]


def completed(*words: str, incomplete: str) -> list[str]:
    shell = ShellComplete(main, {}, "sentinel", "_SENTINEL_COMPLETE")
    return [item.value for item in shell.get_completions(list(words), incomplete)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(sentinel: Sentinel, shell: str) -> None:
    done = sentinel("completion", shell)
    assert done.exit_code == 0
    assert f"_SENTINEL_COMPLETE={shell}_complete" in done.stdout


def test_names_come_from_the_cluster(cluster: Cluster) -> None:
    for name in ("hello", "hello-2", "other"):
        cluster.build(name)
    assert completed("describe", incomplete="hel") == ["hello", "hello-2"]
    assert completed("logs", "-n", "elsewhere", incomplete="") == ["hello", "hello-2", "other"]
    assert cluster.listed == [("builds", "team"), ("builds", "elsewhere")]
    assert "describe" in completed(incomplete="des")
    assert completed("list", "-o", incomplete="y") == ["yaml"]


def test_completion_prints_no_error_without_a_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert completed("wait", incomplete="") == []


def test_the_command_is_a_plug_in_of_kubectl_too() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {"sentinel", "kubectl-sentinel"}
    for target in scripts.values():
        module, _, name = target.partition(":")
        assert getattr(import_module(module), name) is main


def test_the_chart_writes_the_version_that_is_read() -> None:
    text = (ROOT / "manifests/install.yaml").read_text()
    crds = [raw for raw in yaml.safe_load_all(text) if raw["kind"] == "CustomResourceDefinition"]
    assert len(crds) == 3
    assert {crd["metadata"]["labels"][VERSION_LABEL] for crd in crds} == {__version__}


def test_every_verb_has_its_help(sentinel: Sentinel) -> None:
    done = sentinel("--help")
    assert done.exit_code == 0
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout
        assert sentinel(verb, "--help").exit_code == 0


def test_the_version_of_the_client_and_of_the_cluster(cluster: Cluster, sentinel: Sentinel) -> None:
    def server() -> str:
        first, second = sentinel("version").stdout.splitlines()
        assert first == f"Client: {__version__}"
        return second

    crds = "customresourcedefinitions"
    name = "builds.sentinel.wercker.com"
    assert server() == "Server: not installed: the cluster has no Builds"
    cluster.add(
        crds, {"metadata": {"name": name, "labels": {"app.kubernetes.io/version": "9.9.9"}}}
    )
    assert server() == "Server: 9.9.9"
    cluster.change(crds, name, metadata={"name": name})
    assert server() == "Server: not shown: its CRDs were not installed by the chart"
    cluster.fail("get", name, Forbidden("no", status=403))
    assert server().startswith("Server: not shown: you have no right to get")
    cluster.fail("get", name, Unavailable("no answer\x1b[2J"))
    assert server() == "Server: unknown: no answer\ufffd[2J"
    assert sentinel("version", "--client").stdout == f"Client: {__version__}\n"
