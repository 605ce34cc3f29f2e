"""What holds for every test: those on the cluster come first, because they wait most of the time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "sentinel",
    # A machine that runs other tests too is slow now and then; how fast the code is belongs in the benchmarks.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # The same examples in every run, so that a run fails for what was changed; `make fuzz` looks for others.
    derandomize="FUZZ_EXAMPLES" not in os.environ,
)
settings.load_profile("sentinel")

Once = Callable[[str, Callable[[], None]], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("cluster") is None)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Archives have the time in them: processes that collect the same tests must give them the same names."""
    return argname if isinstance(val, bytes) and (len(val) > 40 or not val.isascii()) else None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes of this machine wait for."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, work)` does `work` in the first process of this test run that asks.

    The others wait until it is done. Where it failed they fail too, instead of repeating it.
    """
    root = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        # Each worker has a directory of its own in one that they share.
        root = root.parent

    def do(name: str, work: Callable[[], None]) -> None:
        mark = root / f"{name}.done"
        with locked(root / f"{name}.lock"):
            if not mark.exists():
                failure = "interrupted"
                try:
                    work()
                    failure = ""
                except (Exception, SystemExit) as error:
                    failure = f"{type(error).__name__}: {error}"
                    raise
                finally:
                    mark.write_text(failure)
            elif failure := mark.read_text():
                pytest.fail(f"{name} failed in another process of this test run: {failure}")

    return do
