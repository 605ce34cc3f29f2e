"""Logs, masks, uploads and collected archives."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import random
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from sentinel.session.messages import AttemptLimits, Collect, Upload
from sentinel.session.records import Collected, CollectFailed

from .conftest import Box, script


async def test_any_bytes_arrive_as_they_are(box: Box) -> None:
    state = await box.run(
        f"head -c 700000 /dev/urandom | tee {box.root}/copy; printf '\\000\\377no newline'",
        masks=[b"a secret that is not there"],
    )
    expected = (box.root / "copy").read_bytes() + b"\x00\xffno newline"
    log = state.steps[1].log
    assert (log.bytes, log.sha256) == (len(expected), hashlib.sha256(expected).hexdigest())
    assert box.log(1) == expected
    assert (box.root / "stdout").read_bytes() == (
        b'--- sentinel step=1 offset=0 id=script-1 name="script"\n' + expected
    )


async def test_a_log_past_its_limit_loses_its_middle(box: Box) -> None:
    state = await box.run("seq -w 0 9999", limits=AttemptLimits(log=1000))
    text = box.log(1)
    assert text.startswith(b"0000\n0001\n") and text.endswith(b"9998\n9999\n")
    assert b"\n[sentinel: 49000 bytes of this log were dropped here]\n" in text
    assert state.steps[1].log.dropped == 49000
    assert state.steps[1].log.sha256 == hashlib.sha256(text).hexdigest()


SECRET = b"p@ss/word+\"quoted\" 'x' & more"


async def test_secrets_are_masked_in_every_form_and_message(box: Box, shell: list[str]) -> None:
    encoded = [base64.b64encode(b"." * shift + SECRET + b"tail").decode() for shift in range(3)]
    wrapped = base64.encodebytes(b"0" * 20 + SECRET * 3).decode()
    state = await box.run(
        'set -x; : "$SECRET"; set +x; echo "value $SECRET"; '
        + "".join(f"echo {each};" for each in encoded)
        + f"printf '%s' '{wrapped}'; echo two >&2",
        'fail "no $SECRET"',
        env=[("SECRET", SECRET.decode())],
        masks=[SECRET],
        shell=shell,
    )
    text = box.log(1)
    assert SECRET not in text and b"quoted" not in text
    assert b"value ****\n" in text
    for each in encoded:
        assert each[4:-8].encode() not in text
    assert base64.b64encode(SECRET)[4:-4] not in text.replace(b"\n", b"")
    assert state.steps[2].message == "no ****"
    assert SECRET not in (box.session_dir / "journal").read_bytes()
    assert SECRET not in (box.root / "stdout").read_bytes()


async def test_a_secret_that_comes_in_pieces_and_one_of_several_lines_are_masked(box: Box) -> None:
    key = b"-----BEGIN KEY-----\nline of a key\nabc\n-----END KEY-----\n"
    await box.run(
        "printf open; sleep 0.05; printf ses; sleep 0.05; echo ame;"
        " printf opens; sleep 0.05; echo elves; printf openses",
        'echo "$KEY" | while read line; do echo "> $line"; done; echo "$KEY"',
        env=[("KEY", key.decode())],
        masks=[b"opensesame", key, b"no"],
    )
    assert box.log(1) == b"****\nopenselves\nopenses"
    assert box.log(2) == b"> ****\n> ****\n> abc\n> ****\n> \n****\n\n"


CONFIG = """{
    "server": {
    "password": "s3cret-77",
    },

      \\t
    'it is': [ "on",   "off" ],
    key: pass\\word\\\\77
------
\ttab\tand "quotes" & more
}
"""

PRINTING = {
    "echo, unquoted": "set -f; echo $CONFIG",
    "echo": 'echo "$CONFIG"',
    "read": 'echo "$CONFIG" | while read line; do echo "> $line"; done',
    "read -r": 'echo "$CONFIG" | while IFS= read -r line; do printf "%s\\n" "one: $line"; done',
    "sed": """printf '%s' "$CONFIG" | sed 's/^/  /; s/\\t/        /g'""",
    "no indentation": """printf '%s' "$CONFIG" | sed 's/^[[:space:]]*//'""",
    "jq -c": """printf '%s' "$CONFIG" | tr -d ' \\t\\n'""",
    "jq": """printf '%s' "$CONFIG" | sed 's/[:,{[]/&\\n  /g'""",
    "xargs": "set -f; for word in $CONFIG; do echo $word; done",
    "set -x": 'set -x; : "$CONFIG"',
    "set -x, unquoted": "set -f; set -x; : $CONFIG",
    "base64": """printf '%s' "$CONFIG" | base64; echo $CONFIG | base64 -w 20""",
}


@pytest.mark.parametrize("way", PRINTING)
async def test_no_line_of_a_secret_shows_however_it_is_printed(
    box: Box, shell: list[str], way: str
) -> None:
    """White space does not count: a line whose blanks were changed is the same line to its reader."""
    state = await box.run(
        PRINTING[way], env=[("CONFIG", CONFIG)], masks=[CONFIG.encode()], shell=shell
    )
    assert state.steps[1].passed and b"****" in box.log(1)
    shown = "".join(box.log(1).decode().split())
    for line in CONFIG.splitlines():
        bare = "".join(line.split())
        if sum(c.isalnum() for c in bare) >= 4:
            assert bare not in shown, shown
    for word in ("s3cret-77", "word77", "c3NlY3JldC03N", "zM2NyZXQtNzc", "czNjcmV0LTc3"):
        assert word not in shown, shown


async def test_indentation_and_brackets_of_other_text_are_never_masked(box: Box) -> None:
    """concourse#4749, concourse#4656: a line of blanks in a secret must not mask every log."""
    text = 'def f():\n    return 1\n{\n    "list": [\n    ],\n    },\n}\n        eight\n\n------\n'
    await box.run(f"printf '%s' '{text}'", masks=[CONFIG.encode(), b"    ", b"\n\n\n\n\n"])
    assert box.log(1).decode() == text


