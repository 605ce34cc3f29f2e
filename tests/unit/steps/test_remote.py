"""Registries behind http that are old, plain, slow, broken or hostile."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
from tests.lab.tls import certificates
from tests.unit.source.archives import Made, tar
from tests.unit.steps.servers import (
    Reply,
    Scripted,
    entries,
    scripted,
    sha256,
    source,
    tarball,
)

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, UserError
from sentinel.steps import WantedStep, find_all

WANTED = WantedStep(owner="lab", name="hello")
PINNED = WantedStep(owner="lab", name="hello", version="1.0.0")
API, V2 = "/api/steps/lab/hello/", "/api/v2/steps/lab/hello/"
STEP = {"run.sh": "echo hello\n", "step.yml": "name: hello\nversion: 1.0.0\n"}
BODY = tarball(STEP)


def left_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() or path.is_symlink()]


def answer(url: str, *, version: str = "1.0.0", **more: object) -> dict[str, object]:
    return {"step": {"tarballUrl": url, "version": {"number": version}, **more}}


def serve(script: Scripted, body: bytes = BODY, *, version: str = "1.0.0", **more: object) -> None:
    """A registry of the newer generation with one step, asked for by `*` and by its version."""
    for asked in ("*", version):
        script.json(API + asked, answer(f"{script.url}/{version}.tgz", version=version, **more))
    script.add(f"/{version}.tgz", Reply(body=body))


async def test_the_older_api_is_asked_without_token_where_the_newer_one_is_not_there(
    script: Scripted, tmp_path: Path
) -> None:
    script.json(f"{V2}*", {"tarballUrl": f"{script.url}/x.tgz", "version": "0.3.0"})
    script.add("/x.tgz", Reply(body=BODY))
    found = await source(script.url, tmp_path, token="t0ken").find(WANTED)

    assert found.version == "0.3.0"
    assert script.requests == [
        (f"{API}*", "Bearer t0ken"),
        (f"{V2}*", ""),
        ("/x.tgz", "Bearer t0ken"),
    ]


async def test_a_plain_index_is_a_registry_and_is_asked_directly_once_known(
    script: Scripted, tmp_path: Path
) -> None:
    script.json(
        "/steps/index.json",
        [
            {"owner": "lab", "name": "hello", "version": v, "tarballUrl": f"files/{v}.tgz", "sha256": sha256(BODY)}
            for v in ("1.9.0", "1.10.0")
        ]
        + [{"owner": "lab", "name": "bye", "version": "1.0.0", "tarballUrl": "x"}, "nonsense"],
    )  # fmt: skip
    script.add("/steps/files/1.10.0.tgz", Reply(body=BODY))
    steps = source(f"{script.url}/steps", tmp_path)

    assert (await steps.find(WANTED)).version == "1.10.0"
    assert script.paths() == [
        f"/steps{API}*",
        f"/steps{V2}*",
        "/steps/index.json",
        "/steps/files/1.10.0.tgz",
    ]
    script.requests.clear()
    assert (await steps.find(WANTED)).version == "1.10.0"
    assert script.paths() == ["/steps/index.json"]
    script.requests.clear()
    with pytest.raises(UserError, match=r"has no such version. It has 1.9.0, 1.10.0"):
        await steps.find(PINNED)
    with pytest.raises(UserError, match=r"Did you mean lab/hello\?"):
        await steps.find(WantedStep(owner="lab", name="helo"))
    assert script.paths() == ["/steps/index.json"] * 2


async def test_a_server_with_the_api_is_asked_by_it_after_a_step_was_missing_too(
    lab: str, tmp_path: Path, script: Scripted
) -> None:
    serve(script)
    script.json("/index.json", [{"owner": "lab", "name": "x", "version": "1", "tarballUrl": "x"}])
    steps = source(script.url, tmp_path)
    await steps.find(WANTED)
    with pytest.raises(UserError, match="is not in the step registry"):
        await steps.find(WantedStep(owner="lab", name="qqqqqq"))
    script.requests.clear()
    await steps.find(WANTED)
    assert script.paths() == [f"{API}*"]


async def test_all_that_is_missing_is_reported_together_with_similar_names(
    lab: str, tmp_path: Path
) -> None:
    wanted = [
        WantedStep(owner="lab", name="greet"),
        WantedStep(owner="lab", name="step-notify"),
        WantedStep(owner="lab", name="make_temp"),
        WantedStep(owner="bob", name="render"),
        WantedStep(owner="lab", name="render", version="^1.0"),
        WantedStep(owner="lab", name="qqqqqq"),
    ]
    with pytest.raises(UserError) as caught:
        await find_all(source(lab, tmp_path), wanted)

    where = f"the step registry {lab}"
    assert caught.value.reason is Reason.STEP_NOT_FOUND
    assert caught.value.message == (
        "5 steps cannot be used: "
        f"step lab/step-notify is not in {where}. Did you mean lab/notify?; "
        f"step lab/make_temp is not in {where}. Did you mean lab/make-temp?; "
        f"step bob/render is not in {where}. Did you mean lab/render?; "
        "step lab/render@^1.0: '^1.0' is not a version. Write one version exactly, such as lab/render@1.2.3, "
        "or none for "
        "the highest; there are no ranges; "
        f"step lab/qqqqqq is not in {where}"
    )


@pytest.mark.parametrize(
    "body",
    [
        tarball(STEP),
        tarball(STEP, top="step-hello-1.0.0"),
        tarball(STEP, top="step-hello-4f2a", pax="4f2a" * 10),
        tarball({f"./{name}": text for name, text in STEP.items()}),
    ],
)
async def test_archives_with_and_without_leading_directory_are_the_same_step(
    script: Scripted, tmp_path: Path, body: bytes
) -> None:
    serve(script, body)
    found = await source(script.url, tmp_path).find(WANTED)

    assert entries(found.archive) == {name: (0o644, text.encode()) for name, text in STEP.items()}


async def test_modes_come_through_and_a_lone_directory_of_a_step_stays(
    script: Scripted, tmp_path: Path
) -> None:
    serve(script, tarball({"bin/tool": "x", "run.sh": ""}, modes={"bin/tool": 0o755}))
    found = await source(script.url, tmp_path).find(WANTED)
    assert entries(found.archive)["bin/tool"] == (0o755, b"x")

    serve(script, tarball({"bin/tool": "x"}), version="2.0.0")
    found = await source(script.url, tmp_path).find(
        WantedStep(owner="lab", name="hello", version="2.0.0")
    )
    assert "bin/tool" in entries(found.archive)
    assert found.warnings == ("it has neither run.sh nor init.sh, so it does nothing",)


async def test_a_version_is_looked_up_each_time_and_fetched_once(
    script: Scripted, tmp_path: Path
) -> None:
    serve(script)
    steps = source(script.url, tmp_path)
    first = await steps.find(WANTED)
    second = await steps.find(WANTED)
    third = await steps.find(PINNED)

    assert first == second == third
    assert script.paths() == [f"{API}*", "/1.0.0.tgz", f"{API}*", f"{API}1.0.0"]


async def test_the_newest_is_the_newest_of_now(script: Scripted, tmp_path: Path) -> None:
    serve(script)
    steps = source(script.url, tmp_path)
    assert (await steps.find(WANTED)).version == "1.0.0"
    script.replies.clear()
    serve(script, tarball({"run.sh": "echo new\n"}), version="1.1.0")
    found = await steps.find(WANTED)

    assert found.version == "1.1.0"
    assert entries(found.archive) == {"run.sh": (0o644, b"echo new\n")}


async def test_a_version_with_another_checksum_is_fetched_again(
    script: Scripted, tmp_path: Path
) -> None:
    serve(script, sha256=sha256(BODY))
    steps = source(script.url, tmp_path)
    before = await steps.find(PINNED)
    script.replies.clear()
    changed = tarball({"run.sh": "echo republished\n"})
    serve(script, changed, checksum=f"sha256:{sha256(changed).upper()}")

    assert (await steps.find(PINNED)).digest != before.digest


async def test_a_wrong_checksum_is_refused_and_nothing_is_kept(
    script: Scripted, tmp_path: Path
) -> None:
    serve(script, sha256="0" * 64)
    steps = source(script.url, tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match="it was changed or damaged") as caught:
            await steps.find(WANTED)
        assert caught.value.reason is Reason.STEP_INVALID
    assert script.paths().count("/1.0.0.tgz") == 2
    assert list((tmp_path / "archives").iterdir()) == list((tmp_path / "work").iterdir()) == []


async def test_a_checksum_of_another_kind_is_reported_and_not_used(
    script: Scripted, tmp_path: Path
) -> None:
    serve(script, checksum="d41d8cd98f00b204e9800998ecf8427e")

    found = await source(script.url, tmp_path).find(WANTED)
    assert found.warnings == (
        "the registry's checksum is not a SHA-256, so it is not used: d41d8cd98f00b204e9800998ecf8427e",
    )


async def test_the_token_goes_to_the_registry_s_host_only(
    script: Scripted, other: Scripted, tmp_path: Path
) -> None:
    """A tarball on another host, one behind a redirect, and a registry that itself redirects."""
    other.add("/x.tgz", Reply(body=BODY))
    away = {"Location": f"{other.url}/x.tgz"}
    for version, place in (("1.0.0", f"{other.url}/x.tgz"), ("1.1.0", f"{script.url}/away")):
        script.json(f"{API}{version}", answer(place, version=version))
    script.add("/away", Reply(status=302, headers=away))
    script.add(f"{API}1.2.0", Reply(status=307, headers={"Location": f"{other.url}/answer"}))
    other.json("/answer", answer(f"{other.url}/x.tgz", version="1.2.0"))
    steps = source(script.url, tmp_path, token="t0ken")
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        await steps.find(WantedStep(owner="lab", name="hello", version=version))

    assert script.requests == [
        (f"{API}1.0.0", "Bearer t0ken"),
        (f"{API}1.1.0", "Bearer t0ken"),
        ("/away", "Bearer t0ken"),
        (f"{API}1.2.0", "Bearer t0ken"),
    ]
    assert other.requests == [
        ("/x.tgz", ""),
        ("/x.tgz", ""),
        ("/answer", ""),
        ("/x.tgz", ""),
    ]


async def test_user_and_password_of_the_url_are_sent_and_never_shown(
    script: Scripted, other: Scripted, tmp_path: Path
) -> None:
    script.json(f"{API}*", answer(f"{other.url}/x.tgz?signature=abc"))
    url = script.url.replace("http://", "http://bob:s3cret@")
    with pytest.raises(UserError) as caught:
        await source(url, tmp_path).find(WANTED)

    assert script.requests[0][1].startswith("Basic ")
    assert [authorization for _, authorization in other.requests] == [""]
    assert "s3cret" not in caught.value.message
    assert "signature" not in caught.value.message
    assert caught.value.reason is Reason.STEP_NOT_FOUND


@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_a_registry_that_fails_twice_is_asked_a_third_time(
    script: Scripted, tmp_path: Path, status: int
) -> None:
    script.add(f"{API}*", Reply(status=status, times=2))
    script.add("/1.0.0.tgz", Reply(body=BODY, cut=True, times=2))
    serve(script)

    assert (await source(script.url, tmp_path).find(WANTED)).version == "1.0.0"
    assert script.paths() == [f"{API}*"] * 3 + ["/1.0.0.tgz"] * 3


async def test_a_registry_that_goes_on_failing_is_not_the_builds_fault(
    script: Scripted, tmp_path: Path
) -> None:
    script.add(f"{API}*", Reply(status=503))
    with pytest.raises(InfrastructureError) as caught:
        await source(script.url, tmp_path).find(WANTED)

    assert caught.value.reason is Reason.REGISTRY_UNAVAILABLE
    assert caught.value.message == f"{script.url}{API}* answers HTTP 503, after 3 tries"
    assert len(script.requests) == 3


async def test_a_registry_that_cannot_be_reached_is_reported(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(
            InfrastructureError, match=r"cannot be reached: Connection refused, after 3 tries"
        ):
            await source(url, tmp_path).find(WANTED)


async def test_a_version_that_was_fetched_is_used_while_the_registry_is_down(
    script: Scripted, tmp_path: Path
) -> None:
    serve(script)
    steps = source(script.url, tmp_path)
    before = await steps.find(PINNED)
    script.replies = {path: [Reply(status=503)] for path in (f"{API}*", f"{API}1.0.0")}
    found = await steps.find(PINNED)

    assert found.digest == before.digest
    assert found.origin == f"{script.url}, fetched earlier"
    assert len(found.warnings) == 1
    assert "HTTP 503, after 3 tries" in found.warnings[0]
    with pytest.raises(InfrastructureError):
        await steps.find(WANTED)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_is_refused_is_the_operator_s_business(
    script: Scripted, tmp_path: Path, status: int
) -> None:
    script.add(f"{API}*", Reply(status=status))
    with pytest.raises(InfrastructureError, match=r"Check the operator's setting steps.token"):
        await source(script.url, tmp_path, token="wrong").find(WANTED)
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>", "did not answer with JSON, so it is not a step registry"),
        (b"[" * 100_000, "did not answer with JSON, so it is not a step registry"),
        (b"[]", "did not answer with the JSON of a step"),
        (b'{"step": 1}', "did not answer with the JSON of a step"),
        (b'{"step": {}}', "names no tarballUrl"),
        (b'{"step": {"tarballUrl": 5}}', "names no tarballUrl"),
        (b" " * 1_100_000, "answers more than 1048576 bytes"),
    ],
)
async def test_nonsense_with_a_200_is_reported(
    script: Scripted, tmp_path: Path, data: bytes, words: str
) -> None:
    script.add(f"{API}*", Reply(body=data))
    with pytest.raises(InfrastructureError, match=words):
        await source(script.url, tmp_path).find(WANTED)


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://host/x", "http://[", "//h:70000/"])
async def test_a_tarball_that_is_nowhere_on_the_web_is_refused(
    script: Scripted, tmp_path: Path, place: str
) -> None:
    script.json(f"{API}*", answer(place))
    with pytest.raises(UserError, match="which is not an http address"):
        await source(script.url, tmp_path).find(WANTED)


@pytest.mark.parametrize(
    ("location", "words"),
    [("file:///etc/passwd", "which is not followed"), ("/round", "redirects more than 5 times")],
)
async def test_redirects_that_lead_nowhere_end(
    script: Scripted, tmp_path: Path, location: str, words: str
) -> None:
    script.add(f"{API}*", Reply(status=302, headers={"Location": location}))
    script.add("/round", Reply(status=301, headers={"Location": "/round"}))
    with pytest.raises(InfrastructureError, match=words):
        await source(script.url, tmp_path).find(WANTED)
    assert len(script.requests) <= 6


async def test_a_registry_with_an_authority_of_its_own_is_trusted_once_that_is_given(
    other: Scripted, tmp_path: Path
) -> None:
    """And it may not lead down to plain http, where the archive and the token could be seen and changed."""
    made = certificates(tmp_path / "tls", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    authority = made.authority.read_text()
    async with scripted(context) as secure:
        serve(secure)
        with pytest.raises(InfrastructureError, match="cannot be reached: .*certificate"):  # noqa: RUF043
            await source(secure.url, tmp_path / "1").find(WANTED)
        steps = source(secure.url, tmp_path / "2", ca=authority, token="t0ken")
        assert (await steps.find(WANTED)).version == "1.0.0"
        secure.json(f"{API}2.0.0", answer(f"{secure.url}/down", version="2.0.0"))
        secure.add("/down", Reply(status=302, headers={"Location": f"{other.url}/x.tgz"}))
        with pytest.raises(InfrastructureError, match="never from https to http"):
            await steps.find(WantedStep(owner="lab", name="hello", version="2.0.0"))
    assert other.requests == []


async def test_another_version_than_the_one_asked_for_is_refused(
    script: Scripted, tmp_path: Path
) -> None:
    script.json(f"{API}1.0.0", answer(f"{script.url}/x.tgz", version="2.0.0"))
    with pytest.raises(UserError, match=r"gives version 2.0.0 in its place"):
        await source(script.url, tmp_path).find(PINNED)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"this is not an archive", "is not an archive"),
        (BODY[:100], "cut off|damaged"),
        (tar(Made(name="../evil", data=b"x")), "`..` in its name"),
        (tar(Made(name="/etc/evil", data=b"x")), "absolute name"),
        (tar(Made(name="x", kind="symlink", target="/etc")), "absolute path"),
        (tar(Made(name="x", kind="symlink", target="../..")), "leads outside the archive"),
        (tar(Made(name="a\nb")), "control character"),
        (tar(Made(name="dev", kind="device")), "which is not supported"),
        (tar(Made(name="d/x", kind="symlink", target="../y"), Made(name="d/run.sh")), "leads out"),
        (tarball({"zeros": "0" * 3_000_000}), "unpacks to more than"),
        (tar(*(Made(name=f"f{i}") for i in range(60))), "more than 50 entries"),
        (tarball({"x": ""}) + b"\0" * 300_000, "more than 200000 bytes, the most a step may"),
    ],
)
async def test_hostile_archives_are_refused_with_a_reason_and_leave_nothing(
    script: Scripted, tmp_path: Path, body: bytes, words: str
) -> None:
    serve(script, body)
    cache = tmp_path / "cache"
    steps = source(script.url, cache, packed_bytes=200_000, unpacked_bytes=1_000_000, entries=50)
    with pytest.raises(UserError, match=words) as caught:
        await steps.find(WANTED)

    assert caught.value.reason is Reason.STEP_INVALID
    assert left_in(tmp_path) == []


async def test_names_that_no_step_has_are_refused_before_anything_is_asked(
    script: Scripted, tmp_path: Path
) -> None:
    steps = source(script.url, tmp_path)
    for owner, name in (
        ("..", "x"),
        ("a/b", "x"),
        ("a", "x?y"),
        ("a", "é"),
        ("a", "x\n"),
        ("", "x"),
    ):
        with pytest.raises(UserError) as caught:
            await steps.find(WantedStep(owner=owner, name=name))
        assert caught.value.reason is Reason.STEP_INVALID
    assert script.requests == []
