"""The fetcher's archives: the source where it is one, outputs of other builds, and the steps, which the operator put
beside it.

A step's archive is a file named by its digest, or a file `<digest>.url` says where the object store has it. Whatever is
unpacked are the very bytes that the Plan was made with. Standard library only, and imported where it is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from sentinel import network
from sentinel.api.reasons import Reason
from sentinel.errors import SentinelError
from sentinel.source.address import without_query
from sentinel.source.download import download
from sentinel.source.failure import Deadline, failed
from sentinel.source.gitcommand import write_ca_file
from sentinel.source.http import WebLogin
from sentinel.source.task import Output, Task, read_secret
from sentinel.source.unpack import ArchiveLimits, Refused, unpack

_ANYWHERE = network.Policy.make(allowed=["0.0.0.0/0", "::/0"])
OUTPUT_ENTRIES = 300_000
"""Files, links and directories of one output: it may be a whole node_modules."""
STEP_LIMITS = ArchiveLimits(bytes=1024 * 1024 * 1024, entries=100_000)
"""A last net: the operator has looked through every step, with limits of its own."""


def unpack_source(task: Task, deadline: Deadline) -> None:
    """Have in the empty directory `task.dest` what the archive holds that has exactly `task.sha256`. SentinelError."""
    dest = Path(task.dest)
    archive = dest.with_name(f"{dest.name}.archive")
    ca_file = ""
    try:
        try:
            ca_file = write_ca_file(
                str(dest.parent), task.ca, read_secret(task.secret_dir, "ca.crt")
            )
        except ValueError as error:
            raise failed(
                Reason.SOURCE_AUTH_FAILED, f"`ca.crt` of the Secret holds {error}"
            ) from error
        download(
            task.url,
            str(archive),
            login=WebLogin(
                **{
                    name: read_secret(task.secret_dir, name)
                    for name in ("username", "password", "token")
                }
            ),
            ca_file=ca_file,
            sha256=task.sha256,
            deadline=deadline,
            allow_file=task.allow_file,
            policy=network.Policy.from_json(task.network),
        )
        unpack(str(archive), task.dest, limits=ArchiveLimits(), readable=True)
    except Refused as error:
        where = without_query(task.url)
        raise failed(Reason.SOURCE_INVALID, f"{where}: {error.message}") from None
    finally:
        archive.unlink(missing_ok=True)
        if ca_file:
            Path(ca_file).unlink()


def place_outputs(task: Task, deadline: Deadline) -> None:
    """Unpack the outputs of builds into `task.dest`, one below the other's room. Raises SentinelError.

    Together they take `task.max_bytes` at most. Each is the very archive that its build has stored, by size and sha256.
    """
    room = task.max_bytes
    for index, output in enumerate(task.outputs):
        archive = Path(f"{task.dest}.archive")
        try:
            _download_output(
                Path(task.outputs_dir, f"{index}.url"), archive, output, deadline, task.store_ca
            )
            unpacked = unpack(
                str(archive),
                str(Path(task.dest, output.directory)),
                limits=ArchiveLimits(bytes=room, entries=OUTPUT_ENTRIES),
                # boxkit packs a directory below its own name.
                strip="one",
                readable=True,
            )
            room -= unpacked.bytes
        except Refused as error:
            raise failed(
                Reason.SOURCE_INVALID,
                f"the output of Build {output.build} cannot be a source: {error.message}",
            ) from None
        finally:
            archive.unlink(missing_ok=True)


def _download_output(
    address: Path, path: Path, output: Output, deadline: Deadline, ca: str
) -> None:
    try:
        url = address.read_text("utf-8").strip()
    except FileNotFoundError:
        raise failed(
            Reason.INTERNAL,
            f"the address of Build {output.build}'s output did not come with the pod",
        ) from None
    ca_file = write_ca_file(str(path.parent), ca) if ca else ""
    try:
        download(
            url,
            str(path),
            login=WebLogin(),
            sha256=output.sha256,
            limit=output.size,
            deadline=deadline,
            ca_file=ca_file,
            policy=_ANYWHERE,
        )
    except SentinelError as error:
        raise failed(
            Reason.SOURCE_UNAVAILABLE,
            f"the object store did not give the output of Build {output.build}: {error.message}",
        ) from None
    finally:
        if ca_file:
            Path(ca_file).unlink()


def place_steps(
    steps: Sequence[tuple[str, str]],
    *,
    archives: str,
    dest: str,
    deadline: Deadline,
    ca: str = "",
) -> None:
    """Unpack the archive of each (step id, digest) into `dest`/<step id>; `archives` has the files. SentinelError.

    `ca`: authorities (PEM) that the object store's certificate is checked against, besides the system's.
    """
    for step, digest in steps:
        path = Path(archives, digest)
        local = None if path.exists() else Path(dest, f"{step}.archive")
        try:
            if local:
                _download_step(Path(archives, f"{digest}.url"), local, step, deadline, ca)
            _verify(local or path, digest, step)
            unpack(
                str(local or path),
                f"{dest}/{step}",
                limits=STEP_LIMITS,
                strip="none",
                readable=True,
            )
        except Refused as error:
            raise failed(Reason.STEP_INVALID, f"step {step}: {error.message}") from None
        finally:
            if local:
                local.unlink(missing_ok=True)


def _download_step(address: Path, path: Path, step: str, deadline: Deadline, ca: str) -> None:
    try:
        url = address.read_text("utf-8").strip()
    except FileNotFoundError:
        raise failed(
            Reason.INTERNAL, f"the archive of step {step} did not come with the pod"
        ) from None
    ca_file = write_ca_file(str(path.parent), ca) if ca else ""
    try:
        # The operator's own store, which may be a Service of the cluster.
        download(
            url,
            str(path),
            login=WebLogin(),
            deadline=deadline,
            ca_file=ca_file,
            policy=_ANYWHERE,
        )
    except SentinelError as error:
        # The address is ours: whatever is wrong with it is not the user's.
        raise failed(
            Reason.SOURCE_UNAVAILABLE,
            f"the object store did not give the archive of step {step}: {error.message}",
        ) from None
    finally:
        if ca_file:
            Path(ca_file).unlink()


def _verify(path: Path, digest: str, step: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise failed(
            Reason.INTERNAL, f"the archive of step {step} has sha256 {found}, expected is {digest}"
        )
