"""The role `sentinel resolver`: import what children need, then serve.

Where the operator started it (`local.py`), standard input is its lifeline: it ends when that is closed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sentinel.resolver import wire
from sentinel.resolver.server import Server
from sentinel.settings import ResolverSettings
from sentinel.source.http import system_context


def serve(settings: ResolverSettings) -> None:
    """Serve on `settings.socket` until SIGTERM, or until standard input, where it is a pipe, is closed."""
    Path(settings.socket).parent.mkdir(parents=True, exist_ok=True)
    lifeline = 0 if stat.S_ISFIFO(os.fstat(0).st_mode) else -1
    system_context()
    with wire.listen(settings.socket) as listener:
        Server(listener, settings=settings, lifeline=lifeline).run()
