"""What the bench makes of its samples, and of the API server's audit log."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from tests.bench.__main__ import GOALS, ON_THE_LAB
from tests.bench.figures import Goal, look_up, quantile, spread
from tests.bench.process import OperatorProcess, marked
from tests.bench.writing import OPERATOR, writes_of


def test_p99_of_a_few_is_the_worst() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert spread([0.25] * 3) == {"p50": 0.25, "p99": 0.25, "count": 3}


def test_a_goal_says_in_which_direction_it_is_met() -> None:
    assert Goal(2.0).met(2.0)
    assert not Goal(2.0).met(2.01)
    assert Goal(0.5, at_least=True).met(0.5)
    assert not Goal(0.5, at_least=True).met(0.49)


def test_a_figure_is_looked_up_by_its_path() -> None:
    result = {"cancel_seconds": {"term_p99": 0.1}, "api_writes_per_build": {"1": 12.0}}
    assert look_up(result, "cancel_seconds.term_p99") == 0.1
    assert look_up(result, "api_writes_per_build.1") == 12.0
    assert look_up(result, "api_writes_per_build.20") is None
    assert look_up(result, "work_ratio.p50") is None


def event(verb: str, resource: str, **more: Any) -> dict[str, Any]:
    """An event of the audit log, as the API server writes it at level Metadata."""
    target = {"resource": resource, "namespace": more.pop("namespace", "ci")}
    target |= {"subresource": more.pop("subresource")} if "subresource" in more else {}
    return {
        "stage": more.pop("stage", "ResponseComplete"),
        "verb": verb,
        "user": {"username": more.pop("user", OPERATOR)},
        "objectRef": target,
        "responseStatus": {"code": more.pop("code", 200)},
    }


def test_writes_are_counted_by_whom_and_what_and_nothing_else_is() -> None:
    kubelet = "system:node:a"
    log = [
        event("create", "pods", code=201),
        event("update", "builds", subresource="status"),
        event("update", "builds", subresource="status", code=409),
        event("patch", "pods", subresource="status", user=kubelet),
        # Reads, other namespaces, connections, the start of an answer, and what a new namespace gets by itself:
        event("get", "pods"),
        event("watch", "pods"),
        event("create", "pods", namespace="other"),
        event("update", "leases", namespace="ci"),
        event("create", "pods", subresource="exec", code=101),
        event("create", "pods", stage="ResponseStarted"),
        event("create", "configmaps", user="system:serviceaccount:kube-system:root-ca"),
    ]
    assert writes_of(log, namespace="ci") == {
        (OPERATOR, "create pods 201"): 1,
        (OPERATOR, "update builds/status 200"): 1,
        (OPERATOR, "update builds/status 409"): 1,
        (kubelet, "patch pods/status 200"): 1,
    }


def test_a_process_is_found_by_what_stands_in_its_command_line() -> None:
    marker = f"marker-{os.getpid()}"
    code = "import os; os.write(1, b'.'); os.read(0, 1)"
    with subprocess.Popen(
        [sys.executable, "-c", code, marker], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        assert marked(marker) == process.pid
        assert OperatorProcess(process.pid, "").rss_mib() > 1
        process.communicate(b".")
    assert marked(marker) is None


def test_every_goal_of_the_lab_has_a_part_that_measures_it() -> None:
    assert {"work_ratio", "cancel_seconds.term_p99", "recovery_seconds.p99"} <= GOALS.keys()
    assert list(ON_THE_LAB)[-1] == "recovery"
