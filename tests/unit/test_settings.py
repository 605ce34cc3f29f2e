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
