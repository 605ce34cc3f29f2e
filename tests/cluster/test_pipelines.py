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
        told = condition(raw, "Succeeded")
        found = {
            "phase": raw["status"]["phase"],
            "message": told["message"] if each.message not in told["message"] else each.message,
            "says": [(step, builds.log(raw, step)) for step, _ in each.says]
            if raw["status"].get("results") and raw["status"].get("steps")
            else [],
            "states": tuple(state for _, state, _ in steps(raw)) if each.states else (),
        }
        wanted = {
            "phase": each.phase,
            "message": each.message,
            "says": list(each.says),
            "states": each.states,
        }
        if not each.message:
            found["message"] = told["message"] if raw["status"]["phase"] != each.phase else ""
        if found != wanted:
            wrong[each.like] = (found, wanted)
    assert wrong == {}
    assert len({each.like for each in PIPELINES}) >= 20
