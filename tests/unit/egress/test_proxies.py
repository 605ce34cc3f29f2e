"""Which proxy a connection takes, and what no_proxy means. Its semantics are those of Go and curl."""

from __future__ import annotations

import pytest

from sentinel.egress import (
    Proxy,
    UnusableProxy,
    bypasses,
    parse_proxy,
    passwords,
    proxies_for,
    proxy_for,
)


@pytest.mark.parametrize(
    ("entry", "direct", "proxied"),
    [
        ("example.com", ["example.com", "a.example.com", "EXAMPLE.com."], ["badexample.com"]),
        (".example.com", ["example.com", "a.b.example.com"], ["example.com.evil.test"]),
        ("*.example.com", ["a.example.com"], ["example.org"]),
        ("10.0.0.0/8", ["10.1.2.3"], ["11.0.0.1", "ten.example.com"]),
        ("fd00::/8", ["fd00::1"], ["fe00::1", "10.0.0.1"]),
        ("192.0.2.7", ["192.0.2.7"], ["192.0.2.70", "1.192.0.2.7.example.com"]),
        ("::ffff:1", ["::ffff:1"], ["::fffe:1"]),
        ("host:8443", ["host"], ["other"]),
        ("[fd00::1]:8443", ["fd00::1"], ["fd00::2"]),
        ("*", ["anything", "192.0.2.1"], []),
        ("", [], ["anything"]),
        (".", [], ["anything"]),
        ("300.0.0.0/8", [], ["300.0.0.1"]),
    ],
)
def test_an_entry_of_no_proxy(entry: str, direct: list[str], proxied: list[str]) -> None:
    entries = ["unrelated.test", f" {entry} "]
    assert [host for host in (*direct, *proxied) if bypasses(host, 8443, entries)] == direct


def test_a_port_in_no_proxy_is_that_port_alone() -> None:
    assert bypasses("host", 8443, ["host:8443"])
    assert not bypasses("host", 443, ["host:8443"])
    assert not bypasses("fd00::1", 443, ["[fd00::1]:8443"])


@pytest.mark.parametrize(
    "host",
    ["localhost", "a.localhost", "127.0.0.1", "127.8.9.1", "::1", "169.254.169.254", "fe80::1"],
)
def test_nothing_of_this_machine_or_link_goes_through_a_proxy(host: str) -> None:
    assert proxy_for("http", host, 80, environ={"http_proxy": "http://proxy:3128"}) is None


def test_each_scheme_has_a_proxy_and_small_letters_count_first() -> None:
    environ = {
        "http_proxy": "http://plain:1",
        "HTTP_PROXY": "http://ignored:1",
        "HTTPS_PROXY": "http://u:p%40ss@secure:3128/",
        "no_proxy": "git.example.com,.internal",
        "NO_PROXY": "*",
    }
    assert proxy_for("http", "h", 80, environ=environ) == Proxy(host="plain", port=1)
    secure = proxy_for("https", "h", 443, environ=environ)
    assert secure == Proxy(host="secure", port=3128, username="u", password="p@ss")
    assert secure.url == "http://secure:3128"
    assert secure.full_url == "http://u:p%40ss@secure:3128"
    assert proxy_for("https", "git.example.com", 443, environ=environ) is None
    everything = {"all_proxy": "proxy.example.com:8080"}
    assert proxy_for("https", "h", 443, environ=everything) == Proxy(
        host="proxy.example.com", port=8080
    )
    assert proxy_for("https", "h", 443, environ={}) is None


def test_libraries_get_the_proxy_of_one_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://u:p@proxy:3128")
    monkeypatch.setenv("no_proxy", "10.0.0.0/8")
    assert proxies_for("https://s3.example.com") == {"https": "http://u:p@proxy:3128"}
    assert proxies_for("https://10.1.2.3:9000") == {}
    assert proxies_for("http://s3.example.com") == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://u:hidden@proxy:3128", "begins with https://"),
        ("socks5://u:hidden@proxy:1080", "begins with socks5://"),
        ("http://u:hidden@proxy:port", "is not http://host:port"),
        ("http://u:hidden@/", "is not http://host:port"),
        ("http://u:hidden@proxy:3128/path", "is not http://host:port"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_reported_without_its_login(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse_proxy(text)
    assert "hidden" not in str(caught.value)
    with pytest.raises(UnusableProxy, match=r"https_proxy or all_proxy") as unusable:
        proxy_for("https", "h", 443, environ={"https_proxy": text})
    assert "hidden" not in str(unusable.value)


def test_a_login_is_not_in_what_is_printed() -> None:
    proxy = parse_proxy("http://ci:hidden@proxy:3128")
    assert "hidden" not in repr(proxy)
    assert passwords({"https_proxy": "http://ci:hid%2Fden@p:1", "http_proxy": "http://p:1"}) == [
        "hid/den",
        "hid%2Fden",
    ]
