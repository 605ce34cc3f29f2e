"""Archives of steps on their way into an attempt's pod, and what an operator that died left of them."""

from __future__ import annotations

import base64
import copy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.clocks import START
from tests.unit.engine.world import Server, attempt_of, plan, run_of

from sentinel.api.reasons import Reason
from sentinel.engine.leftovers import drop
from sentinel.engine.steps import INLINE_BYTES, deliver_steps
from sentinel.errors import NotVerified, UserError
from sentinel.kube.errors import AlreadyExists
from sentinel.kube.resources import CONFIG_MAPS
from sentinel.plan.model import Plan
from sentinel.store.objects import ObjectInfo


class ConfigMaps:
    """The API server's ConfigMaps by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []

    async def create(
        self, resource: object, body: dict[str, Any], *, namespace: str
    ) -> dict[str, Any]:
        self.calls.append("create")
        name = body["metadata"]["name"]
        if name in self.by_name:
            raise AlreadyExists(f"{name} exists")
        made = copy.deepcopy(body)
        made["metadata"]["uid"] = f"uid-{self.calls.count('create')}"
        self.by_name[name] = made
        return made

    async def get(self, resource: object, *, namespace: str, name: str) -> dict[str, Any]:
        return self.by_name[name]

    async def delete(self, resource: object, *, namespace: str, name: str, uid: str) -> None:
        self.calls.append("delete")
        if self.by_name[name]["metadata"]["uid"] == uid:
            del self.by_name[name]


class Archives:
    """Archives in the cache, by digest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def archive(self, digest: str) -> Path:
        path = self._folder / digest
        path.write_bytes(f"archive {digest}".encode())
        return path


def with_step(digest: str) -> Plan:
    made = plan("one")
    return replace(made, steps=(replace(made.steps[0], kind="step", digest=digest),))


@pytest.mark.parametrize(
    ("second", "calls"),
    [("a" * 64, ["create", "create"]), ("b" * 64, ["create", "create", "delete", "create"])],
)
async def test_what_a_dead_operator_left_is_kept_only_if_the_plan_is_the_same(
    tmp_path: Path, second: str, calls: list[str]
) -> None:
    run, kube = run_of(Server()), ConfigMaps()
    run.tools = replace(run.tools, kube=cast(Any, kube), shelf=cast(Any, Archives(tmp_path)))
    first = with_step("a" * 64)
    await deliver_steps(attempt_of(run, first))
    await deliver_steps(attempt_of(run, with_step(second)))
    assert kube.calls == calls
    name = first.at(1).id.steps
    assert kube.by_name[name]["binaryData"] == {
        second: base64.b64encode(f"archive {second}".encode()).decode()
    }


@pytest.mark.parametrize("how", ["unsigned", "changed"])
async def test_a_config_map_that_was_there_before_ours_ends_the_build_and_is_left_alone(
    tmp_path: Path, how: str
) -> None:
    run, kube = run_of(Server()), ConfigMaps()
    run.tools = replace(run.tools, kube=cast(Any, kube), shelf=cast(Any, Archives(tmp_path)))
    made = with_step("a" * 64)
    await deliver_steps(attempt_of(run, made))
    name = made.at(1).id.steps
    theirs = kube.by_name[name]
    if how == "unsigned":
        del theirs["metadata"]["annotations"]
    else:
        theirs["data"] = {"b" * 64 + ".url": "http://elsewhere.example.com"}
    before = copy.deepcopy(theirs)

    for digest in ("a" * 64, "b" * 64):
        with pytest.raises(NotVerified, match=f"ConfigMap {name} is not the operator's"):
            await deliver_steps(attempt_of(run, with_step(digest)))
    await drop(run.tools, CONFIG_MAPS, run.id(1), run.id(1).steps)

    assert kube.by_name == {name: before}
    assert "delete" not in kube.calls


async def test_our_config_map_goes_with_its_pod(tmp_path: Path) -> None:
    run, kube = run_of(Server()), ConfigMaps()
    run.tools = replace(run.tools, kube=cast(Any, kube), shelf=cast(Any, Archives(tmp_path)))
    await deliver_steps(attempt_of(run, with_step("a" * 64)))

    await drop(run.tools, CONFIG_MAPS, run.id(1), run.id(1).steps)

    assert kube.by_name == {}


class Store:
    """The object store, with what was put and how often."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts = 0
        self.age = timedelta()

    async def head(self, key: str) -> ObjectInfo | None:
        if key not in self.objects:
            return None
        return ObjectInfo(key=key, size=1, etag="", modified=START - self.age)

    async def put(self, key: str, data: bytes) -> None:
        self.objects[key], self.puts = data, self.puts + 1

    def presign_get(self, key: str) -> str:
        return f"https://store.example.com/{key}?signed"


class LargeArchives(Archives):
    """One step of a few bytes, the others as large as a ConfigMap may be."""

    async def archive(self, digest: str) -> Path:
        path = await super().archive(digest)
        if not digest.startswith("a"):
            path.write_bytes(digest[0].encode() * INLINE_BYTES)
        return path


def with_steps(*digests: str) -> Plan:
    made = plan(*digests)
    steps = zip(made.steps, digests, strict=True)
    return replace(
        made, steps=tuple(replace(step, kind="step", digest=digest) for step, digest in steps)
    )


async def test_what_a_config_map_does_not_hold_is_put_into_the_store_once(tmp_path: Path) -> None:
    run, kube, store = run_of(Server()), ConfigMaps(), Store()
    run.tools = replace(
        run.tools,
        kube=cast(Any, kube),
        shelf=cast(Any, LargeArchives(tmp_path)),
        store=cast(Any, store),
    )
    small, large = "a" * 64, "b" * 64
    made = with_steps(small, large)
    await deliver_steps(attempt_of(run, made))
    await deliver_steps(attempt_of(run, replace(made, attempt=2)))

    name = made.at(1).id.steps
    assert set(kube.by_name[name]["binaryData"]) == {small}
    key = f"steps/{large}.tar.gz"
    assert kube.by_name[name]["data"] == {f"{large}.url": f"https://store.example.com/{key}?signed"}
    assert (store.puts, store.objects[key]) == (1, b"b" * INLINE_BYTES)
    # Its age is that of its last use, give or take a day: `sentinel prune` goes by it.
    store.age = timedelta(days=2)
    await deliver_steps(attempt_of(run, replace(made, attempt=3)))
    assert store.puts == 2


async def test_without_a_store_steps_that_are_too_large_are_named(tmp_path: Path) -> None:
    run, kube = run_of(Server()), ConfigMaps()
    run.tools = replace(run.tools, kube=cast(Any, kube), shelf=cast(Any, LargeArchives(tmp_path)))

    with pytest.raises(UserError, match=r"too large: .*\(900 KiB\).*set store.bucket") as caught:
        await deliver_steps(attempt_of(run, with_steps("a" * 64, "b" * 64)))

    assert caught.value.reason is Reason.STEP_INVALID
    assert kube.calls == []
