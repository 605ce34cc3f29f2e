from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sentinel.egress import Proxy
from sentinel.source.address import clean, holds_login, parse_address, valid_ref, without_query
from sentinel.source.complaint import Kind, diagnose, explain, quote
from sentinel.source.gitcommand import environment, write_ssh_files


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
        ("git@[::1]:p", ("git@[::1]:p", "ssh", "[::1]", "", "")),
        ("[git@h:22]:p", ("[git@h:22]:p", "ssh", "h:22", "", "")),
        ("git@[h:22]:p", ("git@[h:22]:p", "ssh", "h:22", "", "")),
    ],
)
def test_an_address_is_taken_apart(url: str, expected: tuple[str, ...]) -> None:
    address = parse_address(url)
    found = (address.url, address.scheme, address.host, address.username, address.password)
    assert found == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://H.Example:8443/p", ("h.example", "8443")),
        ("ssh://git@[::1]:22/p", ("::1", "22")),
        ("ssh://git@[::1]/p", ("::1", "")),
        ("git@h:p", ("h", "")),
    ],
)
def test_a_host_has_a_name_and_a_port(url: str, expected: tuple[str, str]) -> None:
    address = parse_address(url)
    assert (address.hostname, address.port) == expected


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


@pytest.mark.parametrize(
    "ref",
    [
        "main",
        "v1.0",
        "feature/x",
        "refs/pull/7/head",
        "HEAD",
        "a@b",
        "v1.28.2+k3s1",
        "debian/1.0+dfsg",
        "+a",
        "-x",
        "fix/it's-$(touch${IFS}x)",
        "feature/ünï-✓",
    ],
)
def test_refs_that_git_accepts(ref: str) -> None:
    assert valid_ref(ref)
    assert _git_accepts(ref)


@pytest.mark.parametrize(
    ("url", "holds"),
    [
        ("https://ghp_TOKEN@h/r.git", True),
        ("HTTP://u:p@h/r", True),
        ("https://:p@h/r", True),
        ("ssh://git:p@h/r", True),
        ("ssh://git@h/r", False),
        ("git@h:r.git", False),
        ("https://h/r@1", False),
        ("https://h/?to=a@b", False),
        ("https://h?a@b", False),
        ("", False),
    ],
)
def test_a_user_of_an_http_url_is_a_login(url: str, holds: bool) -> None:
    assert holds_login(url) == holds
    for secret in ("TOKEN", "u:p", ":p@"):
        assert secret not in without_query(url), "as images are labelled"


@pytest.mark.parametrize(
    "host",
    [
        "h%41",
        "\uff48.example",
        "\uff11\uff12\uff17.0.0.1",
        "h:0",
        "h:70000",
        "h:1:2",
        "[fe80::1%eth0]",
        "[h]",
        "h#x",
        "h?x",
        "-h",
    ],
)
def test_a_host_that_programs_read_differently_is_refused(host: str) -> None:
    for url in (f"https://{host}/p", f"ssh://git@{host}/p", f"git://{host}/p"):
        with pytest.raises(ValueError, match="names no host"):
            parse_address(url)


@given(st.text(st.sampled_from("ab+-./@{}~^:?*[\\ \x7f'$ü"), max_size=8))
def test_a_ref_is_valid_where_git_accepts_it(ref: str) -> None:
    assume(ref != "@")  # as a branch it needs its full name, refs/heads/@
    assert valid_ref(ref) == _git_accepts(ref)


def _git_accepts(ref: str) -> bool:
    command = ["git", "check-ref-format", f"refs/heads/{ref}"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "a:b",
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
        "x" * 251,
        "[a",
        "a\\b",
        "a\x7f",
        "a.",
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
        "http_proxy": "http://not-asked-for:1",
        "no_proxy": "h",
    }
    env = environment(
        address=parse_address("https://h:1/p"),
        username="u",
        password="hidden",
        proxy=Proxy(host="p", port=3128),
        inherited=inherited,
    )
    count = int(env.pop("GIT_CONFIG_COUNT"))
    config = {
        env.pop(f"GIT_CONFIG_KEY_{i}"): env.pop(f"GIT_CONFIG_VALUE_{i}") for i in range(count)
    }
    ssh = env.pop("GIT_SSH_COMMAND")
    assert env == {
        "PATH": "/bin",
        "https_proxy": "http://p:3128",
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
    assert config["http.followRedirects"] == "false"
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


def test_the_user_of_an_ssh_url_is_not_a_secret() -> None:
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
        ("The requested URL returned error: 429", Kind.UNAVAILABLE),
        ("The requested URL returned error: 407", Kind.AUTH),
        ("The requested URL returned error: 404", Kind.REPOSITORY),
        ("The requested URL returned error: 451", Kind.REPOSITORY),
        ("The requested URL returned error: 302", Kind.REDIRECT),
        (
            "fatal: unable to access: server certificate verification failed. CAfile: x",
            Kind.CERTIFICATE,
        ),
        ("error: invalid path '.GIT/config'", Kind.PATHS),
        ("fatal: Out of memory, realloc failed", Kind.MEMORY),
        ("fatal: mismatched algorithms: client sha1; server sha256", Kind.REPOSITORY),
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
    assert found == ("SourceAuthFailed", f"{url} denied access: git: fatal: no. {advice}")


SHOUT = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\r
Someone could be eavesdropping on you right now (man-in-the-middle attack)!\r
It is also possible that a host key has just been changed.\r
The fingerprint for the ED25519 key sent by the remote host is\nSHA256:abc.\r
Please contact your system administrator.\r
Add correct host key in /tmp/x/known_hosts to get rid of this message.\r
Offending ED25519 key in /tmp/x/known_hosts:1\r
Host key for [h]:22 has changed and you have requested strict checking.\r
Host key verification failed.\r
fatal: Could not read from remote repository.
"""


def test_of_what_ssh_shouts_the_key_stays() -> None:
    assert quote(SHOUT) == (
        "The fingerprint for the ED25519 key sent by the remote host is; SHA256:abc; Host key for [h]:22 has changed "
        "and you have requested strict checking; Host key verification failed"
    )
    found = explain(
        address=parse_address("ssh://git@h:22/p"),
        kind=diagnose(SHOUT),
        said=quote(SHOUT),
        ref="main",
        has_credentials=True,
    )
    assert found[0] == "SourceAuthFailed"
    assert found[1].startswith("the host key of h:22 does not match known_hosts")
    assert found[1].endswith("in place of the old one (`ssh-keyscan -p 22 h` prints it)")


def test_what_ssh_leaves_to_git_is_quoted_where_it_is_all() -> None:
    assert quote("fatal: Could not read from remote repository.") == (
        "fatal: Could not read from remote repository"
    )
