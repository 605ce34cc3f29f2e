"""A certificate authority of the lab's own, and certificates of it for a server and its client. Made by openssl."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from tests.lab.shell import run

_NEW = (
    "openssl",
    "req",
    "-new",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
)


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files in PEM: the authority that clients trust, the server's certificate and its key, and those of a
    client where one was asked for."""

    authority: Path
    certificate: Path
    key: Path
    client_certificate: Path
    client_key: Path


def certificates(directory: Path, name: str, *, client: str = "") -> Certificates:
    """Have certificates for a server called `name`, a host or an address, and perhaps for a `client`; those that lie in
    `directory` already are kept.

    The authority's own key is thrown away: it has signed all that it ever will.
    """
    made = Certificates(
        authority=directory / "ca.crt",
        certificate=directory / "server.crt",
        key=directory / "server.key",
        client_certificate=directory / "client.crt",
        client_key=directory / "client.key",
    )
    if made.certificate.exists():
        return made
    directory.mkdir(parents=True, exist_ok=True)
    ca_key = directory / "ca.key"
    run(
        *(*_NEW, "-x509", "-days", "3650", "-keyout", ca_key, "-out", made.authority),
        *("-subj", "/CN=The lab's own authority"),
        *(
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ),
    )
    if client:
        _sign(made.client_certificate, made.client_key, client, "extendedKeyUsage=clientAuth\n")
    kind = "IP" if _is_address(name) else "DNS"
    fresh = directory / "server.new"
    extensions = f"subjectAltName={kind}:{name}\nextendedKeyUsage=serverAuth\n"
    _sign(fresh, made.key, name, extensions)
    ca_key.unlink()
    fresh.rename(made.certificate)
    return made


def _sign(certificate: Path, key: Path, name: str, extensions: str) -> None:
    """Make a key, and a certificate for it by the authority of the same directory."""
    directory = certificate.parent
    request, wanted = directory / "new.csr", directory / "new.ext"
    run(*_NEW, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
    wanted.write_text(extensions)
    run(
        *("openssl", "x509", "-req", "-in", request, "-CA", directory / "ca.crt"),
        *("-CAkey", directory / "ca.key", "-CAcreateserial", "-days", "3650"),
        *("-extfile", wanted, "-out", certificate),
    )
    request.unlink()
    wanted.unlink()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
