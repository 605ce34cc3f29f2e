"""The receiver: `sentinel run --cluster` runs it in the init container `source` and writes the packed directory to it.

Run as `python3 -I -m sentinel.source.receive`. It has no arguments: what is expected is in the container's own task. It
prints a line when it is ready and one when it has everything. Ends with 0, or with 1 and why on stderr.
"""

from __future__ import annotations

import os
import sys

from sentinel.errors import SentinelError
from sentinel.source.task import VARIABLE, Task
from sentinel.source.upload import NotReceived, receive


def main() -> int:
    """Entry point; the exit code."""
    try:
        task = Task.parse(os.environ.get(VARIABLE, ""))
        if not task.upload:
            raise NotReceived("this build's source is not sent to its pod")
        print("ready", flush=True)
        receive(task, sys.stdin.buffer)
        print("received", flush=True)
    except (NotReceived, OSError) as error:
        print(f"sentinel receive: {error}", file=sys.stderr, flush=True)
        return 1
    except SentinelError as error:
        print(f"sentinel receive: {error.message}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
