from __future__ import annotations

import os
from pathlib import Path

import pytest

from sentinel.api.reasons import Reason
from sentinel.source import complaint
from sentinel.source.address import clean, parse_address, valid_ref
from sentinel.source.complaint import Kind, diagnose, explain, quote
from sentinel.source.gitcommand import environment, write_ssh_files


def test_its_reasons_are_reasons() -> None:
    words = [
        complaint.SOURCE_NOT_FOUND,
        complaint.SOURCE_AUTH_FAILED,
        complaint.SOURCE_UNAVAILABLE,
        complaint.SOURCE_INVALID,
        complaint.INTERNAL,
    ]
    assert [Reason(word) for word in words] == [
        Reason.SOURCE_NOT_FOUND,
        Reason.SOURCE_AUTH_FAILED,
        Reason.SOURCE_UNAVAILABLE,
        Reason.SOURCE_INVALID,
        Reason.INTERNAL,
    ]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/o/p.git", ("https://h/o/p.git", "https", "h", "", "")),
        ("HTTPS://h:8443/p", ("https://h:8443/p", "https", "h:8443", "", "")),
        ("https://u:p%40ss@h/p", ("https://h/p", "https", "h", "u", "p@ss")),
        ("https://token@h/p", ("https://h/p", "https", "h", "token", "")),
        ("ssh://git@h:22/p", ("ssh://git@h:22/p", "ssh", "h:22", "", "")),
        ("ssh://git:secret@h/p", ("ssh://git@h/p", "ssh", "h", "", "")),
        ("git@h:o/p.git", ("git@h:o/p.git", "ssh", "h", "", "")),
        ("git://h/p", ("git://h/p", "git", "h", "", "")),
    ],
)
def test_an_address_is_taken_apart(url: str, expected: tuple[str, ...]) -> None:
    address = parse_address(url)
    found = (address.url, address.scheme, address.host, address.username, address.password)
    assert found == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "--upload-pack=id",
        "ext::sh",
        "ext::sh -c id",
        "file:///etc",
        "/etc/passwd",
        "../x",
        "https:///p",
        "https://-oProxyCommand=id/p",
        "ssh://-oProxyCommand=id/p",
        "ssh://-x@h/p",
        "ftp://h/p",
        "https://h/a\nb",
    ],
)
def test_what_may_not_be_fetched_from_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|host|user name"):
        parse_address(url)


@pytest.mark.parametrize("ref", ["main", "v1.0", "feature/x", "refs/pull/7/head", "HEAD", "a@b"])
def test_refs_that_git_accepts(ref: str) -> None:
    assert valid_ref(ref)


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "-x",
        "a:b",
        "+a",
        "a..b",
        "a b",
        "a~1",
        "a^",
        "a*",
        "@{u}",
        "@",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.lock",
        "../x",
        "a\nb",
    ],
)
def test_refs_that_git_or_a_path_would_misread(ref: str) -> None:
    assert not valid_ref(ref)


def test_the_environment_of_git_is_ours_alone() -> None:
    inherited = {
        "PATH": "/bin",
        "HOME": "/home/somebody",
        "AWS_SECRET_ACCESS_KEY": "x",
        "GIT_DIR": "/",
        "https_proxy": "p",
    }
    env = environment(
        address=parse_address("https://h:1/p"), username="u", password="hidden", inherited=inherited
    )
    count = int(env.pop("GIT_CONFIG_COUNT"))
    config = {
        env.pop(f"GIT_CONFIG_KEY_{i}"): env.pop(f"GIT_CONFIG_VALUE_{i}") for i in range(count)
    }
    ssh = env.pop("GIT_SSH_COMMAND")
    assert env == {
        "PATH": "/bin",
        "https_proxy": "p",
        "SENTINEL_GIT_USERNAME": "u",
        "SENTINEL_GIT_PASSWORD": "hidden",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "https:http:ssh:git",
        "GIT_SSH_VARIANT": "ssh",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
    }
    assert config["core.hooksPath"] == os.devnull
    assert config["credential.helper"] == ""
    assert config["http.followRedirects"] == "initial"
    assert [key for key in config if key.startswith("credential.https://")] == [
        "credential.https://h:1.helper"
    ]
    assert "hidden" not in str(config)
    assert "StrictHostKeyChecking=yes" in ssh
    assert "BatchMode=yes" in ssh