def covered(secrets: list[bytes], text: bytes) -> bytes:
    """`text` with every occurrence of every secret masked, found by looking everywhere: slow, and plainly right."""
    out, at = bytearray(), 0
    while at < len(text):
        end, begin = at, at
        while begin <= end and begin < len(text):
            found = [len(s) for s in secrets if text.startswith(s, begin)]
            if begin == at and not found:
                break
            # What begins inside of what is covered belongs to it.
            end = max(end, begin + max(found, default=0))
            begin += 1
            if begin >= end:
                break
        out += b"****" if end > at else text[at : at + 1]
        at = max(end, at + 1)
    return bytes(out)


async def test_any_secrets_in_any_text_in_any_pieces_are_masked(box: Box) -> None:
    """Fifty draws of two letters, so that secrets overlap, repeat and begin again; each text comes in pieces."""
    draw = random.Random(20261127)

    def word(least: int, most: int) -> bytes:
        return bytes(draw.choice(b"ab") for _ in range(draw.randint(least, most)))

    secrets = [word(4, 9) for _ in range(3)]
    texts = [word(0, 80) for _ in range(50)]
    codes = []
    for text in texts:
        cuts = sorted(draw.choices(range(len(text) + 1), k=draw.randint(0, 4)))
        ends = zip([0, *cuts], [*cuts, len(text)], strict=True)
        # Each printf is a write of its own; some pieces arrive alone.
        pieces = (f"printf %s {text[a:b].decode()}" for a, b in ends if a < b)
        codes.append("; ".join(f"{each}; sleep 0.0{draw.randint(0, 1)}" for each in pieces))
    await box.run(*codes, masks=secrets)
    for at, text in enumerate(texts, 1):
        assert box.log(at) == covered(secrets, text), (secrets, text, codes[at - 1])


