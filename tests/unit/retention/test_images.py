"""Which images go, with a real registry: by age and number, and never what anything else names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.unit.clocks import START
from tests.unit.fakeapi import FakeApi
from tests.unit.registry import server
from tests.unit.registry.makers import push_image, push_index

from sentinel.clock import rfc3339
from sentinel.errors import UserError
from sentinel.image.manifest import digest_of
from sentinel.image.reference import Reference, parse_repository
from sentinel.registry import Patience, RegistryClient
from sentinel.registry.client import bytes_body
from sentinel.retention.builds import Referred, read_builds
from sentinel.retention.images import (
    Used,
    build_of,
    chosen_repositories,
    find_candidates,
    read_pods,
    stale_images,
    tagged_otherwise,
)
from sentinel.settings import Settings

QUICK = Patience(tries=2, pause=0.01, longest_pause=0.02)


def uid(n: int) -> str:
    return f"{n:08d}-9b1c-4e7e-8a55-3d2f10c4b7aa"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server.registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with RegistryClient(patience=QUICK) as opened:
        yield opened


async def push_box(
    client: RegistryClient, repository: Reference, *tags: str, days: int | None, branch: str = ""
) -> str:
    """An image of a box that is that old, under some tags; its digest."""
    run = {"Labels": {"com.wercker.branch": branch}} if branch else {}
    made = await push_image(client, repository.tagged("base"), run=run)
    content, media_type = await client.get_manifest_bytes(repository.pinned(made["digest"]))
    manifest = json.loads(content)
    config: dict[str, Any] = {"os": "linux", "config": run, "salt": tags}
    if days is not None:
        config["created"] = rfc3339(START - timedelta(days=days))
    blob = json.dumps(config).encode()
    await client.put_blob(repository, digest=digest_of(blob), size=len(blob), body=bytes_body(blob))
    manifest["config"] |= {"digest": digest_of(blob), "size": len(blob)}
    content = json.dumps(manifest).encode()
    for tag in tags:
        await client.put_manifest(repository.tagged(tag), content, media_type=media_type)
    return digest_of(content)


def settings(*repositories: str, **rules: Any) -> Settings:
    return Settings(
        retention={"images": {"repositories": [*repositories], **rules}},
        images={"prefix": "r.example.com/builds"},
    )


async def stale(
    client: RegistryClient,
    repository: Reference,
    *,
    builds: Referred | None = None,
    used: Used | None = None,
    **rules: int,
) -> dict[str, str]:
    """Why each goes, by its tags."""
    having = settings(**rules)
    keep = having.retention.images.keep_last
    candidates = await find_candidates(client, repository, keep_last=keep)
    found = stale_images(
        candidates, builds or Referred(), used or Used(), settings=having, now=START
    )
    return {" ".join(each.tags): gone.why for each, gone in found}


async def test_the_last_images_of_a_branch_and_the_young_ones_stay(
    client: RegistryClient, host: str
) -> None:
    repository = parse_repository(f"{host}/branches/app")
    for n, days in enumerate((100, 90, 80, 10)):
        await push_box(client, repository, uid(n), days=days, branch="main")
    await push_box(client, repository, uid(10), days=200, branch="old")
    await push_box(client, repository, uid(11), days=300)
    await push_box(client, repository, uid(12), days=None, branch="main")

    found = await stale(client, repository, keep_last=2, keep_days=30)

    assert found == {
        uid(n): "older than 30 days, and not among the last 2 of branch main" for n in (0, 1, 2)
    }
    assert await stale(client, repository, keep_last=5, keep_days=30) == {}
    assert await stale(client, repository, keep_last=10, keep_days=30) == {}


async def test_what_another_tag_points_at_stays(client: RegistryClient, host: str) -> None:
    repository = parse_repository(f"{host}/tags/app")
    await push_box(client, repository, uid(1), "latest", days=400)
    await push_box(client, repository, uid(2), "green", days=390)
    await push_box(client, repository, uid(3), "v1.0", days=380)
    await push_box(client, repository, "red", days=370)
    await push_box(client, repository, f"{uid(4)}-not-of-ours", days=360)
    plain = await push_box(client, repository, uid(5), days=350)
    await push_box(client, repository, uid(6), days=1)

    assert list(await stale(client, repository, keep_last=1)) == [uid(5)]

    # One that was tagged after the tags were read is found right before anything is deleted.
    assert plain not in await tagged_otherwise(client, repository)
    content, media_type = await client.get_manifest_bytes(repository.pinned(plain))
    await client.put_manifest(repository.tagged("v2"), content, media_type=media_type)
    assert plain in await tagged_otherwise(client, repository)


async def test_boxes_of_steps_stay_as_long_as_their_build(
    client: RegistryClient, host: str
) -> None:
    repository = parse_repository(f"{host}/eachstep/app")
    for number in (1, 2):
        await push_box(client, repository, f"{uid(1)}-step{number}", days=100)
    await push_box(client, repository, uid(1), f"{uid(1)}-step3", days=100)
    await push_box(client, repository, uid(2), days=1)

    there = Referred(uids={uid(1)})
    assert await stale(client, repository, builds=there, keep_last=1, keep_days=30) == {}
    found = await stale(client, repository, keep_last=2, keep_days=30)
    assert sorted(found) == [f"{uid(1)}-step1", f"{uid(1)}-step2"]
    assert f"{uid(1)} {uid(1)}-step3" in await stale(client, repository, keep_last=1, keep_days=30)


async def test_what_builds_and_pods_use_stays(client: RegistryClient, host: str) -> None:
    repository = parse_repository(f"{host}/used/app")
    digests = [await push_box(client, repository, uid(n), days=100 - n) for n in range(6)]
    step = f"{uid(7)}-1-web-0a1b2c3d"
    part = await push_image(client, repository.tagged("part"))
    index = await push_index(client, repository.tagged(step), [part])
    await client.delete_manifest(repository.pinned(digests[5]))
    await push_box(client, repository, uid(8), days=1)
    builds = await read_builds(
        cast(
            Any,
            FakeApi(
                builds=[
                    build("a", uid(0)),
                    build("b", uid(20), image={"repository": "x", "digest": digests[1]}),
                ]
            ),
        ),
        settings(),
    )
    pods = [
        pod("a", spec={"containers": [{"image": f"{repository.name}@{digests[2]}"}]}),
        pod("b", spec={"initContainers": [{"image": f"{repository.name}:{uid(3)}"}]}),
        pod(
            "c",
            status={"containerStatuses": [{"imageID": f"{repository.name}@{part['digest']}"}]},
        ),
    ]
    used = await read_pods(cast(Any, FakeApi(pods=pods)), settings())

    assert list(await stale(client, repository, builds=builds, used=used, keep_last=1)) == [uid(4)]
    found = await stale(client, repository, builds=builds, keep_last=1)
    assert found.pop(step) == "a step built it, and its Build is gone"
    assert sorted(found) == [uid(2), uid(3), uid(4)]
    assert step not in await stale(client, repository, builds=Referred(uids={uid(7)}), keep_last=1)
    assert index not in await tagged_otherwise(client, repository)


def build(name: str, uid: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "team", "name": name, "uid": uid}, "status": status}


def pod(name: str = "p", **fields: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "team", "name": name}, **fields}


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        (uid(1), uid(1)),
        (f"{uid(1)}-2-my-image-0a1b2c3d", uid(1)),
        (f"{uid(1)}-2-0a1b2c3d", uid(1)),
        (f"{uid(1)}-2", ""),
        (f"{uid(1)}-release", ""),
        (f"v-{uid(1)}", ""),
        (uid(1).upper(), ""),
        ("latest", ""),
    ],
)
def test_tags_of_builds_are_recognised(tag: str, expected: str) -> None:
    assert build_of(tag) == expected


async def test_an_image_is_deleted_with_its_tags_and_once(
    client: RegistryClient, host: str
) -> None:
    repository = parse_repository(f"{host}/delete/app")
    digest = await push_box(client, repository, uid(1), days=100)
    await client.delete_manifest(repository.pinned(digest))
    await client.delete_manifest(repository.pinned(digest))
    with pytest.raises(UserError, match="not found"):
        await client.resolve(repository.tagged(uid(1)))
    with pytest.raises(ValueError, match="does not name a digest alone"):
        await client.delete_manifest(repository.tagged(uid(1)))


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (405, "UNSUPPORTED", r"does not delete images: UNSUPPORTED.* storage\.delete\.enabled"),
        (403, "DENIED", r"denied deleting images of .*/team/app: DENIED.* the right to delete"),
        (401, "UNAUTHORIZED", r"denied deleting images"),
    ],
)
async def test_a_registry_that_does_not_delete_is_one_sentence(
    client: RegistryClient, status: int, code: str, message: str
) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"errors": [{"code": code, "message": "no"}]}, status=status)

    app = web.Application()
    app.router.add_delete("/v2/team/app/manifests/{digest}", refuse)
    async with TestServer(app) as fake:
        target = parse_repository(f"127.0.0.1:{fake.port}/team/app")
        with pytest.raises(UserError, match=message):
            await client.delete_manifest(target.pinned(digest_of(b"x")))


@pytest.mark.parametrize(("status", "ends"), [(404, False), (400, True)])
async def test_a_tag_that_cannot_be_read_may_point_at_anything(
    client: RegistryClient, status: int, ends: bool
) -> None:
    """One that points at nothing, as old registries leave them, does not stand in the way."""
    digest = digest_of(b"x")

    async def tags(_: web.Request) -> web.Response:
        return web.json_response({"tags": [uid(1), "latest"]})

    async def manifest(request: web.Request) -> web.Response:
        found = request.match_info["tag"] != "latest"
        return web.Response(
            status=200 if found else status, headers={"Docker-Content-Digest": digest}
        )

    app = web.Application()
    app.router.add_get("/v2/team/app/tags/list", tags)
    app.router.add_get("/v2/team/app/manifests/{tag}", manifest)
    async with TestServer(app) as fake:
        target = parse_repository(f"127.0.0.1:{fake.port}/team/app")
        if ends:
            with pytest.raises(UserError, match="team/app:latest"):
                await find_candidates(client, target, keep_last=1)
        else:
            (found,) = await find_candidates(client, target, keep_last=1)
            assert found.tags == (uid(1),)


@pytest.mark.parametrize("endless", [False, True])
async def test_tags_are_read_page_by_page_and_bounded(
    client: RegistryClient, endless: bool
) -> None:
    pages = [["a", "b"], ["c"]]

    async def tags(request: web.Request) -> web.Response:
        at = int(request.query.get("last", 0))
        more = endless or at + 1 < len(pages)
        link = f'</v2/team/app/tags/list?last={at + 1}>; rel="next"'
        found = [f"t{at}"] if endless else pages[at]
        return web.json_response({"tags": found}, headers={"Link": link} if more else {})

    app = web.Application()
    app.router.add_get("/v2/team/app/tags/list", tags)
    async with TestServer(app) as fake:
        target = parse_repository(f"127.0.0.1:{fake.port}/team/app")
        if endless:
            with pytest.raises(UserError, match="more than 20 tags"):
                await client.list_tags(target, most=20)
        else:
            assert await client.list_tags(target, most=20) == ("a", "b", "c")


def test_patterns_match_what_builds_may_push_to() -> None:
    builds = Referred(
        repositories={
            "r.example.com/builds/team/app": {"team"},
            "r.example.com/builds/other/app": {"team"},
            "elsewhere.example.com/app": {"team"},
            "no name": {"team"},
        }
    )

    def names(*patterns: str) -> list[str]:
        return [each.name for each in chosen_repositories(builds, settings(*patterns))]

    assert names() == []
    assert names("r.example.com/builds/*") == ["r.example.com/builds/team/app"]
    assert names("r.example.com/builds/{namespace}/app") == ["r.example.com/builds/team/app"]
    assert names("r.example.com/x", "r.example.com/builds/team/*") == [
        "r.example.com/builds/team/app",
        "r.example.com/x",
    ]
    with pytest.raises(UserError, match="is not a valid image name"):
        names("r.example.com/x:y z")
