"""$WERCKER_CACHE_DIR from one build to the next: saved, found, left alone, broken, cleared; never a reason to fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import Builds
from tests.install import environ
from tests.kubectl import until
from tests.lab import git

TEXT = """\
box: {registry}/box/debian:12
build:
  steps:
    - script:
        name: work
        code: |
          echo "mounted: $(cd /mnt/wercker/cache && echo *)"
          echo "cached: $(cd "$WERCKER_CACHE_DIR" && grep -rh . . | sort | tr '\\n' ' ')"
          touch /mnt/wercker/cache/x 2>/dev/null && echo "the mounted cache is writable"
          cd "$WERCKER_CACHE_DIR"
          case "$ROUND" in
            first) echo one >one; chmod 600 one; ln -s one link; ln one hard; mkfifo pipe ;;
            second) stat -c '%a %h' one; readlink link; echo two >two ;;
            fails) echo wrong >wrong; exit 3 ;;
            pull) echo evil >evil ;;
            broken) echo mended >mended ;;
          esac
  after-steps:
    - script:
        code: if [ "$ROUND" = first ]; then echo late >"$WERCKER_CACHE_DIR/late"; fi
"""


def access(builds: Builds) -> dict[str, str]:
    lab = builds.lab
    return {
        "SENTINEL_STORE__BUCKET": lab.s3_bucket,
        "SENTINEL_STORE__ENDPOINT": lab.s3_endpoint,
        "SENTINEL_STORE__ACCESS_KEY_ID": lab.s3_access_key,
        "SENTINEL_STORE__SECRET_ACCESS_KEY": lab.s3_secret_key,
    }


def cache(builds: Builds, *args: str) -> str:
    """What `sentinel cache` prints for the namespace."""
    done = subprocess.run(
        [sys.executable, "-m", "sentinel", "cache", *args, "-n", builds.namespace],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
        env={**environ(builds.lab), **access(builds)},
    )
    return done.stdout


def events(builds: Builds, name: str) -> str:
    """The notes of a Build's events."""
    found = builds.kubectl.list("events", namespace=builds.namespace)
    return "\n".join(each["message"] for each in found if each["involvedObject"]["name"] == name)


@pytest.mark.timeout(900)
def test_what_a_passed_build_leaves_is_there_for_the_next(builds: Builds) -> None:
    url = builds.project(TEXT.format(registry=builds.lab.registry))
    repository = git.path(builds.lab, Path(url).stem)
    subprocess.run(
        ["git", "-C", str(repository), "update-ref", "refs/pull/7/head", "main"], check=True
    )

    def build(name: str, **spec: Any) -> tuple[dict[str, Any], list[str]]:
        """The status of a build's cache, and what its step printed."""
        raw = builds.run(name, url=url, env=[{"name": "ROUND", "value": name}], **spec)
        phase = "Failed" if name == "fails" else "Succeeded"
        assert raw["status"]["phase"] == phase, raw["status"]
        return raw["status"]["cache"], builds.log(raw, "work").splitlines()

    first, printed = build("first")
    assert printed == ["mounted: *", "cached: "]
    assert (first["restored"], first["saved"], first["savedBytes"]) == ("Miss", "Saved", 9)
    assert first["message"] == "1 FIFO left out"

    second, printed = build("second")
    assert printed == ["mounted: hard late link one", "cached: late one one ", "600 2", "one"]
    assert (second["restored"], second["restoredBytes"]) == ("Hit", 9)
    assert (second["saved"], second["savedBytes"]) == ("Saved", 13)
    (before,) = objects(builds)

    third, printed = build("third")
    assert printed == ["mounted: hard late link one two", "cached: late one one two "]
    assert (third["restored"], third["saved"]) == ("Hit", "Unchanged")

    failed, _ = build("fails")
    assert failed["restored"] == "Hit"
    assert "saved" not in failed or failed["saved"] == ""
    pull, printed = build("pull", ref="refs/pull/7/head")
    assert printed[1] == "cached: late one one two "
    assert (pull["restored"], pull["saved"]) == ("Hit", "ReadOnly")
    large, _ = build("large", cache={"maxSize": "10"})
    assert large["restored"] == "Invalid"
    assert objects(builds) == [before], "none of them has written"

    key = before[0]
    with builds._store() as client:
        whole = client.get_object(Bucket=builds.lab.s3_bucket, Key=key)["Body"].read()
        client.put_object(Bucket=builds.lab.s3_bucket, Key=key, Body=whole[: len(whole) // 2])
    broken, printed = build("broken")
    assert printed[0].startswith("cache starts empty (Invalid): ")
    assert printed[1:] == ["mounted: *", "cached: "]
    assert (broken["restored"], broken["saved"]) == ("Invalid", "Saved")
    # Events are written beside the build, and may be late.
    until(
        lambda: "the cache starts empty: " in events(builds, "broken"),
        what="an event on the cache that is broken",
    )

    rows = cache(builds, "ls").splitlines()
    assert len(rows) == 2
    assert rows[1].split()[1:3] == ["build", "-"]
    assert cache(builds, "clear", "--yes", "--pipeline", "other") == ""
    assert "1 removed." in cache(builds, "clear", "--yes")
    assert objects(builds) == []
    last, printed = build("last")
    assert printed[:2] == ["mounted: *", "cached: "]
    assert (last["restored"], last["saved"]) == ("Miss", "Empty")
    left = builds.kubectl.list("secrets", namespace=builds.namespace)
    assert [each["metadata"]["name"] for each in left if "cache" in each["metadata"]["name"]] == []


def objects(builds: Builds) -> list[tuple[str, str, str]]:
    """Key, etag and time of what the namespace's caches are in the store."""
    with builds._store() as client:
        listed = client.list_objects_v2(
            Bucket=builds.lab.s3_bucket, Prefix=f"{builds.namespace}/cache/"
        )
    return [
        (row["Key"], row["ETag"], str(row["LastModified"])) for row in listed.get("Contents", ())
    ]
