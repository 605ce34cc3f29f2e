"""Two GiB of output: what they cost the operator's memory, and how fast they go to the store.

The plain client is `curl` on this machine, which PUTs the same bytes from a file to a presigned URL of the same store,
in turn with the builds.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from sentinel.session.records import AnyRecord, Collected, Finished, Packed
from tests.bench.figures import at_least, at_most, say
from tests.bench.process import running
from tests.bench.world import World, is_finished
from tests.install import ROOT
from tests.lab.state import Lab
from tests.soak.ground import LITTLE

GOALS = {**at_most({"output.operator_growth_mib": 20.0}), **at_least({"output.ratio": 0.8})}
SIZE = 2 * 1024**3
WITHIN = 900.0
"""Seconds for one build."""
LOOK_EVERY = 0.1
"""Seconds between two looks at the operator's memory."""


async def measure(here: World, *, count: int) -> dict[str, Any]:
    """`output`: throughput of the box's PUT to that of the plain client (medians of `count`), and the most memory that
    the operator had more than before. `whole_ratio` has packing and hashing in the box's time as well."""
    url = here.project([f'head -c {SIZE} /dev/urandom >"$WERCKER_OUTPUT_DIR/big"'])
    # What was never done costs memory once.
    await (await here.build(here.project(['echo x >"$WERCKER_OUTPUT_DIR/x"']))).finished()
    store = _Store(here.lab)
    before = running(here.lab).rss_mib()
    highest = before
    puts, wholes, plains = [], [], []
    for _ in range(count):
        made = await here.build(url, pod=LITTLE)
        watching = asyncio.create_task(_highest(here.lab))
        records = await made.records(seconds=WITHIN)
        raw = await made.until(is_finished, seconds=WITHIN)
        watching.cancel()
        highest = max(highest, *await asyncio.gather(watching))
        if raw["status"]["phase"] != "Succeeded":
            raise RuntimeError(f"{made.name} ended as {raw['status']}")
        put, whole, digest = _times(records)
        key = f"{raw['status']['results']['prefix']}output.tar"
        plain = await asyncio.to_thread(store.put_again, key, digest)
        say(f"PUT {put:.1f} s, with packing {whole:.1f} s, plain client {plain:.1f} s")
        puts.append(put)
        wholes.append(whole)
        plains.append(plain)
    middle = statistics.median
    return {
        "output": {
            "count": count,
            "mib": SIZE // 1024**2,
            "put_s": round(middle(puts), 2),
            "packed_and_put_s": round(middle(wholes), 2),
            "plain_s": round(middle(plains), 2),
            "ratio": round(middle(plains) / middle(puts), 3),
            "whole_ratio": round(middle(plains) / middle(wholes), 3),
            "operator_mib": round(before, 1),
            "operator_growth_mib": round(highest - before, 1),
        }
    }


async def _highest(lab: Lab) -> float:
    """The most memory of the operator in MiB, until cancelled."""
    operator = running(lab)
    most = 0.0
    try:
        while True:
            most = max(most, operator.rss_mib())
            await asyncio.sleep(LOOK_EVERY)
    except asyncio.CancelledError:
        return most


def _times(records: list[AnyRecord]) -> tuple[float, float, str]:
    """Seconds from packed to stored, from the step's end to stored, and the archive's sha256."""
    ended = next(each for each in records if isinstance(each, Finished))
    packed = next(each for each in records if isinstance(each, Packed) and each.what == "output")
    stored = next(each for each in records if isinstance(each, Collected) and each.what == "output")
    end = stored.nanoseconds
    return (end - packed.nanoseconds) / 1e9, (end - ended.nanoseconds) / 1e9, stored.sha256


class _Store:
    """The lab's store, for a client that knows nothing of builds."""

    def __init__(self, lab: Lab) -> None:
        self._bucket = lab.s3_bucket
        self._client = boto3.client(
            "s3",
            endpoint_url=lab.s3_endpoint,
            aws_access_key_id=lab.s3_access_key,
            aws_secret_access_key=lab.s3_secret_key,
            region_name="us-east-1",
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                # Else a presigned URL has the checksum of nothing in it.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def put_again(self, key: str, digest: str) -> float:
        """Get an object, PUT the same bytes under another key, and delete both. Seconds of the PUT.

        Raises RuntimeError if the bytes are not those of `digest`, CalledProcessError if curl fails.
        """
        with tempfile.NamedTemporaryFile(dir=ROOT / "build") as file:
            self._client.download_fileobj(self._bucket, key, file)
            file.flush()
            with Path(file.name).open("rb") as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
            if found != digest:
                raise RuntimeError(f"{key} has the sha256 {found}, and the box sent {digest}")
            plain = f"soak/{digest}"
            target = {"Bucket": self._bucket, "Key": plain}
            url = self._client.generate_presigned_url("put_object", Params=target)
            began = time.monotonic()
            subprocess.run(["curl", "-sfo", os.devnull, "-T", file.name, url], check=True)
            seconds = time.monotonic() - began
        for each in (key, plain):
            self._client.delete_object(Bucket=self._bucket, Key=each)
        return seconds
