"""What a Build has of its parents: waiting for them, judging them, and where image, outputs and source come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from tests.unit.clocks import Hasty
from tests.unit.engine.world import Server, plan, run_of

from sentinel.api.build import SourceStatus
from sentinel.api.conditions import ConditionType, get_condition
from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.leftovers import drop
from sentinel.engine.outputs import deliver_outputs
from sentinel.engine.parent import APPEARS_WITHIN, Inherited, inherit
from sentinel.engine.run import Run
from sentinel.errors import NotVerified, ParentPending, UserError
from sentinel.kube.resources import SECRETS
from sentinel.plan.model import PlanSource
from sentinel.store.objects import ObjectInfo

URL = "https://example.com/o/r.git"
COMMIT = "c" * 40
SHA = "5" * 64
IMAGE = "registry.example.com/team/r"
DIGEST = "sha256:" + "1" * 64
CREATED = "2026-11-23T09:00:00Z"


def parent(name: str = "p", *, output: bool = True, **spec: Any) -> dict[str, Any]:
    """A Build that has succeeded."""
    uid = f"uid-{name}"
    prefix = f"ns/project-artifacts/r/{uid}/2/"
    stored = {"output": {"sizeBytes": 7, "sha256": SHA}} if output else {}
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": "5"},
        "spec": {
            "source": {"git": {"url": URL, "ref": "main", "secretRef": {"name": "git"}}},
            **spec,
        },
        "status": {
            "phase": "Succeeded",
            "conditions": [
                {"type": "Succeeded", "status": "True", "reason": "Passed"},
                {"type": "Finished", "status": "True", "reason": "Completed"},
            ],
            "pod": {"attempt": 2},
            "source": {"commit": COMMIT, "branch": "main", "subject": "Say hello"},
            "image": {"repository": IMAGE, "digest": DIGEST, "tags": ["green"]},
            "results": {"prefix": prefix, **stored},
        },
    }


def unfinished(phase: str) -> dict[str, Any]:
    raw = parent()
    raw["status"] = {"phase": phase, "conditions": []}
    return raw


@dataclass
class Store:
    """Sizes of objects by key."""

    objects: dict[str, int] = field(default_factory=dict)

    async def head(self, key: str) -> ObjectInfo | None:
        size = self.objects.get(key)
        return None if size is None else ObjectInfo(key=key, size=size, etag="")

    def presign_get(self, key: str) -> str:
        return f"https://store.example.com/{key}?signed"


class World(Server):
    """An API server with more Builds than the one that is driven, and Secrets."""

    def __init__(self, *builds: dict[str, Any]) -> None:
        super().__init__()
        self.build["metadata"]["creationTimestamp"] = CREATED
        self.add("builds", *builds)
        self.add("secrets")
        self.builds, self.secrets = self.objects["builds"], self.objects["secrets"]


def run_with(*builds: dict[str, Any], age: float = 1.0, **spec: Any) -> tuple[Run, World]:
    """A Build without a source that names `p` as its parent, `age` seconds old."""
    world = World(*builds)
    world.build["spec"] = {}
    clock = Hasty()
    clock.elapsed = age
    run = run_of(world, clock=clock, **{"parent": {"name": "p"}, **spec})
    store = Store({f"ns/project-artifacts/r/uid-{name}/2/output.tar": 7 for name in world.builds})
    run.tools = replace(run.tools, store=cast(Any, store))
    return run, world


async def inherited(*builds: dict[str, Any], **spec: Any) -> Inherited:
    run, _ = run_with(*builds, **spec)
    found = await inherit(run)
    assert found is not None
    return found


async def refused(*builds: dict[str, Any], **more: Any) -> UserError:
    run, _ = run_with(*builds, **more)
    with pytest.raises(UserError) as caught:
        await inherit(run)
    return caught.value


async def test_a_build_without_a_parent_inherits_nothing() -> None:
    run, _ = run_with(parent=None, source={"git": {"url": URL}})
    assert await inherit(run) is None
    assert run.source.git is not None


async def test_image_output_and_source_are_the_parent_s() -> None:
    found = await inherited(parent(config="box: x"))
    assert found.image == f"{IMAGE}@{DIGEST}"
    assert found.source is not None and found.source.git is not None
    git = found.source.git
    assert (git.url, git.ref, git.commit) == (URL, "main", COMMIT)
    assert found.source.git.secret_ref is not None
    assert found.config == "box: x"
    (output,) = found.outputs
    assert (output.build, output.uid, output.attempt, output.sha256, output.size) == (
        *("p", "uid-p", 2, SHA, 7),
    )
    assert found.notes == ()


async def test_a_source_of_its_own_counts_and_the_image_is_the_parent_s_all_the_same() -> None:
    found = await inherited(parent(), source={"git": {"url": "https://example.com/other.git"}})
    assert found == Inherited(image=f"{IMAGE}@{DIGEST}")


async def test_its_own_config_goes_before_the_parent_s() -> None:
    assert (await inherited(parent(config="box: x"), config="box: y")).config == "box: y"


async def test_an_archive_is_pinned_to_what_the_parent_had() -> None:
    archive = parent(source={"archive": {"url": "https://example.com/a.tgz"}}, output=False)
    archive["status"]["source"] = {"digest": "sha256:" + "a" * 64}
    found = await inherited(archive)
    assert found.source is not None and found.source.archive is not None
    assert found.source.archive.sha256 == "a" * 64


async def test_without_output_the_source_is_what_the_parent_was_built_from() -> None:
    found = await inherited(parent(output=False))
    assert found.outputs == ()
    assert "$WERCKER_OUTPUT_DIR" in found.notes[0]


async def test_the_source_of_a_parent_without_one_is_its_own_parent_s() -> None:
    middle = parent("p", source=None, parent={"name": "root"})
    del middle["spec"]["source"]
    found = await inherited(middle, parent("root", config="box: r"))
    assert found.source is not None and found.source.git is not None
    assert found.source.git.url == URL
    assert found.config == "box: r"
    assert [each.build for each in found.outputs] == ["p"]
    error = await refused(middle)
    assert error.reason is Reason.PARENT_NOT_FOUND
    assert "root" in error.message


async def test_several_outputs_each_have_a_directory() -> None:
    inputs = [{"name": "p", "directory": "one"}, {"name": "q", "directory": "two"}]
    found = await inherited(parent(), parent("q"), inputs=inputs)
    assert [(each.build, each.directory) for each in found.outputs] == [("p", "one"), ("q", "two")]


async def test_of_several_outputs_one_may_be_missing_and_not_all() -> None:
    inputs = [{"name": "p", "directory": "one"}, {"name": "q", "directory": "two"}]
    found = await inherited(parent(output=False), parent("q"), inputs=inputs)
    assert [each.directory for each in found.outputs] == ["two"]
    assert "directory one" in found.notes[0]
    error = await refused(parent(output=False), parent("q", output=False), inputs=inputs)
    assert error.reason is Reason.SOURCE_NOT_FOUND


@pytest.mark.parametrize(
    "inputs",
    [
        [{"name": "p", "directory": "one"}, {"name": "q", "directory": "one"}],
        [{"name": "b", "directory": "one"}],
    ],
)
async def test_inputs_that_cannot_be(inputs: list[dict[str, str]]) -> None:
    assert (await refused(parent(), parent("q"), inputs=inputs)).reason is Reason.INVALID_SPEC


async def test_a_build_is_not_its_own_parent() -> None:
    assert (await refused(parent={"name": "b"})).reason is Reason.INVALID_SPEC


@pytest.mark.parametrize(
    ("phase", "reason"),
    [("Failed", "ExitCode"), ("Cancelled", "Cancelled"), ("Errored", "NodeLost")],
)
async def test_a_parent_that_did_not_succeed(phase: str, reason: str) -> None:
    raw = parent()
    raw["status"]["phase"] = phase
    raw["status"]["conditions"][0] |= {"status": "False", "reason": reason, "message": "step test"}
    error = await refused(raw)
    assert error.reason is Reason.PARENT_FAILED
    assert f"ended as {phase} ({reason}: step test)" in error.message


async def test_a_parent_that_runs_is_waited_for_and_the_status_shows_it() -> None:
    run, world = run_with(unfinished("Running"))
    for _ in range(2):
        with pytest.raises(ParentPending) as caught:
            await inherit(run)
    assert caught.value.parent == ("ns", "p")
    assert caught.value.within == pytest.approx(15 * 60 + 2 * 3600 - 1)
    assert world.build["status"]["phase"] == "Queued"
    known = get_condition(run.writer.status.conditions, ConditionType.SUCCEEDED)
    assert known is not None
    assert (known.status, known.message) == ("Unknown", "waiting for Build p, the parent (Running)")
    assert len(world.writes) == 1
    assert not run.writer.begun
    world.builds["p"] = parent()
    assert await inherit(run) is not None


async def test_a_result_that_is_not_final_is_not_believed() -> None:
    raw = parent()
    del raw["status"]["conditions"][1]
    run, _ = run_with(raw)
    with pytest.raises(ParentPending):
        await inherit(run)


async def test_the_wait_ends_with_the_build_s_own_timeouts() -> None:
    timeouts = {"pending": "1m", "build": "2m"}
    error = await refused(unfinished("Running"), age=181, timeouts=timeouts)
    assert error.reason is Reason.PARENT_FAILED
    assert "has not finished (Running) 180 s after" in error.message


async def test_a_parent_may_be_applied_a_moment_after_its_child() -> None:
    run, _ = run_with()
    with pytest.raises(ParentPending) as caught:
        await inherit(run)
    assert caught.value.within == pytest.approx(APPEARS_WITHIN - 1)
    error = await refused(age=APPEARS_WITHIN)
    assert error.reason is Reason.PARENT_NOT_FOUND


async def test_a_directory_is_not_kept_so_only_its_output_can_be_gone_on_from() -> None:
    sent = {"source": {"upload": {"sha256": SHA, "size": 7}}, "config": "box: x"}
    found = await inherited(parent(**sent))
    assert found.source is not None and found.source.upload is not None
    assert (found.config, [each.build for each in found.outputs]) == ("box: x", ["p"])
    error = await refused(parent(output=False, **sent))
    assert error.reason is Reason.SOURCE_NOT_FOUND
    assert "the directory that p was run with is not kept" in error.message


async def test_output_that_was_not_kept_is_an_error_and_not_another_source() -> None:
    run, _ = run_with(parent())
    run.tools = replace(run.tools, store=cast(Any, Store({})))
    with pytest.raises(UserError, match="not in the object store any more") as caught:
        await inherit(run)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    run.tools = replace(run.tools, store=None)
    with pytest.raises(UserError, match="had no object store"):
        await inherit(run)


@pytest.mark.parametrize("place", ["other/ns/project-artifacts/../../secret/uid-x/2", "", "a/b"])
async def test_where_an_output_lies_is_derived_whatever_a_status_says(place: str) -> None:
    raw = parent()
    raw["status"]["results"]["prefix"] = place
    error = await refused(raw)
    assert "not in the object store any more" in error.message


async def test_the_plan_s_source_has_what_was_found_of_the_parent() -> None:
    run, _ = run_with(parent())
    found = await inherit(run)
    assert found is not None
    of = PlanSource(url=URL, commit=COMMIT, ref=COMMIT)
    source, status = found.apply(of, SourceStatus(url=URL, commit=COMMIT))
    assert (source.branch, source.ref, source.subject) == ("main", "main", "Say hello")
    assert source.parent_image == f"{IMAGE}@{DIGEST}"
    assert source.inherited and len(source.outputs) == 1
    assert source.short == "output of p"
    # Where the commit is: a commit status is set there, also for a parent from before that was in the status.
    assert (status.url, status.branch) == (URL, "main")
    own = replace(found, source=None).apply(of, SourceStatus(commit=COMMIT))
    assert own == (replace(of, parent_image=source.parent_image), SourceStatus(commit=COMMIT))


async def _planned() -> tuple[Run, World, Attempt]:
    run, world = run_with(parent())
    run.inherited = await inherit(run)
    assert run.inherited is not None
    source = replace(plan().source, outputs=run.inherited.outputs, inherited=True)
    return run, world, Attempt(run=run, plan=replace(plan(), source=source))


async def test_urls_come_in_a_secret_of_the_attempt_which_goes_with_its_pod() -> None:
    run, world, made = await _planned()
    for _ in range(2):
        await deliver_outputs(made)
    ((name, secret),) = world.secrets.items()
    assert name.endswith("-1-outputs")
    assert secret["metadata"]["ownerReferences"][0]["kind"] == "Build"
    assert set(secret["data"]) == {"0.url"}
    await drop(run.tools, SECRETS, run.id(1), run.id(1).outputs)
    assert world.secrets == {}
    await drop(run.tools, SECRETS, run.id(1), run.id(1).outputs)


async def test_a_secret_that_is_not_ours_is_neither_used_nor_deleted() -> None:
    run, world, made = await _planned()
    await deliver_outputs(made)
    (secret,) = world.secrets.values()
    secret["data"]["0.url"] = "aHR0cHM6Ly9ldmlsLmV4YW1wbGUuY29t"
    with pytest.raises(NotVerified):
        await deliver_outputs(made)
    await drop(run.tools, SECRETS, run.id(1), run.id(1).outputs)
    assert list(world.secrets.values()) == [secret]
