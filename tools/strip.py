"""Removes from an environment what never runs in the image: tests, generated code for APIs that we do not call.

Runs inside the image's build: `python3 strip.py /opt/sentinel`. Standard library only.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

KEPT_SERVICES = {"s3", "sts", "sso", "sso-oidc", "signin"}
"""botocore describes every service of AWS: S3, and what its credential chain asks."""

KEPT_MODELS = {"v1_managed_fields_entry", "v1_object_meta", "v1_owner_reference"}
"""The `kubernetes` client's classes of objects: those that its own packages import. Objects are dicts for us."""


def dispensable(environment: Path) -> list[Path]:
    """The files and directories of an environment that are never imported or read."""
    (packages,) = environment.glob("lib/python3*/site-packages")
    services = [
        service
        for data in (packages / "botocore" / "data", packages / "boto3" / "data")
        for service in data.iterdir()
        if service.is_dir() and service.name not in KEPT_SERVICES
    ]
    tests = [
        path
        for package in packages.iterdir()
        for path in (package / "tests", package / "test")
        if path.is_dir()
    ]
    generated = [
        module
        for client in (
            packages / "kubernetes" / "client",
            packages / "kubernetes" / "aio" / "client",
        )
        for part in ("models", "api")
        for module in (client / part).glob("*.py")
        if module.stem not in KEPT_MODELS | {"__init__"}
    ]
    return services + tests + generated


def strip(environment: Path) -> int:
    """Remove it; how many files and directories went."""
    doomed = dispensable(environment)
    for path in doomed:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return len(doomed)


if __name__ == "__main__":
    print(f"removed {strip(Path(sys.argv[1]))} files and directories")
