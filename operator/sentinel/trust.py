"""Whom connections trust: the system's authorities, and those of an administrator besides them, never in their place.

Not imported where the start matters (`source.fetch`): ssl is slow to import.
"""

from __future__ import annotations

import atexit
import ssl
import tempfile
from functools import lru_cache
from pathlib import Path


def check_authorities(text: str) -> None:
    """ValueError where a text that is not blank holds no certificates in PEM form."""
    if text.strip():
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
        except ssl.SSLError as error:
            raise ValueError(
                f"holds no certificates in PEM form ({error.reason or error})"
            ) from error


@lru_cache(maxsize=8)
def trusting(ca: str = "") -> ssl.SSLContext:
    """How servers are verified: by the system's authorities ($SSL_CERT_FILE), and by those of `ca` (PEM).

    Reading the system's takes 30 ms, so a process does it once, and its forks not at all.
    """
    context = ssl.create_default_context()
    if ca.strip():
        context.load_verify_locations(cadata=ca)
    return context


@lru_cache(maxsize=8)
def bundle(ca: str, system: str) -> str:
    """The path of a file with the authorities of the file `system` and those of `ca`, for libraries that want a file.

    It stays as long as the process.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
        file.write(f"{Path(system).read_text('utf-8')}\n{ca}\n")
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name
