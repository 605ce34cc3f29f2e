"""What the operator keeps of the resolver's answers: bounded, by namespace, and never spoiled."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sentinel.plan.model import ImageFacts, StepFacts
from sentinel.resolver.messages import KnownStep
from sentinel.resolver.shelf import VERSIONS, Known, Shelf


def put(shelf: Shelf, tmp_path: Path, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / "new").write_bytes(data)
    shelf.put(str(tmp_path / "new"), digest, len(data))
    return digest


async def test_the_archive_that_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", limit=25, largest=10)
    first, second = (put(shelf, tmp_path, each * 10) for each in (b"a", b"b"))
    assert shelf.has(first)
    third = put(shelf, tmp_path, b"c" * 10)
    assert [shelf.has(each) for each in (first, second, third)] == [True, False, True]
    assert sorted(each.name for each in shelf.directory.iterdir()) == sorted([first, third])


async def test_a_spoiled_archive_is_not_given_out(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", limit=25, largest=10)
    digest = put(shelf, tmp_path, b"a")
    path = await shelf.archive(digest)
    assert path is not None
    path.write_bytes(b"b")
    assert await shelf.archive(digest) is None
    assert not shelf.has(digest)


def image(name: str, size: int = 0) -> ImageFacts:
    return ImageFacts(name=name, reference=name, digest="d", env=(("A", "x" * size),))


def test_facts_of_images_are_bounded_by_what_they_hold() -> None:
    known = Known(limit=10_000)
    known.keep_image("team", "a", "", image("a", 4000))
    known.keep_image("team", "b", "", image("b", 4000))
    assert known.image("team", "a", "") is not None
    known.keep_image("team", "c", "", image("c", 4000))
    assert [known.image("team", name, "") is not None for name in "abc"] == [True, False, True]
    known.keep_image("team", "huge", "", image("huge", 20_000))
    assert known.image("team", "huge", "") is None


def test_facts_are_known_to_their_namespace_and_login_only() -> None:
    known = Known()
    known.keep_image("team", "a", "login", image("a"))
    assert known.image("other", "a", "login") is None
    assert known.image("team", "a", "") is None
    assert known.image("team", "a", "login") == image("a")


def step(version: str, digest: str) -> KnownStep:
    return KnownStep(
        registry="r", owner="o", name="n", version=version, mark="m", digest=digest * 64
    )


def test_the_newest_versions_of_a_step_are_known_once_each() -> None:
    known = Known()
    facts = StepFacts(version="1", digest="d")
    for number in range(VERSIONS + 2):
        known.keep_step("team", step(f"1.0.{number}", "a"), facts)
    known.keep_step("team", step("1.0.9", "b"), facts)
    found = list(known.steps("team", "o", "n"))
    assert len(found) == VERSIONS
    assert [each.version for each in found][-1] == "1.0.9"
    assert [each.digest[0] for each in found if each.version == "1.0.9"] == ["b"]
    assert known.steps("other", "o", "n") == {}
