"""What a deleted Build left in the store and the registry goes with the chart's job, and nothing else does."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.conftest import Builds
from tests.install import IMAGE, ROOT, STORE_SECRET, environ
from tests.kubectl import Kubectl, condition
from tests.lab import services

RELEASE = "retention"
TEXT = """\
box: {registry}/box/debian:12
build:
  steps:
    - script: {{name: work, code: 'echo kept >"$WERCKER_OUTPUT_DIR/file"'}}
    - internal/store-container: {{name: store}}
"""


def chart(builds: Builds, repository: str, *, dry_run: bool) -> list[dict[str, Any]]:
    """The job of the chart and all that it needs, in the namespace of the test."""
    lab = builds.lab
    values = {
        "namespaces[0]": builds.namespace,
        "image.repository": IMAGE.partition(":")[0],
        "image.tag": IMAGE.partition(":")[2],
        "images.insecureRegistries[0]": lab.registry,
        "store.bucket": lab.s3_bucket,
        "store.endpoint": lab.s3_endpoint,
        "store.existingSecret": STORE_SECRET,
        "retention.prune.enabled": "true",
        "retention.prune.dryRun": str(dry_run).lower(),
        "retention.prune.images.repositories[0]": repository,
        "log.format": "text",
    }
    done = subprocess.run(
        [
            f"{lab.bin}/helm",
            "template",
            RELEASE,
            str(ROOT / "charts/sentinel"),
            "--namespace",
            builds.namespace,
            "--show-only=templates/prune.yaml",
            *(arg for pair in values.items() for arg in ("--set", "=".join(pair))),
        ],
        check=True,
        capture_output=True,
        text=True,
        env=environ(lab),
    )
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@pytest.fixture
def cleaned(kubectl: Kubectl) -> Iterator[None]:
    """Without the rights that belong to no namespace, once the test is over."""
    yield
    name = f"{RELEASE}-sentinel-prune-cluster"
    kubectl("delete", "clusterrole,clusterrolebinding", name, "--ignore-not-found")


def prune(builds: Builds, repository: str, *, dry_run: bool) -> str:
    """What the job printed."""
    name = "dry" if dry_run else "real"
    builds.kubectl.apply(*chart(builds, repository, dry_run=dry_run))
    cronjob = f"--from=cronjob/{RELEASE}-sentinel-prune"
    builds.kubectl("create", "job", name, cronjob, "-n", builds.namespace)

    def ended(raw: dict[str, Any]) -> bool:
        return any(condition(raw, each).get("status") == "True" for each in ("Complete", "Failed"))

    raw = builds.kubectl.wait_for("job", name, namespace=builds.namespace, until=ended, timeout=300)
    text = builds.kubectl("logs", f"job/{name}", "-n", builds.namespace)
    assert condition(raw, "Complete").get("status") == "True", text
    return text


def keys(builds: Builds, raw: dict[str, Any]) -> list[str]:
    """The keys of a Build's results in the store."""
    with builds._store() as client:
        listed = client.list_objects_v2(
            Bucket=builds.lab.s3_bucket, Prefix=raw["status"]["results"]["prefix"]
        )
    return [row["Key"] for row in listed.get("Contents", ())]


def grow_old(builds: Builds, *found: str) -> None:
    """Have been written two days ago."""
    then = time.time() - 2 * 86400
    for key in found:
        os.utime(Path(services.S3_ROOT) / builds.lab.s3_bucket / key, (then, then))


def forget_other_clusters(builds: Builds) -> None:
    """Wait for the operator's mark, and remove those of earlier clusters of this machine, whose bucket stays."""
    raw = builds.kubectl.get("namespace", "kube-system")
    assert raw is not None
    ours = f".sentinel-clusters/{raw['metadata']['uid']}"
    deadline = time.monotonic() + 120
    with builds._store() as client:
        while True:
            listed = client.list_objects_v2(
                Bucket=builds.lab.s3_bucket, Prefix=".sentinel-clusters/"
            )
            marks = [row["Key"] for row in listed.get("Contents", ())]
            if ours in marks:
                break
            assert time.monotonic() < deadline, f"the operator left no mark, only {marks}"
            time.sleep(0.5)
        for key in marks:
            if key != ours:
                client.delete_object(Bucket=builds.lab.s3_bucket, Key=key)


def tags(builds: Builds, name: str) -> list[str]:
    """The tags in a repository of the lab's registry that point at something."""
    url = f"http://{builds.lab.registry}/v2/{name}/tags/list"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["tags"] or []
    except urllib.error.HTTPError as e:
        assert e.code == 404
        return []


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("cleaned")
def test_what_a_deleted_build_left_goes_with_the_charts_job(builds: Builds) -> None:
    forget_other_clusters(builds)
    lab = builds.lab
    builds.secret(
        STORE_SECRET,
        AWS_ACCESS_KEY_ID=lab.s3_access_key,
        AWS_SECRET_ACCESS_KEY=lab.s3_secret_key,
    )
    url = builds.project(TEXT.format(registry=lab.registry))
    repository = f"builds/{builds.namespace}/{Path(url).stem}"
    gone = builds.run("same", url=url)
    assert gone["status"]["phase"] == "Succeeded", gone["status"]
    builds.kubectl("delete", "build", "same", "-n", builds.namespace)
    stays = builds.run("same", url=url)
    assert stays["status"]["phase"] == "Succeeded", stays["status"]
    left, kept = keys(builds, gone), keys(builds, stays)
    assert {Path(key).name for key in left} == {"output.tar", "log.txt"}
    grow_old(builds, *left, *kept)
    uids = [raw["metadata"]["uid"] for raw in (gone, stays)]
    assert sorted(tag[:36] for tag in tags(builds, repository)) == sorted(uids)

    printed = prune(builds, f"{lab.registry}/{repository}", dry_run=True)

    lines = [line for line in printed.splitlines() if uids[0] in line]
    assert lines[:-1] == [f"would delete object {key}: its Build {uids[0]} is gone" for key in left]
    assert lines[-1].startswith(f"would delete image {lab.registry}/{repository}@sha256:")
    assert uids[1] not in printed
    assert (keys(builds, gone), len(tags(builds, repository))) == (left, 2)

    printed = prune(builds, f"{lab.registry}/{repository}", dry_run=False)

    assert printed.count(f"deleted object {gone['status']['results']['prefix']}") == len(left)
    assert (keys(builds, gone), keys(builds, stays)) == ([], kept)
    assert [tag[:36] for tag in tags(builds, repository)] == [uids[1]]
