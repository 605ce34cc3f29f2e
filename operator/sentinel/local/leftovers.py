"""Which runs are alive, by a locked file each; and what runs that were killed have left in the Docker Engine.

A lock ends with its process, however that ends. Only runs of this user on this machine are judged: those of others at
the same engine have no file here.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from docker import errors

from sentinel.local.docker import Docker

LABEL = "com.wercker.sentinel.run"
"""On every container and volume of a run: its id. An image that `--commit` makes has it empty."""


@contextmanager
def alive(folder: Path, *, run: str, host: str) -> Iterator[Callable[[], None]]:
    """Hold the file of a run while the block runs. `host` is the engine's address.

    The block calls what it is given once nothing is left; else the next run removes what there is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / run
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(host)
        file.flush()
        yield lambda: path.unlink(missing_ok=True)


def dead_runs(folder: Path, *, host: str) -> list[str]:
    """The ids of runs at that engine whose process is gone."""
    found: list[str] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        with suppress(OSError), path.open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file.read() == host:
                found.append(path.name)
    return found


def sweep(docker: Docker, folder: Path, *, host: str) -> None:
    """Remove what killed runs have left. Blocking."""
    for run in dead_runs(folder, host=host):
        remove_run(docker, run)
        (folder / run).unlink(missing_ok=True)


def remove_run(docker: Docker, run: str) -> None:
    """Remove every container and volume of a run. Blocking; what is gone already is no error."""
    wanted = {"label": f"{LABEL}={run}"}
    containers = docker.api.containers(all=True, filters=wanted)
    # The box holds the network of the others: it goes last.
    for each in sorted(containers, key=lambda each: _is_box(each["Names"])):
        with _gone():
            docker.api.remove_container(each["Id"], force=True, v=True)
    for each in docker.api.volumes(filters=wanted)["Volumes"] or []:
        with _gone():
            docker.api.remove_volume(each["Name"], force=True)


@contextmanager
def _gone() -> Iterator[None]:
    """What is gone, or is being removed by another run at this moment, is no error."""
    try:
        yield
    except errors.APIError as error:
        if error.status_code not in (404, 409):
            raise


def _is_box(names: list[str]) -> bool:
    return any(name.endswith("-box") for name in names)


def home() -> Path:
    """Where runs are kept track of, and what is fetched once for all of them: in the user's cache directory."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sentinel-run"
