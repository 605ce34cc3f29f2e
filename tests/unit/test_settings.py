"""Settings that are checked when operator and agent start."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.lab import tls

from sentinel.settings import Settings


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
