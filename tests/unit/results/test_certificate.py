"""The server's certificate: made once into the Secret that the chart made, trusted by the APIService, renewed."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.unit.fakeapi import FakeApi, Json

from sentinel.errors import Conflict, UserError
from sentinel.results import certificate
from sentinel.results.certificate import API_SERVICE, load_serving, make_certificate, publish

HOST = "sentinel-results.sentinel-system.svc"


def api(**data: str) -> FakeApi:
    secret: Json = {"metadata": {"name": "tls", "namespace": "ours", "resourceVersion": "1"}}
    if data:
        secret["data"] = {
            key.replace("_", "."): base64.b64encode(value.encode()).decode()
            for key, value in data.items()
        }
    service: Json = {"metadata": {"name": API_SERVICE}, "spec": {"group": "results"}}
    return FakeApi(secrets=[secret], apiservices=[service])


async def load(fake: Any) -> certificate.Serving:
    return await load_serving(fake, namespace="ours", name="tls", host=HOST)


async def test_the_first_server_makes_it_and_the_others_take_it(tmp_path: Path) -> None:
    fake = api()
    first, second = await asyncio.gather(load(fake), load(fake))
    assert await load(fake) in (first, second)
    made = await load(fake)
    path, key = made.write(tmp_path)
    assert key.stat().st_mode & 0o077 == 0
    shown = await asyncio.to_thread(
        subprocess.check_output,
        ["openssl", "x509", "-noout", "-ext", "subjectAltName,extendedKeyUsage", "-in", str(path)],
        text=True,
    )
    assert f"DNS:{HOST}" in shown
    assert "Server Authentication" in shown
    await publish(fake, made)  # type: ignore[arg-type]
    spec = fake.find("apiservices", API_SERVICE)["spec"]
    assert base64.b64decode(spec["caBundle"]) == made.authority
    assert spec["group"] == "results"


async def test_of_two_that_make_one_at_once_the_second_takes_the_first_s() -> None:
    fake = api()
    other = await make_certificate(HOST)
    fake.fail("patch", "tls", Conflict("changed"))
    patch = fake.patch

    async def raced(*args: Any, **words: Any) -> Json:
        encoded = {
            name: base64.b64encode(value).decode()
            for name, value in (("tls.crt", other.certificate), ("tls.key", other.key))
        }
        fake.find("secrets", "tls")["data"] = encoded
        return await patch(*args, **words)

    fake.patch = raced  # type: ignore[method-assign]
    assert (await load(fake)).certificate == other.certificate


async def test_one_that_ends_soon_is_renewed_where_it_is_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = api()
    first = await load(fake)
    monkeypatch.setattr(certificate, "RENEW_DAYS", certificate.DAYS + 1)
    assert await load(fake) != first
    theirs = api(tls_crt="certificate", tls_key="key", ca_crt="authority")
    serving = await load(theirs)
    assert (serving.certificate, serving.authority) == (b"certificate", b"authority")


async def test_what_is_missing_is_named() -> None:
    with pytest.raises(UserError, match="must hold tls"):
        await load(api(tls_crt="certificate"))
    nothing = FakeApi(secrets=[], apiservices=[])
    with pytest.raises(UserError, match="no Secret ours/tls"):
        await load(nothing)
    with pytest.raises(UserError, match=f"no APIService {API_SERVICE}"):
        await publish(nothing, await make_certificate(HOST))  # type: ignore[arg-type]
