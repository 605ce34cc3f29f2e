"""What is answered: logs whole, by step, by range and by lines; output; refusals that say what is wrong."""

from __future__ import annotations

import json

import aiohttp
import pytest
from tests.unit.results.conftest import LOG, OUTPUT, PREFIX, World, build

from sentinel.results import stored
from sentinel.results.answers import Refusal
from sentinel.results.query import LogQuery, span
from sentinel.store.objects import ObjectInfo

ONE = f"{PREFIX}step/compile-1/log.txt"
WHOLE = "▶ compile\none\ntwo\nthree\n▶ test\nfine\n".encode()


async def test_the_log_of_a_build_and_of_its_steps(world: World) -> None:
    code, body, headers = await world.get(LOG)
    assert (code, body, headers["Content-Type"]) == (200, WHOLE, "text/plain; charset=utf-8")
    assert headers["X-Content-Type-Options"] == "nosniff"
    for step in ("compile", "compile-1"):
        assert (await world.get(f"{LOG}?step={step}"))[1] == b"one\ntwo\nthree"
    assert (await world.get(f"{LOG}?step=script"))[1] == WHOLE
    assert (await world.get(f"{LOG}?tailLines=1"))[1] == "▶ compile\nthree\n▶ test\nfine\n".encode()
    assert (await world.get(f"{LOG}?sinceTime=2026-11-28T10:01:30Z"))[
        1
    ] == "▶ test\nfine\n".encode()
    assert (await world.get(f"{LOG}?sinceTime=2026-11-28T11:00:00Z"))[1] == b""


async def test_a_range_of_a_log_and_of_the_output(world: World) -> None:
    code, body, headers = await world.get(f"{LOG}?step=compile", headers={"Range": "bytes=4-"})
    assert (code, body, headers["Content-Range"]) == (206, b"two\nthree", "bytes 4-12/13")
    code, body, _ = await world.get(f"{LOG}?step=compile", headers={"Range": "bytes=13-"})
    assert (code, json.loads(body)["reason"]) == (416, "RequestedRangeNotSatisfiable")
    whole = world.store.objects[f"{PREFIX}output.tar"]
    code, body, headers = await world.get(OUTPUT)
    assert (code, body, headers["Content-Length"]) == (200, whole, "2048")
    code, body, headers = await world.get(OUTPUT, headers={"Range": "bytes=1000-1009"})
    assert (code, body, headers["Content-Range"]) == (206, whole[1000:1010], "bytes 1000-1009/2048")


async def test_large_logs_pass_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "PIECE", 1000)
    world.store.objects[ONE] = b"".join(b"line %d\n" % n for n in range(3000))
    assert (await world.get(f"{LOG}?step=compile"))[1] == world.store.objects[ONE]
    assert max(length for _, _, length in world.store.reads) == 1000


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        (LOG.replace("hello", "nope"), 404, "there is no Build 'nope' in namespace 'team'"),
        (f"{LOG}?step=lint", 404, "Build hello has no step 'lint'; its steps are: compile, test"),
        (f"{LOG}?tailLines=-1", 400, "tailLines must be a number from 0 to 10000"),
        (f"{LOG}?tailLines=10001", 400, "tailLines must be a number from 0 to 10000"),
        (f"{LOG}?sinceTime=now", 400, "sinceTime must be a time as in RFC 3339"),
        (f"{LOG}?sinceTime=2026-11-28T10:00:00", 400, "sinceTime must be a time as in RFC 3339"),
        (f"{LOG}?follow=true", 400, "`sentinel logs -f` follows a build that runs"),
        (f"{OUTPUT}?step=a", 400, "unknown parameter 'step'; there are: none"),
    ],
)
async def test_refusals_say_what_is_wrong(world: World, path: str, code: int, message: str) -> None:
    status = json.loads((await world.get(path))[1])
    assert (status["kind"], status["code"]) == ("Status", code)
    assert message in status["message"]


async def test_a_store_that_is_down_is_a_503_without_its_address(world: World) -> None:
    world.store.down = True
    for path in (LOG, f"{LOG}?step=test", OUTPUT):
        code, body, _ = await world.get(path)
        status = json.loads(body)
        assert (code, status["reason"]) == (503, "ServiceUnavailable")
        assert status["message"].startswith("the object store cannot be read now; try again")
        assert "secret.internal" not in status["message"]


async def test_a_store_that_fails_on_the_way_cuts_the_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "PIECE", 1000)
    world.store.objects[ONE] = b"x" * 10_000
    read = world.store.read

    async def failing(key: str, *, start: int, length: int) -> bytes:
        world.store.down = start >= 5000
        return await read(key, start=start, length=length)

    monkeypatch.setattr(world.store, "read", failing)
    with pytest.raises(aiohttp.ClientError):
        await world.get(f"{LOG}?step=compile")


async def test_logs_that_are_missing_or_still_to_come(world: World) -> None:
    del world.store.objects[ONE]
    assert (await world.get(LOG))[1] == (
        "▶ compile\n--- sentinel: this log is not in the store\n▶ test\nfine\n".encode()
    )
    code, body, _ = await world.get(f"{LOG}?step=compile")
    assert (code, json.loads(body)["message"]) == (404, "no log in the store for: compile")
    running = build(conditions=[])
    del running["status"]["steps"][0]["completionTime"]
    world.api.add("builds", running)
    assert b"its log is stored when it has ended" in (await world.get(LOG))[1]
    assert b"its log is stored when it has ended" in (await world.get(f"{LOG}?step=compile"))[1]
    del world.store.objects[f"{PREFIX}output.tar"]
    assert b"its output is stored at its end" in (await world.get(OUTPUT))[1]


async def test_a_log_that_was_changed_says_so_and_such_an_output_is_cut(world: World) -> None:
    world.store.signed = {ONE: "0" * 64, f"{PREFIX}output.tar": "0" * 64}
    changed = b"\n--- sentinel: this log was changed after it was stored\n"
    assert (await world.get(f"{LOG}?step=compile"))[1] == changed
    assert changed + "▶ test\n".encode() in (await world.get(LOG))[1]
    with pytest.raises(aiohttp.ClientError):
        await world.get(OUTPUT)


@pytest.mark.parametrize("lines", [0, 1, 3, 2000, 9999])
@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_the_last_lines_are_those_that_tail_prints(
    world: World, lines: int, end: bytes
) -> None:
    text = b"\n".join(b"%d" % n * (n % 90) for n in range(3000)) + end
    world.store.objects["k"] = text
    at = await stored.start_of_tail(
        world.store, ObjectInfo(key="k", size=len(text), etag=""), lines
    )
    kept = text.removesuffix(b"\n").split(b"\n")[-lines:] if lines else []
    assert text[at:] == (b"\n".join(kept) + end if lines else b"")


def test_ranges() -> None:
    assert span(None, 10) == (0, 10)
    assert span("bytes=0-4", 10) == (0, 5)
    assert span("bytes=-4", 10) == (6, 10)
    assert span("bytes=4-400", 10) == (4, 10)
    assert span("bytes=0-1,4-5", 10) == (0, 10)
    for header, code in {
        "bytes=10-": 416,
        "bytes=-0": 416,
        "bytes=5-4": 416,
        "lines=1-2": 400,
    }.items():
        with pytest.raises(Refusal) as refused:
            span(header, 10)
        assert refused.value.code == code
    assert LogQuery.parse({"timeout": "30s"}) == LogQuery()