@dataclass
class Store:
    """An HTTP server that takes PUTs and answers the next of `answers`, then 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    puts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:]) if k}
        body = await reader.readexactly(int(headers["content-length"]))
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.puts.append((head[0], headers, body))
        writer.write(
            f"HTTP/1.1 {status} x\r\nContent-Length: 4\r\nConnection: close\r\n\r\ntext".encode()
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """A local object store."""
    store = Store()
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    store.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield store
    server.close()


async def test_a_finished_log_is_put_to_its_url_after_errors_of_the_stores_own(
    box: Box, store: Store
) -> None:
    store.answers = [503]
    upload = Upload(
        url=f"{store.url}/logs/1?sig=x", headers={"Content-Type": "text/plain", "X-Amz-Meta": "1"}
    )
    state = await box.run(
        "echo hello",
        "",
        uploads={"log/1": upload, "log/2": Upload(url=f"{store.url}/2")},
        env=[("http_proxy", "http://127.0.0.1:1")],
    )
    assert {
        what: (each.state, each.bytes, each.sha256) for what, each in state.uploads.items()
    } == {
        "log/1": ("uploaded", 6, hashlib.sha256(b"hello\n").hexdigest()),
        "log/2": ("uploaded", 0, hashlib.sha256(b"").hexdigest()),
    }
    line, headers, body = next(put for put in store.puts if "logs" in put[0])
    assert (line, body) == ("PUT /logs/1?sig=x HTTP/1.1", b"hello\n")
    assert (headers["content-type"], headers["x-amz-meta"]) == ("text/plain", "1")
    assert state.closed is not None and state.closed.pending == ()


async def test_a_refused_upload_waits_for_a_new_url(box: Box, store: Store) -> None:
    store.answers = [403]
    async with box.session() as session:
        await session.open(box.open(uploads={"log/1": Upload(url=f"{store.url}/old")}))
        await session.start([script(1, "echo hello")])
        state = await session.wait_for(lambda state: "log/1" in state.uploads)
        assert (state.uploads["log/1"].state, state.uploads["log/1"].text) == (
            "refused",
            "HTTP 403: text",
        )
        await session.open(box.open(uploads={"log/1": Upload(url=f"{store.url}/new")}))
        state = await session.close()
    assert state.uploads["log/1"].state == "uploaded"
    assert [put[0] for put in store.puts] == ["PUT /new HTTP/1.1"]


async def test_close_waits_for_the_new_url_of_a_refused_upload(box: Box, store: Store) -> None:
    store.answers = [403]
    async with box.session() as session:
        await session.open(box.open(uploads={"log/1": Upload(url=f"{store.url}/old")}))
        await session.start([script(1, "echo hello")])
        closing = asyncio.create_task(session.close())
        await session.wait_for(lambda state: "log/1" in state.refused)
        await session.open(box.open(uploads={"log/1": Upload(url=f"{store.url}/new")}))
        state = await closing
    assert state.uploads["log/1"].state == "uploaded"
    assert state.closed is not None and state.closed.pending == ()


async def test_close_gives_up_uploads_that_never_succeed(box: Box, store: Store) -> None:
    store.answers = [403]
    state = await box.run(
        "echo x", uploads={"log/1": Upload(url=store.url)}, limits=AttemptLimits(close=0.3)
    )
    assert state.closed is not None and state.closed.pending == ("log/1",)
    assert await box.process.wait() == 0


async def test_collect_packs_a_path_and_puts_it_once(box: Box, store: Store) -> None:
    out = box.root / "output"
    (out / "sub").mkdir(parents=True)
    (out / "empty").mkdir()
    (out / "sub" / "file").write_bytes(b"content")
    (out / "link").symlink_to("sub/file")
    upload = Upload(url=f"{store.url}/output.tar")
    async with box.session() as session:
        await session.open(box.open())
        for _ in range(2):
            await session.collect(Collect(what="output", path=str(out), upload=upload))
        await session.collect(Collect(what="none", path=str(box.root / "no"), upload=upload))
        await session.collect(Collect(what="cache", path=str(out), upload=upload, gzip=True))
        await session.collect(Collect(what="big", path=str(out), upload=upload, limit=100))
        state = await session.wait_for(lambda state: len(state.collected) == 4)
        await session.close()
    assert len(store.puts) == 2
    body = next(put[2] for put in store.puts if not put[2].startswith(b"\x1f\x8b"))
    output = state.collected["output"]
    assert isinstance(output, Collected)
    assert (output.files, output.bytes, output.sha256) == (
        4,
        len(body),
        hashlib.sha256(body).hexdigest(),
    )
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        assert {(member.name, member.uid, member.type) for member in archive} == {
            ("output/empty", 0, tarfile.DIRTYPE),
            ("output/link", 0, tarfile.SYMTYPE),
            ("output/sub", 0, tarfile.DIRTYPE),
            ("output/sub/file", 0, tarfile.REGTYPE),
        }
    assert {what: getattr(each, "empty", None) for what, each in state.collected.items()} == {
        "output": False,
        "none": True,
        "cache": False,
        "big": None,
    }
    big = state.collected["big"]
    assert isinstance(big, CollectFailed) and big.reason == "TooLarge"


async def test_a_log_waits_for_its_own_url_until_the_box_is_closed(box: Box, store: Store) -> None:
    async with box.session() as session:
        await session.open(box.open(store=True))
        await session.start([script(1, "echo hello"), script(2, "echo again")])
        await session.wait_for(lambda state: state.done([1, 2]))
        closing = asyncio.create_task(session.close())
        for ordinal in (1, 2):
            await session.upload(f"log/{ordinal}", Upload(url=f"{store.url}/{ordinal}"))
        state = await closing
    assert {put[0].split()[1]: put[2] for put in store.puts} == {"/1": b"hello\n", "/2": b"again\n"}
    assert state.closed is not None and state.closed.pending == ()


async def test_a_box_that_gets_term_waits_for_the_url_of_its_log(box: Box, store: Store) -> None:
    async with box.session() as session:
        await session.open(box.open(store=True))
        await session.start([script(1, "echo on; sleep 60")])
        # A step is running before it has printed anything.
        while bytes(box.logs.get(1, b"")) != b"on\n":
            await asyncio.sleep(0.01)
        box.process.terminate()
        state = await session.wait_for(lambda state: state.done([1]))
        assert state.steps[1].log.bytes == 3
        await session.upload("log/1", Upload(url=f"{store.url}/1"))
        state = await session.wait_for(lambda state: state.closed is not None)
    assert state.uploads["log/1"].state == "uploaded"
    assert [put[2] for put in store.puts] == [b"on\n"]


async def test_a_log_that_was_changed_is_not_uploaded(box: Box, store: Store) -> None:
    log = box.session_dir / "log" / "1"
    async with box.session() as session:
        await session.open(box.open(store=True, limits=AttemptLimits(close=0.3)))
        await session.start([script(1, "echo the truth"), script(2, f"printf 'a lie!!!!!' >{log}")])
        await session.wait_for(lambda state: state.done([1, 2]))
        await session.upload("log/1", Upload(url=f"{store.url}/1"))
        state = await session.wait_for(lambda state: "log/1" in state.uploads)
        assert state.uploads["log/1"].state == "failed"
        assert state.uploads["log/1"].text.startswith(
            "the log was changed after its step had ended: its sha256 is "
        )
        await session.close()
    assert store.puts == []


async def test_an_archive_gets_its_url_when_its_size_is_known(box: Box, store: Store) -> None:
    out = box.root / "output"
    out.mkdir()
    (out / "file").write_bytes(b"content")
    async with box.session() as session:
        await session.open(box.open(store=True))
        await session.collect(Collect(what="output", path=str(out)))
        state = await session.wait_for(lambda state: "output" in state.packed)
        packed = state.packed["output"]
        assert "output" not in state.collected and store.puts == []
        await session.collect(
            Collect(what="output", path=str(out))
        )  # after a restart: it is under way
        await session.upload("output", Upload(url=f"{store.url}/output.tar"))
        state = await session.wait_for(lambda state: "output" in state.collected)
        await session.close()
    collected = state.collected["output"]
    assert isinstance(collected, Collected)
    assert (packed.bytes, packed.sha256) == (collected.bytes, collected.sha256)
    assert [hashlib.sha256(put[2]).hexdigest() for put in store.puts] == [packed.sha256]


async def test_a_put_that_was_stored_before_its_answer_was_lost_is_not_a_failure(
    box: Box, store: Store
) -> None:
    store.answers = [503, 412]
    upload = Upload(url=store.url, headers={"If-None-Match": "*"})
    state = await box.run("echo x", uploads={"log/1": upload})
    assert state.uploads["log/1"].state == "uploaded"


async def test_a_store_that_knows_no_conditional_writes_gets_a_second_url(
    box: Box, store: Store
) -> None:
    store.answers = [501]
    once = Upload(url=f"{store.url}/once", headers={"If-None-Match": "*"})
    async with box.session() as session:
        await session.open(box.open(store=True))
        await session.start([script(1, "echo x")])
        await session.wait_for(lambda state: state.done([1]))
        await session.upload("log/1", once)
        await session.wait_for(lambda state: "log/1" in state.refused)
        await session.upload("log/1", Upload(url=f"{store.url}/again"))
        state = await session.close()
    assert state.uploads["log/1"].state == "uploaded"
    assert [put[0] for put in store.puts] == ["PUT /again HTTP/1.1"]
