"""What the operator keeps of earlier answers, so that the next Build costs less: step archives, and facts.

Facts are kept per namespace: whatever a child of one namespace's Build said is never said to another's. Archives are
named by their digest, so it does not matter who brought them. All of it is bounded, and gone with the process.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from pathlib import Path

from sentinel.plan.model import ImageFacts, StepFacts
from sentinel.resolver.messages import KnownStep

MOST_BYTES = 16 * 1024 * 1024
"""Characters in all facts of images together, and in all of steps."""
VERSIONS = 8
"""Versions of one step that a request tells the resolver of."""


class Shelf:
    """Archives of steps below `directory`, at most `limit` bytes, each at most `largest`; the longest unused go."""

    def __init__(self, directory: Path, *, limit: int, largest: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.largest = largest
        self._limit = limit
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def put(self, path: str, digest: str, size: int) -> None:
        """Keep the file at `path`, whose sha256 was checked, under its digest as well."""
        home = self.directory / digest
        home.unlink(missing_ok=True)
        home.hardlink_to(path)
        self._sizes[digest] = size
        self._sizes.move_to_end(digest)
        while sum(self._sizes.values()) > self._limit and len(self._sizes) > 1:
            oldest, _ = self._sizes.popitem(last=False)
            (self.directory / oldest).unlink(missing_ok=True)

    def has(self, digest: str) -> bool:
        """Whether the archive is there; it stays for as long as many others are not put after it."""
        if digest not in self._sizes:
            return False
        self._sizes.move_to_end(digest)
        return True

    async def archive(self, digest: str) -> Path | None:
        """The archive's file, its bytes checked; None where it is not there any more, or spoiled."""
        if not self.has(digest):
            return None
        path = self.directory / digest
        if await asyncio.to_thread(_sha256, path) != digest:
            self._sizes.pop(digest, None)
            return None
        return path


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


class Known:
    """Facts of images and steps, by namespace and by all that decides what they are."""

    def __init__(self, *, limit: int = MOST_BYTES) -> None:
        self._limit = limit
        self._images: OrderedDict[tuple[str, str, str], ImageFacts] = OrderedDict()
        self._steps: OrderedDict[tuple[str, str, str], dict[KnownStep, StepFacts]] = OrderedDict()
        self._image_size = self._step_size = 0

    def image(self, namespace: str, name: str, login: str) -> ImageFacts | None:
        """What a namespace's image `name` was when it was last looked up with `login` (a digest of it)."""
        found = self._images.get((namespace, name, login))
        if found is not None:
            self._images.move_to_end((namespace, name, login))
        return found

    def keep_image(self, namespace: str, name: str, login: str, facts: ImageFacts) -> None:
        """Note what an image is now."""
        key = namespace, name, login
        old = self._images.pop(key, None)
        self._image_size += _size(facts) - (_size(old) if old else 0)
        self._images[key] = facts
        while self._image_size > self._limit:
            _, gone = self._images.popitem(last=False)
            self._image_size -= _size(gone)

    def steps(self, namespace: str, owner: str, name: str) -> dict[KnownStep, StepFacts]:
        """Versions of a step that were found for a namespace, the newest at the end."""
        found = self._steps.get((namespace, owner, name))
        if found is None:
            return {}
        self._steps.move_to_end((namespace, owner, name))
        return dict(found)

    def keep_step(self, namespace: str, step: KnownStep, facts: StepFacts) -> None:
        """Note what a version of a step is."""
        key = namespace, step.owner, step.name
        versions = self._steps.pop(key, {})
        self._step_size -= sum(map(_step_size, versions.values()))
        same = (step.registry, step.version)
        versions = {k: v for k, v in versions.items() if (k.registry, k.version) != same}
        versions[step] = facts
        for old in list(versions)[:-VERSIONS]:
            del versions[old]
        self._steps[key] = versions
        self._step_size += sum(map(_step_size, versions.values()))
        while self._step_size > self._limit and len(self._steps) > 1:
            _, gone = self._steps.popitem(last=False)
            self._step_size -= sum(map(_step_size, gone.values()))


def _size(facts: ImageFacts) -> int:
    texts = [facts.name, facts.reference, facts.user, facts.working_dir]
    texts += [*facts.ports, *facts.volumes, *facts.entrypoint, *facts.cmd]
    texts += [text for pair in facts.env for text in pair]
    return sum(100 + len(text) for text in texts)


def _step_size(facts: StepFacts) -> int:
    texts = [*facts.required, *facts.warnings, *(text for pair in facts.defaults for text in pair)]
    return 500 + sum(100 + len(text) for text in texts)
