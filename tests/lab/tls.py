"""A certificate authority of the lab's own, and a certificate of it for the lab's git server. Made by openssl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.lab.shell import run


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files in PEM: the authority that clients are told to trust, the server's certificate and its key."""

    authority: Path
    certificate: Path
    key: Path


def certificates(directory: Path, name: str) -> Certificates:
    """Have certificates for a server called `name`; those that lie in `directory` already are kept.

    The authority's own key is thrown away: it has signed all that it ever will.
    """
    made = Certificates(
        authority=directory / "ca.crt",
        certificate=directory / "server.crt",
        key=directory / "server.key",
    )
    if made.certificate.exists():
        return made
    directory.mkdir(parents=True, exist_ok=True)
    ca_key, request, extensions = (
        directory / each for each in ("ca.key", "server.csr", "server.ext")
    )
    new = (
        "openssl",
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    )
    run(
        *(*new, "-x509", "-days", "3650", "-keyout", ca_key, "-out", made.authority),
        *("-subj", "/CN=The lab's own authority"),
        *(
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ),
    )
    run(*new, "-keyout", made.key, "-out", request, "-subj", f"/CN={name}")
    extensions.write_text(f"subjectAltName=DNS:{name}\nextendedKeyUsage=serverAuth\n")
    fresh = directory / "server.new"
    run(
        *("openssl", "x509", "-req", "-in", request, "-CA", made.authority, "-CAkey", ca_key),
        *("-CAcreateserial", "-days", "3650", "-extfile", extensions, "-out", fresh),
    )
    for spent in (ca_key, request, extensions):
        spent.unlink()
    fresh.rename(made.certificate)
    return made
