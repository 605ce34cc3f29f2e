"""`sentinel diff`: the files that steps of a build added, changed and removed, read from the layers of their images.

The images are in the Build's registry, which is asked with the user's own login: the cluster is asked only for the
digests. Layers that both images have are read once.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import click

from sentinel.cli.cluster import Found, build_argument, connect, read, run
from sentinel.config.findings import visible
from sentinel.errors import GoneError, UserError
from sentinel.image.dockerconfig import NO_CREDENTIALS, Keychain, keychain_from_docker_config
from sentinel.image.filetree import MOST_PATH, File, FileTree, differences
from sentinel.image.manifest import Descriptor
from sentinel.image.reference import Reference, parse_reference, parse_repository
from sentinel.registry import RegistryClient
from sentinel.source.packed import Refused, Stream, gunzip, plain, unzstd
from sentinel.source.tarreader import read_tar

MOST_BYTES = 64 * 1024**3
"""Of all layers that are read, unpacked."""
MOST_PACKED = 16 * 1024**3
"""Bytes of one layer, which is in a temporary file while it is read."""
MOST_LAYERS = 1024
"""Of both images; runtimes take a few hundred."""

_PACKED = {b"\x1f\x8b": gunzip, b"\x28\xb5\x2f\xfd": unzstd}
"""How a layer is unpacked, by its first bytes; others are not packed."""

LETTERS = {"added": "A", "changed": "M", "removed": "D"}


@click.command()
@build_argument
@click.argument("first", type=click.IntRange(min=0), metavar="N")
@click.argument("second", type=click.IntRange(min=1), metavar="M")
@click.option("--insecure", is_flag=True, help="Use HTTP instead of HTTPS for the registries.")
@click.option(
    "--docker-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with logins for the registries. Default: Docker's own, if there is one; logins that a credential "
    "helper keeps are not read.",
)
def diff(
    build: str,
    namespace: str,
    first: int,
    second: int,
    *,
    insecure: bool,
    docker_config: Path | None,
) -> None:
    """Print the files that steps N+1 to M of BUILD added (A), changed (M) and removed (D).

    BUILD has an image of each step, with spec.image.commit eachStep; `sentinel describe` shows their numbers. 0 for N
    stands for the box's own image.
    """
    before, after = run(_diff(build, namespace, (first, second), _logins(docker_config), insecure))
    for each in differences(before, after):
        click.echo(f"{LETTERS[each.kind]} {visible(each.path)}")


async def _diff(
    name: str, namespace: str, steps: tuple[int, int], logins: Keychain, insecure: bool
) -> tuple[FileTree, FileTree]:
    """The files of both images."""
    async with await connect() as kube:
        found = await read(kube, name, namespace)
    old, new = [_image(found, number) for number in steps]
    hosts = [old.registry, new.registry] if insecure else []
    async with RegistryClient(credentials=logins, insecure=hosts) as client:
        before, after = [(await client.get_image_manifest(each)).layers for each in (old, new)]
        trees, left = (FileTree(), FileTree()), MOST_BYTES
        layers = list(_layers(before, after, old, new))
        _check(layer for layer, *_ in layers)
        for layer, place, of in layers:
            with tempfile.TemporaryFile() as opened:
                file = cast(BinaryIO, opened)
                await _download(client, place, layer, file)
                left = await asyncio.to_thread(_lay, file, [trees[each] for each in of], left)
    return trees


def _image(found: Found, number: int) -> Reference:
    """The image of the box after a step, or its own for 0. Raises GoneError where there is none."""
    status = found.status
    if number == 0:
        if status.box is None or not status.box.digest:
            raise GoneError(f"Build {found.name} has no digest of its box's image in its status")
        return parse_reference(status.box.image).pinned(status.box.digest)
    step = status.steps[number - 1] if number <= len(status.steps) else None
    image = step.image if step is not None else None
    if step is None or image is None or not image.digest or status.image is None:
        why = f": {visible(image.message)}" if image is not None and image.message else ""
        raise GoneError(
            f"Build {found.name} has no image of step {number}{why}; `sentinel describe {found.address}` shows which "
            "it has. Set spec.image.commit to eachStep to get an image after every step"
        )
    return parse_repository(status.image.repository).pinned(image.digest)


def _layers(
    before: Sequence[Descriptor], after: Sequence[Descriptor], old: Reference, new: Reference
) -> Iterator[tuple[Descriptor, Reference, tuple[int, ...]]]:
    """Each layer to be read, where it is, and which of the two images it is of: first what they share."""
    shared = 0
    for one, other in zip(before, after, strict=False):
        if one.digest != other.digest:
            break
        shared += 1
    yield from ((layer, new, (0, 1)) for layer in after[:shared])
    yield from ((layer, old, (0,)) for layer in before[shared:])
    yield from ((layer, new, (1,)) for layer in after[shared:])


def _check(layers: Iterable[Descriptor]) -> None:
    """Raises UserError for more than an image has: the registry may be anybody's."""
    sizes = [layer.size for layer in layers]
    if len(sizes) > MOST_LAYERS:
        raise UserError(f"the images have more than {MOST_LAYERS} layers")
    if max(sizes, default=0) > MOST_PACKED:
        raise UserError(
            f"a layer of the images has {max(sizes)} bytes; more than {MOST_PACKED // 1024**3} GiB are not read"
        )


async def _download(
    client: RegistryClient, place: Reference, layer: Descriptor, file: BinaryIO
) -> None:
    hashed, size = hashlib.sha256(), 0
    async for part in client.stream_blob(place, layer.digest):
        size += len(part)
        if size > layer.size:
            break
        hashed.update(part)
        file.write(part)
    if f"sha256:{hashed.hexdigest()}" != layer.digest:
        raise UserError(f"the registry sent content that does not match {layer.digest}")
    file.seek(0)


def _lay(file: BinaryIO, trees: Sequence[FileTree], budget: int) -> int:
    """Put a layer's entries into the trees; how much of `budget`, in bytes, is left.

    Raises UserError for what is not a layer, and for more than `budget`.
    """
    magic = file.read(4)
    file.seek(0)
    unpacked = next((each for start, each in _PACKED.items() if magic.startswith(start)), plain)
    pieces = unpacked(file)
    for tree in trees:
        tree.begin()
    try:
        stream = Stream(pieces, budget=budget, compressed=unpacked is not plain)
        for entry in read_tar(stream, max_name=MOST_PATH):
            what = entry.target
            if entry.kind == "file":
                hashed = hashlib.sha256()
                for part in entry.data:
                    hashed.update(part)
                what = hashed.hexdigest()
            for tree in trees:
                tree.add(entry.name, File(entry.kind, entry.mode & 0o7777, what))
        return stream.left
    except Refused as error:
        raise UserError(f"a layer of the image cannot be read: {error.message}") from error
    except FileNotFoundError as error:
        raise UserError(
            "a layer of the image is packed with zstd, and there is no program `zstd`: install it"
        ) from error
    finally:
        pieces.close()


def _logins(path: Path | None) -> Keychain:
    if path is None:
        home = os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
        path = Path(home) / "config.json"
        if not path.is_file():
            return NO_CREDENTIALS
    try:
        return keychain_from_docker_config(path.read_bytes(), source=str(path))
    except OSError as error:
        raise UserError(f"the logins for registries cannot be read: {error}") from error
