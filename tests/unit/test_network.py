"""Which hosts and addresses the operator connects to for a build."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from sentinel.network import Denied, Policy, Unresolved

CLUSTER = ("10.96.0.0/12", "10.244.0.0/16", "fd00:10:96::/112")
POLICY = Policy.make(denied=CLUSTER, environ={"KUBERNETES_SERVICE_HOST": "172.20.0.1"})


def answers(monkeypatch: pytest.MonkeyPatch, **hosts: str) -> None:
    """Name servers that know these hosts (dots written as underscores) with addresses split by commas."""

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        found = hosts.get(host.replace(".", "_"))
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in found.split(",")]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "10.96.0.1",
        "10.100.3.4",
        "10.244.7.9",
        "fd00:10:96::1",
        "172.20.0.1",
    ],
)
def test_these_are_never_connected_to(host: str) -> None:
    with pytest.raises(Denied, match=r"network\.allowed"):
        POLICY.resolve(host, 80)


@pytest.mark.parametrize("host", ["1.1.1.1", "10.0.0.1", "192.168.1.1", "2606:4700::1111"])
def test_other_literals_are_connected_to(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, **{host.replace(".", "_"): host})
    assert POLICY.resolve(host, 443) == [host]


@pytest.mark.parametrize("answer", ["127.0.0.1", "1.1.1.1,10.96.0.1", "::1", "169.254.169.254"])
def test_a_name_is_judged_by_all_of_its_addresses(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, **{"127_attacker_example": answer})
    with pytest.raises(Denied) as caught:
        POLICY.resolve("127.attacker.example", 443)
    for address in answer.split(","):
        assert address not in str(caught.value), "an answer of our name servers is not shown"


def test_a_name_that_begins_like_loopback_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, **{"127_attacker_example": "192.0.2.7,192.0.2.8,192.0.2.7"})
    assert POLICY.resolve("127.attacker.example", 443) == ["192.0.2.7", "192.0.2.8"]


def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch)
    with pytest.raises(Unresolved, match=r"could not resolve host gone\.example"):
        POLICY.resolve("gone.example", 443)


def test_exceptions_open_what_they_name_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(
        monkeypatch, git_svc="10.96.7.7", other_svc="10.96.7.7", evil="127.0.0.1", near="10.96.9.9"
    )
    policy = Policy.make(denied=CLUSTER, allowed=["Git.svc:3000", "evil", "10.96.9.0/24"])
    assert policy.resolve("git.svc", 3000) == ["10.96.7.7"]
    assert policy.resolve("near", 80) == ["10.96.9.9"]
    for host, port in (("git.svc", 22), ("other.svc", 3000), ("evil", 80)):
        with pytest.raises(Denied):
            policy.resolve(host, port)


def test_loopback_opens_by_a_network_only() -> None:
    assert Policy.make(allowed=["127.0.0.0/8"]).resolve("127.0.0.1", 80) == ["127.0.0.1"]
    with pytest.raises(Denied):
        Policy.make(allowed=["127.0.0.1:80", "localhost"]).resolve("localhost", 80)


def test_credentials_go_over_plain_http_where_a_setting_allows_it() -> None:
    policy = Policy.make(plain_http=["git.lab:3000", "intranet"])
    assert policy.may_send_secret("https", "anywhere", 443)
    assert policy.may_send_secret("http", "GIT.lab", 3000)
    assert policy.may_send_secret("http", "intranet", 8080)
    assert not policy.may_send_secret("http", "git.lab", 80)
    assert not policy.may_send_secret("http", "anywhere", 80)
    assert Policy.make(plain_http=["*"]).may_send_secret("http", "anywhere", 80)


def test_a_policy_crosses_processes() -> None:
    policy = Policy.make(denied=CLUSTER, allowed=["git.lab:1", "10.96.0.5"], plain_http=["x"])
    assert Policy.from_json(policy.to_json()) == policy


def test_behind_a_proxy_addresses_of_a_family_that_we_do_not_have_count_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look_up(host: str, port: int, *, flags: int = 0, **_: Any) -> list[Any]:
        # A pod with IPv4 alone; the name has an IPv6 address alone.
        if flags & socket.AI_ADDRCONFIG:
            raise socket.gaierror(socket.EAI_ADDRFAMILY, "Address family not supported")
        return [(socket.AF_INET6, 0, 0, "", ("fd00:ec2::254", port, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(Unresolved):
        POLICY.resolve("meta.example", 443)
    with pytest.raises(Denied, match="a cloud's metadata service"):
        POLICY.check_proxied("meta.example", 443)