def test_without_credentials_nothing_is_offered() -> None:
    env = environment(address=parse_address("https://h/p"), inherited={})
    assert [key for key in env if "SENTINEL" in key] == []
    assert "credential.https" not in str(env)


def test_ssh_gets_a_key_it_can_read(tmp_path: Path) -> None:
    key, hosts = write_ssh_files(
        str(tmp_path), key="-----BEGIN\r\nabc\r\n-----END", known_hosts=" "
    )
    assert hosts == ""
    assert Path(key).read_bytes() == b"-----BEGIN\nabc\n-----END\n"
    assert Path(key).stat().st_mode & 0o777 == 0o600


def test_a_quote_holds_no_secret_and_no_control_character() -> None:
    text = "hint: x\nfatal: \x1b[31mno https://u:pw@h/p hunter2 ok\r\nand the repository exists.\n"
    assert quote(text, ["hunter2", ""]) == "fatal: [31mno https://***@h/p *** ok"


def test_a_quote_is_bounded() -> None:
    assert len(quote("fatal: " + "x" * 10_000)) == 600


def test_the_user_of_an_ssh_url_is_no_secret() -> None:
    assert clean("ssh://git@h/p ssh://git:x@h/p") == "ssh://git@h/p ssh://***@h/p"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("fatal: couldn't find remote ref mian", Kind.REF),
        ("fatal: remote error: upload-pack: not our ref ffff", Kind.UNADVERTISED),
        ("error: Server does not allow request for unadvertised object ab", Kind.UNADVERTISED),
        ("fatal: repository 'http://h/p/' not found", Kind.REPOSITORY),
        (
            "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
            Kind.REPOSITORY,
        ),
        ("fatal: could not read Username for 'http://h': terminal prompts disabled", Kind.AUTH),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote", Kind.AUTH),
        ("fatal: unable to access 'http://h/': The requested URL returned error: 403", Kind.AUTH),
        ("Host key verification failed.\nfatal: Could not read from remote", Kind.HOST_KEY),
        ('Load key "/k": error in libcrypto\ngit@h: Permission denied (publickey).', Kind.SSH_KEY),
        ("fatal: remote error: tree filter allows max depth 0, but got 2", Kind.FILTER),
        ("fatal: remote error: filter 'combine' not supported", Kind.FILTER),
        ("fatal: unable to access 'http://h/': Could not resolve host: h", Kind.UNAVAILABLE),
        ("fatal: unable to access: SSL certificate problem: self signed", Kind.CERTIFICATE),
        ("fatal: the remote end hung up unexpectedly", Kind.UNAVAILABLE),
        ("The requested URL returned error: 502", Kind.UNAVAILABLE),
    ],
)
def test_whose_fault_git_reports(said: str, kind: str) -> None:
    assert diagnose(said) == kind


@pytest.mark.parametrize(
    ("url", "has_credentials", "advice"),
    [
        (
            "https://h/p",
            False,
            "Name a Secret with `username` and `password` (or `token`) in spec.source.git.secretRef",
        ),
        (
            "https://h/p",
            True,
            "Correct `username` and `password` (or `token`) in the Secret that spec.source.git.secretRef names",
        ),
        ("git@h:p", False, "Name a Secret with `ssh-privatekey` in spec.source.git.secretRef"),
    ],
)
def test_a_refusal_says_which_field_to_set(url: str, has_credentials: bool, advice: str) -> None:
    found = explain(
        address=parse_address(url),
        kind=Kind.AUTH,
        said="fatal: no",
        ref="main",
        has_credentials=has_credentials,
    )
    assert found == ("SourceAuthFailed", f"{url} refuses us: git says: fatal: no. {advice}")
