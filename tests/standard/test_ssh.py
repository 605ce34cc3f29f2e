"""add-ssh-key and add-to-known_hosts, with the real ssh and a fake ssh-keyscan."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.standard.conftest import Bench


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ssh") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def config_of(bench: Bench) -> str:
    return (bench.box.root / "home/.ssh/config").read_text()


@pytest.mark.parametrize("joined", [False, True])
async def test_add_ssh_key_for_a_host(bench: Bench, key: Path, joined: bool) -> None:
    text = key.read_text().strip()
    bench.env["DEPLOY_PRIVATE"] = text.replace("\n", "\\n") if joined else text
    home = bench.box.root / "home"

    ran = await bench.run("add-ssh-key", keyname="DEPLOY", host="example.com")

    assert ran.exit == 0, ran.log
    shown = subprocess.run(
        ["ssh", "-F", str(home / ".ssh/config"), "-G", "example.com"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (path,) = (Path(line.split()[1]) for line in shown.splitlines() if "ssh-key-" in line)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.is_relative_to(bench.box.session_dir)
    public = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(path)], check=True, capture_output=True, text=True
    ).stdout
    assert public.split()[1] == key.with_suffix(".pub").read_text().split()[1]
    assert "example.com" in ran.log
    assert ran.exports == {}


async def test_add_ssh_key_goes_before_what_is_configured(bench: Bench, key: Path) -> None:
    bench.env["A_PRIVATE"] = bench.env["B_PRIVATE"] = key.read_text()

    await bench.run("add-ssh-key", keyname="A", times=2)

    assert config_of(bench).count("Host *\n") == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "keyname is blank. Write the variable's name without $ and without _PRIVATE"),
        ("DEPLOY_PRIVATE", "keyname is DEPLOY_PRIVATE: leave out _PRIVATE"),
        ("OTHER", "the variable OTHER_PRIVATE is not set. Add it to spec.env of the Build"),
        ("A;id", "keyname is 'A;id', which cannot be the name of a variable"),
    ],
)
async def test_add_ssh_key_of_a_key_that_does_not_exist(
    bench: Bench, name: str, message: str
) -> None:
    ran = await bench.run("add-ssh-key", keyname=name)

    assert ran.exit == 1
    assert ran.message.startswith(message)


def fingerprint(key: Path, kind: str) -> str:
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-E", kind, "-f", f"{key}.pub"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return shown.split()[1]


def scan(bench: Bench, *keys: Path) -> None:
    lines = "".join(
        "git.example.com " + " ".join(Path(f"{key}.pub").read_text().split()[:2]) + "\n"
        for key in keys
    )
    bench.fake("ssh-keyscan", out="# a comment\n" + lines)


@pytest.mark.parametrize("kind", ["md5", "sha256"])
@pytest.mark.parametrize("prefix", [True, False])
async def test_a_host_with_the_right_fingerprint_is_known(
    bench: Bench, key: Path, kind: str, prefix: bool
) -> None:
    scan(bench, key)
    wanted = fingerprint(key, kind)

    ran = await bench.run(
        "add-to-known_hosts",
        hostname="git.example.com",
        port="2222",
        timeout="7",
        type="rsa,dsa",
        fingerprint=wanted if prefix else wanted.partition(":")[2],
        local="true",
    )

    assert ran.exit == 0, ran.log
    assert ran.argvs[0] == (
        *("ssh-keyscan", "-t", "rsa,ed25519", "-p", "2222", "-T", "7", "git.example.com"),
    )
    known = (bench.box.root / "home/.ssh/known_hosts").read_text()
    assert known.split()[2] == Path(f"{key}.pub").read_text().split()[1]


async def test_a_host_with_another_fingerprint_fails_the_step(bench: Bench, key: Path) -> None:
    scan(bench, key)

    ran = await bench.run(
        "add-to-known_hosts",
        hostname="git.example.com",
        local="true",
        fingerprint="16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
    )

    assert ran.exit == 1
    assert "until March 2023" in ran.message
    assert fingerprint(key, "md5") in ran.message
    assert not (bench.box.root / "home/.ssh/known_hosts").exists()


async def test_without_a_fingerprint_every_key_is_taken_with_a_warning(
    bench: Bench, key: Path
) -> None:
    scan(bench, key)

    ran = await bench.run("add-to-known_hosts", hostname="git.example.com", local="true")

    assert ran.exit == 0
    assert "no fingerprint is given" in ran.log
    assert "git.example.com" in (bench.box.root / "home/.ssh/known_hosts").read_text()


async def test_a_host_that_gives_no_key_fails_the_step(bench: Bench) -> None:
    bench.fake("ssh-keyscan", status=0)

    ran = await bench.run("add-to-known_hosts", hostname="git.example.com", local="true")

    assert (ran.exit, ran.message) == (
        1,
        "git.example.com gave no key. Check hostname and port",
    )
