"""gzip by parts: any unpacker reads it, incompressible parts are stored, and the same content gives the same bytes."""

from __future__ import annotations

import gzip
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.agent.layer import packed_at_most
from sentinel.agent.packer import Gzip

PART = 1 << 20
TEXT = b"The quick brown fox jumps over the lazy dog. " * 40_000
NOISE = random.Random(1).randbytes(PART)


def packed(*parts: bytes) -> bytes:
    packer = Gzip()
    return b"".join([*map(packer.pack, parts), packer.finish()])


@given(st.lists(st.binary(max_size=300) | st.sampled_from([TEXT[:PART], NOISE, NOISE[:40_000]])))
def test_what_is_unpacked_is_what_was_packed(parts: list[bytes]) -> None:
    assert gzip.decompress(packed(*parts)) == b"".join(parts)


@pytest.mark.parametrize("parts", [(), (b"",), (TEXT, NOISE, b"end"), (NOISE, TEXT)])
def test_gunzip_reads_one_member(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    file = tmp_path / "layer.gz"
    file.write_bytes(packed(*parts))
    done = subprocess.run(["gzip", "-dc", file], check=True, capture_output=True)
    assert (done.stdout, done.stderr) == (b"".join(parts), b"")
    listed = subprocess.run(["gzip", "-l", file], check=True, capture_output=True, text=True)
    assert int(listed.stdout.split()[5]) == sum(map(len, parts)), "one member, its size at its end"


def test_noise_is_stored_within_the_bound_and_text_is_packed() -> None:
    stored = packed(*[NOISE] * 8)
    assert len(NOISE) * 8 < len(stored) <= packed_at_most(len(NOISE) * 8)
    assert len(packed(TEXT)) < len(TEXT) / 50


def test_text_behind_noise_is_packed_too() -> None:
    """The sample is from all over the part."""
    mixed = NOISE[: PART // 4] + TEXT[: PART * 3 // 4]
    assert len(packed(mixed)) < PART * 0.3


def test_the_same_content_gives_the_same_bytes() -> None:
    assert packed(TEXT, NOISE) == packed(TEXT, NOISE)
