"""Container images written as tar archives, the form that `ctr images import` reads.

One layer, one config, any number of names; no engine takes part.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True)
class Image:
    """What goes into one image."""

    names: Sequence[str]
    files: Mapping[str, Path]
    """Path in the image, without a leading slash, to the file that is copied there."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Path in the image to the target of a symbolic link."""
    entrypoint: Sequence[str] = ()


def write(image: Image, target: Path) -> None:
    """Write an image archive."""
    layer = target.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        for name, source in sorted(image.files.items()):
            # The content, never a link: libraries are found by the name they are asked for.
            member = tar.gettarinfo(str(source.resolve()), arcname=name)
            member.type, member.uid, member.gid = tarfile.REGTYPE, 0, 0
            member.linkname = ""
            member.size = source.resolve().stat().st_size
            with source.resolve().open("rb") as content:
                tar.addfile(member, content)
        for name, pointed in sorted(image.links.items()):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, pointed
            tar.addfile(member)
        directory = tarfile.TarInfo("tmp")
        directory.type, directory.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(directory)
    with layer.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": [f"PATH={PATH}"], "Entrypoint": list(image.entrypoint)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = [{"Config": name, "RepoTags": list(image.names), "Layers": [f"{digest}.tar"]}]
    with tarfile.open(target, "w") as tar:
        _add(tar, "manifest.json", json.dumps(manifest).encode())
        _add(tar, name, config)
        tar.add(layer, arcname=f"{digest}.tar")
    layer.unlink()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
