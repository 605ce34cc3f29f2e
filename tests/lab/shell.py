"""Running other programs, and telling the person who waits for them what is going on.

Not a task runner: a command that fails raises :class:`LabError` with its last words, a stage
prints one line when it begins to take time and one when it is done.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

LAST_WORDS = 2000
"""How many characters of a failed command's output an error quotes."""


class LabError(Exception):
    """The lab cannot go on; the message is one line that says what is missing or wrong."""


def say(message: str) -> None:
    """Print one line of progress. Standard output is left to what was asked for."""
    print(f"lab: {message}", file=sys.stderr, flush=True)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Announce a stage, and print how many seconds it took when it ends."""
    say(f"{name} …")
    begin = time.monotonic()
    yield
    say(f"{name}: {time.monotonic() - begin:.1f} s")


def run(
    *argv: str | Path,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> str:
    """Run a command to its end and return its standard output as text.

    `env` is added to our own environment. Raises LabError with the command and the end of
    what it said when it exits non-zero, unless `check` is false.
    """
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        done = subprocess.run(
            [str(part) for part in argv],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            capture_output=True,
            check=False,
            timeout=timeout,
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed") from error
    output = done.stdout.decode(errors="replace")
    if check and done.returncode:
        said = (output + done.stderr.decode(errors="replace")).strip()[-LAST_WORDS:]
        raise LabError(f"{_short(argv)} exited {done.returncode}: {said}")
    return output


def succeeds(*argv: str | Path, env: Mapping[str, str] | None = None) -> bool:
    """Whether a command runs and exits 0."""
    try:
        run(*argv, env=env)
    except LabError:
        return False
    return True


def _short(argv: Sequence[str | Path]) -> str:
    line = " ".join(str(part) for part in argv)
    return line if len(line) <= 160 else line[:157] + "…"


def wait_for(
    what: str, ready: Callable[[], bool], *, seconds: float, interval: float = 0.1
) -> None:
    """Call `ready` until it answers true. Raises LabError after `seconds`."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise LabError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(interval)
