"""Removes from an environment what never runs in the image: tests, and descriptions of other services than S3.

Runs inside the image's build: `python3 strip.py /opt/sentinel`. Standard library only.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

KEPT_SERVICES = {"s3", "sts", "sso", "sso-oidc", "signin"}
"""S3, and what botocore's credential chain asks."""


def strip(environment: Path) -> int:
    """Remove it; how many directories went."""
    (packages,) = environment.glob("lib/python3*/site-packages")
    doomed = [
        service
        for data in (packages / "botocore" / "data", packages / "boto3" / "data")
        for service in data.iterdir()
        if service.is_dir() and service.name not in KEPT_SERVICES
    ]
    doomed += [
        path
        for package in packages.iterdir()
        for path in (package / "tests", package / "test")
        if path.is_dir()
    ]
    for path in doomed:
        shutil.rmtree(path)
    return len(doomed)


if __name__ == "__main__":
    print(f"removed {strip(Path(sys.argv[1]))} directories")
