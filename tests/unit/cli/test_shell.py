"""`sentinel shell`: kubectl takes over, where the build has a box."""

from __future__ import annotations

import os
import shutil

import pytest
from tests.unit.cli.conftest import Cluster, Sentinel, ended


def test_kubectl_opens_a_shell_in_the_box(
    cluster: Cluster, sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(os, "execvp", lambda _, arguments: called.append(arguments))
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/kubectl")
    cluster.build(status={"phase": "Running", "pod": {"name": "hello-1"}})
    assert sentinel("shell", "hello").exit_code == 0
    words = ["kubectl", "exec", "-it", "-n", "team", "hello-1", "-c", "box", "--", "sh", "-c"]
    assert [each[:-1] for each in called] == [words]
    monkeypatch.setattr(shutil, "which", lambda _: None)
    missing = sentinel("shell", "hello")
    assert missing.exit_code == 1
    assert "kubectl exec -it -n team hello-1 -c box -- sh" in missing.stderr


def test_builds_without_a_box_say_why(cluster: Cluster, sentinel: Sentinel) -> None:
    cluster.build("queued", status={"phase": "Queued"})
    cluster.build("over", status=ended("Failed", "ExitCode", pod={"name": "over-1"}))
    cluster.build("odd", status={"phase": "Running", "pod": {"name": "--kubeconfig=x"}})
    said = [sentinel("shell", name).stderr for name in ("queued", "over", "odd")]
    assert "has no box yet: it is Queued; `sentinel describe -n team queued`" in said[0]
    assert "`sentinel logs -n team over`" in said[1]
    assert "no pod's name" in said[2]
