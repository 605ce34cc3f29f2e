"""github-create-release, github-upload-asset, ghr, gox, zip and goveralls."""

from __future__ import annotations

import json

import pytest

from tests.standard.conftest import Bench, HttpStub

GIT = {
    "WERCKER_GIT_OWNER": "team",
    "WERCKER_GIT_REPOSITORY": "tool",
    "WERCKER_GIT_COMMIT": "0123456789abcdef0123456789abcdef01234567",
}


@pytest.fixture(autouse=True)
def environment(bench: Bench, http: HttpStub) -> None:
    bench.env |= {**GIT, "GITHUB_API_URL": http.url, "GITHUB_UPLOADS_URL": f"{http.url}/up"}


async def test_a_release_and_an_asset(bench: Bench, http: HttpStub) -> None:
    http.answer('{"id": 42, "upload_url": "x"}')

    ran = await bench.run(
        "github-create-release",
        token="s3cret",
        tag="v1",
        title='say "hi"',
        body="a\nb",
        prerelease="true",
    )

    assert ran.exit == 0, ran.log
    assert ran.exports == {"WERCKER_GITHUB_CREATE_RELEASE_ID": "42"}
    (request,) = http.requests
    assert (request.method, request.path) == ("POST", "/repos/team/tool/releases")
    assert request.headers["Authorization"] == "token s3cret"
    assert json.loads(request.body) == {
        "tag_name": "v1",
        "name": 'say "hi"',
        "body": "a\nb",
        "target_commitish": GIT["WERCKER_GIT_COMMIT"],
        "draft": False,
        "prerelease": True,
    }
    assert "s3cret" not in ran.log


async def test_a_release_exports_to_the_variable_of_the_file(bench: Bench, http: HttpStub) -> None:
    http.answer('{"id": 7}')

    ran = await bench.run("github-create-release", token="t", tag="v1", export_id="MY_RELEASE")

    assert ran.exports == {"MY_RELEASE": "7"}


async def test_a_refusal_of_github_has_its_message(bench: Bench, http: HttpStub) -> None:
    http.answer('{"message": "Validation Failed"}', status=422)

    ran = await bench.run("github-create-release", token="t", tag="v1")

    assert (ran.exit, ran.exports) == (1, {})
    assert ran.message == (
        "GitHub refused: 127.0.0.1 answered with HTTP 422 Unprocessable Entity: Validation Failed"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tag": "v1"}, "token is missing"),
        ({"token": "t"}, "tag is missing"),
        ({"token": "t", "tag": "v1", "draft": "maybe"}, "draft is 'maybe': write true or false"),
        (
            {"token": "t", "tag": "v1", "export_id": "A B"},
            "export_id is 'A B', which cannot be the name",
        ),
    ],
)
async def test_a_release_with_wrong_options(
    bench: Bench, http: HttpStub, options: dict[str, str], message: str
) -> None:
    ran = await bench.run("github-create-release", **options)

    assert (ran.exit, http.requests) == (1, [])
    assert ran.message.startswith(message)


async def test_an_asset_is_uploaded_to_the_release(bench: Bench, http: HttpStub) -> None:
    http.answer('{"id": 9}')
    bench.env["WERCKER_GITHUB_CREATE_RELEASE_ID"] = "42"
    (bench.source / "a b.tar").write_bytes(b"\0bytes")

    ran = await bench.run("github-upload-asset", token="t", file="a b.tar", content_type="text/x")

    assert ran.exit == 0, ran.log
    assert ran.exports == {"WERCKER_GITHUB_UPLOAD_ASSET_ID": "9"}
    (request,) = http.requests
    assert request.path == "/up/repos/team/tool/releases/42/assets?name=a%20b.tar"
    assert (request.headers["Content-Type"], request.body) == ("text/x", b"\0bytes")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": "no"}, "file is no, and there is no such file in "),
        ({"file": "yes"}, "release_id is missing: write it, or run github-create-release before"),
    ],
)
async def test_an_asset_that_cannot_be_uploaded(
    bench: Bench, options: dict[str, str], message: str
) -> None:
    (bench.source / "yes").write_text("x")

    ran = await bench.run("github-upload-asset", token="t", **options)

    assert ran.exit == 1
    assert ran.message.startswith(message)


async def test_ghr_makes_the_release_and_replaces_assets(bench: Bench, http: HttpStub) -> None:
    (bench.output / "pkg/dist").mkdir(parents=True)
    (bench.output / "pkg/dist/a.zip").write_text("a")
    http.answer('{"id": 5}', '[{"name": "a.zip", "id": 77}]', "{}", '{"id": 1}')

    ran = await bench.run("ghr", token="t", version="v2", replace="true")

    assert ran.exit == 0, ran.log
    assert [(each.method, each.path) for each in http.requests] == [
        ("GET", "/repos/team/tool/releases/tags/v2"),
        ("GET", "/repos/team/tool/releases/5/assets?per_page=100"),
        ("DELETE", "/repos/team/tool/releases/assets/77"),
        ("POST", "/up/repos/team/tool/releases/5/assets?name=a.zip"),
    ]
    assert http.requests[-1].body == b"a"


async def test_ghr_without_files(bench: Bench, http: HttpStub) -> None:
    http.answer('{"id": 5}')
    (bench.source / "empty").mkdir()

    ran = await bench.run("ghr", token="t", input="empty")

    assert (ran.exit, ran.message) == (1, "there is no file in empty")


async def test_gox_builds_what_this_go_has(bench: Bench) -> None:
    bench.fake(
        "go", out="", code='[ "$1" != tool ] || printf "linux/amd64\\nlinux/arm\\nwindows/amd64\\n"'
    )

    ran = await bench.run("gox", os="linux windows", arch="amd64 arm", ldflags="-s -w")

    assert ran.exit == 0, ran.log
    builds = [call for call in ran.calls if call.argv[1] == "build"]
    assert [(call.env["GOOS"], call.env["GOARCH"]) for call in builds] == [
        ("linux", "amd64"),
        ("linux", "arm"),
        ("windows", "amd64"),
    ]
    assert builds[2].argv == (
        *(
            "go",
            "build",
            "-ldflags",
            "-s -w",
            "-o",
            f"{bench.output}/pkg/windows_amd64/source.exe",
            ".",
        ),
    )


async def test_gox_fails_with_go(bench: Bench) -> None:
    bench.fake("go", status=2)

    ran = await bench.run("gox", os="linux", arch="amd64")

    assert (ran.exit, ran.message) == (1, "go build failed for linux/amd64")


async def test_zip_of_each_directory(bench: Bench) -> None:
    for name in ("linux", "darwin"):
        (bench.output / "pkg" / name).mkdir(parents=True)
    bench.fake(
        "zip", code='for each in "$@"; do case "$each" in *.zip) echo z > "$each" ;; esac; done'
    )

    ran = await bench.run("zip", times=2)

    assert ran.exit == 0, ran.log
    dist = bench.output / "pkg/dist"
    assert sorted(each.name for each in dist.iterdir()) == ["SHASUMS", "darwin.zip", "linux.zip"]
    assert [line.split()[1] for line in (dist / "SHASUMS").read_text().splitlines()] == [
        "darwin.zip",
        "linux.zip",
    ]


async def test_goveralls(bench: Bench) -> None:
    bench.fake("go")
    bench.fake("goveralls")

    ran = await bench.run("goveralls", token="s3cret")

    assert ran.exit == 0, ran.log
    test, send = ran.calls
    assert test.argv[:3] == ("go", "test", "-covermode=count")
    assert (send.argv[-1], send.env["COVERALLS_TOKEN"]) == ("-service=wercker", "s3cret")
