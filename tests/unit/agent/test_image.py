"""The new image's config and manifest: the base image's, one layer more, and nothing of the container's."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sentinel.agent.failures import CommitFailure
from sentinel.agent.image import MAX_LAYERS, NewImage, build_image, check_layers, scratch_base
from sentinel.agent.layer import PackedLayer
from sentinel.agent.runtimes.base import BaseImage
from sentinel.api.imagecommit import ImageConfig
from sentinel.api.reasons import CommitReason
from sentinel.image.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    digest_of,
)

FAMILIES = {
    "oci": (OCI_MANIFEST, OCI_CONFIG, f"{OCI_LAYER}+gzip", OCI_LAYER),
    "docker": (DOCKER_MANIFEST, DOCKER_CONFIG, f"{DOCKER_LAYER}.gzip", DOCKER_LAYER),
}
BASE_CONFIG = {
    "architecture": "arm64",
    "os": "linux",
    "variant": "v8",
    "created": "2020-01-01T00:00:00Z",
    "container": "0123456789ab",
    "container_config": {"Hostname": "builder", "Env": ["TOKEN=hunter2"]},
    "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": {"base": "yes", "both": "old"}},
    "history": [{"created_by": "ADD rootfs"}],
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]},
}
LAYER = PackedLayer(
    path=Path("layer.gz"),
    digest="sha256:" + "b" * 64,
    size=1234,
    diff_id="sha256:" + "d" * 64,
    compression="gzip",
)


def base_manifest(family: str, *, layers: int = 1) -> Manifest:
    media_type, config_type, layer_type, _ = FAMILIES[family]
    return Manifest(
        content=b"",
        media_type=media_type,
        digest="sha256:" + "e" * 64,
        config=Descriptor(media_type=config_type, digest="sha256:" + "c" * 64, size=1),
        layers=tuple(
            Descriptor(media_type=layer_type, digest="sha256:" + "a" * 64, size=99)
            for _ in range(layers)
        ),
    )


def built(family: str = "oci", **changes: Any) -> NewImage:
    arguments: dict[str, Any] = {
        "base_config": json.dumps(BASE_CONFIG).encode(),
        "base": base_manifest(family),
        "layer": LAYER,
        "overlay": ImageConfig(),
        "created": datetime(2026, 11, 23, 9, 0, tzinfo=UTC),
        "created_by": "sentinel: pod team/hello",
    }
    return build_image(**(arguments | changes))


def test_the_config_is_the_bases_with_a_layer_labels_and_a_line_of_history() -> None:
    image = built(overlay=ImageConfig(labels={"both": "new", "more": "1"}, working_dir="/pipeline"))
    assert json.loads(image.config) == {
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "created": "2026-11-23T09:00:00Z",
        "config": {
            "Env": ["PATH=/bin"],
            "Cmd": ["sh"],
            "Labels": {"base": "yes", "both": "new", "more": "1"},
            "WorkingDir": "/pipeline",
        },
        "history": [
            {"created_by": "ADD rootfs"},
            {
                "created": "2026-11-23T09:00:00Z",
                "created_by": "sentinel: pod team/hello",
                "author": "sentinel",
            },
        ],
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64, LAYER.diff_id]},
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_media_types_follow_the_base(family: str, compression: str) -> None:
    media_type, config_type, gzip_type, plain_type = FAMILIES[family]
    layer = PackedLayer(
        path=LAYER.path,
        digest=LAYER.digest,
        size=LAYER.size,
        diff_id=LAYER.diff_id,
        compression=compression,
    )
    image = built(family, layer=layer)
    assert json.loads(image.manifest) == {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {
            "mediaType": config_type,
            "digest": digest_of(image.config),
            "size": len(image.config),
        },
        "layers": [
            {"mediaType": gzip_type, "digest": "sha256:" + "a" * 64, "size": 99},
            {
                "mediaType": gzip_type if compression == "gzip" else plain_type,
                "digest": LAYER.digest,
                "size": 1234,
            },
        ],
    }


def test_an_image_from_scratch_has_one_layer_and_nothing_of_the_box_but_its_processor() -> None:
    known = BaseImage(config=json.dumps(BASE_CONFIG).encode(), manifest=base_manifest("docker"))
    base = scratch_base(known)
    image = built(
        base_config=base.config,
        base=base.manifest,
        overlay=ImageConfig(
            cmd=["serve"],
            entrypoint=["/app"],
            env=["A=1"],
            ports=["80/tcp"],
            volumes=["/data"],
            working_dir="/www",
        ),
    )
    assert json.loads(image.config) == {
        "architecture": "arm64",
        "variant": "v8",
        "os": "linux",
        "created": "2026-11-23T09:00:00Z",
        "config": {
            "Env": ["A=1"],
            "Entrypoint": ["/app"],
            "Cmd": ["serve"],
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}},
            "WorkingDir": "/www",
        },
        "history": [
            {
                "created": "2026-11-23T09:00:00Z",
                "created_by": "sentinel: pod team/hello",
                "author": "sentinel",
            }
        ],
        "rootfs": {"type": "layers", "diff_ids": [LAYER.diff_id]},
    }
    assert json.loads(image.manifest)["layers"] == [
        {"mediaType": f"{DOCKER_LAYER}.gzip", "digest": LAYER.digest, "size": 1234}
    ]


def test_foreign_layers_keep_their_urls() -> None:
    foreign = Descriptor(
        media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        digest="sha256:" + "f" * 64,
        size=5,
        urls=("https://elsewhere.example/layer",),
    )
    base = base_manifest("docker")
    image = built(base=Manifest(**(vars(base) | {"layers": (foreign,)})))
    assert json.loads(image.manifest)["layers"][0] == {
        "mediaType": foreign.media_type,
        "digest": foreign.digest,
        "size": 5,
        "urls": ["https://elsewhere.example/layer"],
    }


def test_the_same_input_gives_the_same_image() -> None:
    assert built() == built()


def test_a_base_whose_config_and_manifest_disagree_is_refused() -> None:
    config = BASE_CONFIG | {"rootfs": {"diff_ids": ["sha256:" + "0" * 64] * 2}}
    with pytest.raises(CommitFailure, match="config has 2 layers and its manifest 1") as caught:
        built(base_config=json.dumps(config).encode(), base=base_manifest("oci", layers=1))
    assert caught.value.why is CommitReason.UNSUPPORTED


def test_a_base_with_too_many_layers_is_refused() -> None:
    check_layers(base_manifest("oci", layers=MAX_LAYERS - 1))
    with pytest.raises(CommitFailure, match="built on 99 at most") as caught:
        check_layers(base_manifest("oci", layers=MAX_LAYERS))
    assert caught.value.why is CommitReason.UNSUPPORTED
