"""Twenty and more pipelines, each with the features of one real file, all on the cluster at once."""

from __future__ import annotations

import pytest
from tests.cluster.conftest import Builds, steps
from tests.cluster.pipelines import PIPELINES, Pipeline
from tests.kubectl import condition


def text_of(builds: Builds, each: Pipeline) -> str:
    registry = builds.lab.registry
    return each.text.format(
        box=f"{registry}/box/debian:12", redis=f"{registry}/service/redis:7", registry=registry
    )


@pytest.mark.timeout(600)
def test_pipelines_like_real_ones_do_what_they_did(step_registry: str, builds: Builds) -> None:
    for each in PIPELINES:
        url = builds.project(text_of(builds, each), **each.files)
        builds.apply(f"like-{each.like}", url=url, **each.spec)

    wrong: dict[str, object] = {}
    for each in PIPELINES:
        raw = builds.finish(f"like-{each.like}", timeout=400)
        states = {name: state for name, state, _ in steps(raw)}
        told = condition(raw, "Succeeded")["message"]
        logs = [(name, builds.log(raw, name)) for name, _ in each.says if states[name] != "Skipped"]
        found = (raw["status"]["phase"], logs, each.states and tuple(states.values()))
        if found != (each.phase, list(each.says), each.states) or each.message not in told:
            wrong[each.like] = (told, found)
    assert wrong == {}
    assert len({each.like for each in PIPELINES}) >= 20
