"""The server's certificate: a Secret of the release's namespace, and its authority in the APIService's caBundle.

The chart makes the Secret without data; the first server fills it, so that no key is in a chart or a manifest and the
server needs no right to create Secrets. A Secret that another controller fills (cert-manager, for example) is used as
it is.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sentinel.errors import Conflict, InfrastructureError, UserError
from sentinel.kube.client import Kube
from sentinel.kube.errors import NotFound
from sentinel.kube.resources import API_SERVICES, RESULTS, SECRETS

log = logging.getLogger(__name__)

API_SERVICE = f"{RESULTS.version}.{RESULTS.group}"
DAYS = 3650
RENEW_DAYS = 60
"""Days before its end at which a certificate of our own is replaced. Others are renewed by their owner."""

CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"


@dataclass(frozen=True, kw_only=True)
class Serving:
    """In PEM. `authority` is what clients check `certificate` against: itself, where we made it."""

    certificate: bytes
    key: bytes
    authority: bytes

    def write(self, directory: Path) -> tuple[Path, Path]:
        """Files of certificate and key, as `ssl` wants them."""
        certificate, key = directory / CERTIFICATE, directory / KEY
        certificate.write_bytes(self.certificate)
        key.touch(mode=0o600)
        key.write_bytes(self.key)
        return certificate, key


async def load_serving(kube: Kube, *, namespace: str, name: str, host: str) -> Serving:
    """The certificate in that Secret, made for `host` where there is none or ours ends soon. Several servers agree.

    Raises UserError where the Secret does not exist or holds something else.
    """
    while True:
        try:
            raw = await kube.get(SECRETS, namespace=namespace, name=name)
        except NotFound:
            raise UserError(
                f"there is no Secret {namespace}/{name} for the results API's certificate; the chart creates it"
            ) from None
        serving = _decode(raw.get("data") or {}, f"Secret {namespace}/{name}")
        if serving is not None and not await _is_due(serving):
            return serving
        made = await make_certificate(host)
        data = {CERTIFICATE: made.certificate, KEY: made.key, AUTHORITY: made.authority}
        body = {
            "metadata": {"resourceVersion": raw["metadata"]["resourceVersion"]},
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
        try:
            await kube.patch(SECRETS, namespace=namespace, name=name, body=body)
        except Conflict:
            continue
        log.info("made the results API's certificate, in Secret %s/%s", namespace, name)
        return made


async def publish(kube: Kube, serving: Serving) -> None:
    """Have the API server trust the certificate. Raises UserError where there is no APIService."""
    bundle = base64.b64encode(serving.authority).decode()
    try:
        raw = await kube.get(API_SERVICES, name=API_SERVICE)
    except NotFound:
        raise UserError(f"there is no APIService {API_SERVICE}; the chart creates it") from None
    if raw["spec"].get("caBundle") != bundle:
        await kube.patch(API_SERVICES, name=API_SERVICE, body={"spec": {"caBundle": bundle}})
        log.info("put the certificate's authority into APIService %s", API_SERVICE)


async def make_certificate(host: str) -> Serving:
    """A key, and a certificate that it has signed itself, for that DNS name. Raises InfrastructureError."""
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = Path(directory) / CERTIFICATE, Path(directory) / KEY
        await _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *(
                "-days",
                str(DAYS),
                "-subj",
                "/O=Sentinel/CN=results",
                "-addext",
                f"subjectAltName=DNS:{host}",
            ),
            *(
                "-addext",
                "extendedKeyUsage=serverAuth",
                "-keyout",
                str(key),
                "-out",
                str(certificate),
            ),
        )
        text = certificate.read_bytes()
        return Serving(certificate=text, key=key.read_bytes(), authority=text)


async def _is_due(serving: Serving) -> bool:
    if serving.authority != serving.certificate:
        return False
    printed = await _openssl("x509", "-noout", "-enddate", stdin=serving.certificate)
    end = ssl.cert_time_to_seconds(printed.decode().strip().removeprefix("notAfter="))
    return end - time.time() < RENEW_DAYS * 24 * 3600


async def _openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            "openssl",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise InfrastructureError("openssl is not installed; the image has it") from None
    out, err = await process.communicate(stdin)
    if process.returncode:
        text = err.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise InfrastructureError(f"openssl {arguments[0]} failed: {' '.join(text)}")
    return out


def _decode(data: dict[str, str], where: str) -> Serving | None:
    """None for a Secret without a certificate."""
    if not data.get(CERTIFICATE) and not data.get(KEY):
        return None
    try:
        certificate, key = (
            base64.b64decode(data[name], validate=True) for name in (CERTIFICATE, KEY)
        )
        authority = base64.b64decode(data.get(AUTHORITY) or data[CERTIFICATE], validate=True)
    except (KeyError, binascii.Error):
        # Without the error itself: it may quote the data.
        raise UserError(
            f"{where} must hold {CERTIFICATE}, {KEY} and {AUTHORITY} in PEM; without data a certificate is made"
        ) from None
    return Serving(certificate=certificate, key=key, authority=authority)
