"""An image after every step: what each adds, and that a node runs it."""

from __future__ import annotations

from typing import Any

from tests.cluster.conftest import Builds
from tests.cluster.test_image import registry, repository, run_image

STEPS = """box: {box}
build:
  steps:
    - script:
        name: big
        code: |
          mkdir /work
          head -c 3000000 /dev/urandom > /work/big
          echo 1 > /work/one
    - script:
        name: small
        code: |
          rm /work/one /etc/debian_version
          echo 2 > /work/two
    - script:
        name: broken
        code: |
          echo 3 > /work/three
          exit 1
    - script:
        name: never
        code: echo 4 > /work/four
"""


def test_each_step_s_image_has_one_small_layer_more(builds: Builds) -> None:
    text = STEPS.format(box=f"{builds.lab.registry}/box/debian:12")
    raw = builds.run(url=builds.project(text), image={"commit": "eachStep"})
    status, uid = raw["status"], raw["metadata"]["uid"]
    steps = status["steps"]
    assert [step["state"] for step in steps] == ["Passed", "Passed", "Failed", "Skipped"]
    digests = [step["image"]["digest"] for step in steps[:3]]
    assert "image" not in steps[3]
    assert status["image"]["digest"] == digests[2]
    assert status["image"]["tags"] == [uid, f"{uid}-step3", "red"]

    accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    one, two, three = (
        registry(builds, f"{repository(raw)}/manifests/{digest}", accept=accept)["layers"]
        for digest in digests
    )
    assert (
        registry(builds, f"{repository(raw)}/manifests/{uid}-step2", accept=accept)["layers"] == two
    )
    assert two[:-1] == one
    assert three[:-1] == two
    sizes = [layers[-1]["size"] for layers in (one, two, three)]
    assert sizes[0] > 3_000_000
    assert max(sizes[1:]) < 300_000, sizes

    said = run_image(
        builds,
        _with_image(raw, digests[1]),
        "cd /work; cat two; wc -c < big; ls; ls /etc/debian_version || echo gone",
    )
    assert said.splitlines()[:4] == ["2", "3000000", "big", "two"]
    assert said.splitlines()[-1] == "gone"


def _with_image(raw: dict[str, Any], digest: str) -> dict[str, Any]:
    """The Build as if that were its image."""
    image = {**raw["status"]["image"], "digest": digest}
    return {**raw, "status": {**raw["status"], "image": image}}
