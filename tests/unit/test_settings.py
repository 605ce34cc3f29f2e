"""Settings that are checked when operator and agent start."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.lab import tls

from sentinel.settings import Settings, StoreSettings


def test_authorities_for_sources_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = tls.certificates(tmp_path, "git.example.com").authority.read_text()
    monkeypatch.setenv("SENTINEL_SOURCE__CA", text * 2)
    assert Settings().source.ca == text * 2


@pytest.mark.parametrize(
    "text", ["hello", "-----BEGIN CERTIFICATE-----\nhello\n-----END CERTIFICATE-----\n"]
)
def test_an_authority_that_is_none_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SENTINEL_SOURCE__CA", text)
    with pytest.raises(ValidationError, match=r"source\.ca holds no certificates in PEM form"):
        Settings()


@pytest.mark.parametrize(
    "mirrors",
    [
        {"docker.io": "https://mirror.example.com"},
        {"docker.io": "mirror"},
        {"docker": "mirror.example.com"},
        {"docker.io": "mirror.example.com/hub:1"},
        {"docker.io": "mirror.example.com/"},
    ],
)
def test_a_mirror_that_is_none_stops_the_start(mirrors: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"images\.mirrors"):
        Settings(images={"mirrors": mirrors})  # type: ignore[arg-type]


@pytest.mark.parametrize("mirror", ["mirror.example.com", "mirror:5000", "10.0.0.1:5000/a/b-c"])
def test_a_mirror_may_be_reached(mirror: str) -> None:
    settings = Settings(images={"mirrors": {"docker.io": mirror}})  # type: ignore[arg-type]

    assert mirror.partition("/")[0] in settings.registry_policy().to_json()["allowed"]


@pytest.mark.parametrize(
    ("store", "why"),
    [
        ({"bucket": "b", "url": "http://store:8080"}, "choose one store"),
        ({"url": "store:8080"}, "string_pattern_mismatch"),
        ({"url": "http://store:8080", "key": "short"}, "32 characters or more"),
    ],
    ids=["two stores", "no URL", "a short key"],
)
def test_a_store_that_cannot_be_used_is_refused(store: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        StoreSettings.model_validate(store)


def test_either_store_counts_as_one() -> None:
    either = [StoreSettings(bucket="b"), StoreSettings(url="http://store:8080/")]
    assert [(each.configured, each.place) for each in either] == [
        (True, "s3://b"),
        (True, "http://store:8080"),
    ]
    assert (StoreSettings().configured, StoreSettings().place) == (False, "")


AUTHORITIES = ("SENTINEL_CA", "SENTINEL_SOURCE__CA", "SENTINEL_STORE__CA")


def test_one_authority_is_for_sources_and_the_store_besides_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    texts = [
        tls.certificates(tmp_path / name, "x.example.com").authority.read_text().strip()
        for name in ("all", "source", "store")
    ]
    for name, text in zip(AUTHORITIES, texts, strict=True):
        monkeypatch.setenv(name, text)

    settings = Settings()

    assert settings.ca == texts[0]
    assert settings.source.ca == f"{texts[1]}\n{texts[0]}\n"
    assert settings.store.ca == f"{texts[2]}\n{texts[0]}\n"


def test_an_authority_for_all_that_is_none_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTINEL_CA", "hello")
    with pytest.raises(ValidationError, match="ca holds no certificates in PEM form"):
        Settings()


def test_authorities_must_fit_into_a_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, others = (
        tls.certificates(tmp_path / name, "x.example.com").authority.read_text() for name in "ab"
    )
    monkeypatch.setenv("SENTINEL_CA", ours * (32000 // len(ours)))
    monkeypatch.setenv("SENTINEL_SOURCE__CA", others * (65000 // len(others)))
    with pytest.raises(ValidationError, match="more than 98304 characters together"):
        Settings()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://ci:hidden@proxy:3128", r"holds a login.* proxy\.existingSecret"),
        ("http://hidden@proxy:3128", "holds a login"),
        ("https://proxy:3128", "begins with https://"),
        ("proxy:3128", "is not http://host:port"),
    ],
)
def test_a_proxy_of_build_pods_holds_no_login(
    monkeypatch: pytest.MonkeyPatch, url: str, why: str
) -> None:
    monkeypatch.setenv("SENTINEL_PROXY__HTTPS", url)
    with pytest.raises(ValidationError, match=why) as caught:
        Settings()
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("store", "no_proxy", "expected"),
    [
        ({"bucket": "b"}, [], "http://secure:3128"),
        ({"bucket": "b"}, [".amazonaws.com"], ""),
        ({"bucket": "b", "region": "eu-west-1"}, ["s3.eu-west-1.amazonaws.com"], ""),
        ({"bucket": "b", "endpoint": "http://s3.example.com"}, [], "http://plain:3128"),
        ({"bucket": "b", "endpoint": "http://10.1.2.3:9000"}, ["10.0.0.0/8"], ""),
        ({"url": "http://store.ci.svc:8080"}, [], ""),
        ({}, [], ""),
    ],
)
def test_the_proxy_between_build_pods_and_the_store(
    store: dict[str, str], no_proxy: list[str], expected: str
) -> None:
    proxy = {"http": "http://plain:3128", "https": "http://secure:3128", "no_proxy": no_proxy}
    known = Settings(store=store, proxy=proxy)  # type: ignore[arg-type]

    assert known.store_proxy() == expected
