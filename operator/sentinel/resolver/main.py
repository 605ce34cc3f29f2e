"""The role `sentinel resolver`: import what children need, then serve.

Where the operator started it (`local.py`), standard input is its lifeline: it ends when that is closed.
"""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from sentinel.config.load import load, pipeline_of
from sentinel.resolver import wire
from sentinel.resolver.messages import Answer, GitWanted, SourceAnswer, SourceRequest
from sentinel.resolver.server import Server
from sentinel.resolver.work import Done, work
from sentinel.settings import ResolverSettings
from sentinel.trust import trusting


def serve(settings: ResolverSettings) -> None:
    """Serve on `settings.socket` until SIGTERM, or until standard input, where it is a pipe, is closed."""
    Path(settings.socket).parent.mkdir(parents=True, exist_ok=True)
    lifeline = 0 if stat.S_ISFIFO(os.fstat(0).st_mode) else -1
    _warm_up(settings)
    if threading.active_count() > 1:
        raise RuntimeError("a process that forks must not have threads")
    with wire.listen(settings.socket) as listener:
        Server(listener, settings=settings, lifeline=lifeline).run()


def _warm_up(settings: ResolverSettings) -> None:
    """Do some of what each child does, so that a child finds it done: certificates are read, code is specialised.

    What a child does not write to stays shared with the server; this saves it a fifth of its page faults. Nothing of
    asyncio: it would be inherited.
    """
    trusting()
    if settings.scratch:
        Path(settings.scratch).mkdir(parents=True, exist_ok=True)
    nowhere = GitWanted(url="file:///nonexistent/project.git", ref="")
    request = SourceRequest(git=nowhere, pipeline="build", allow_file=True)
    for _ in range(3):
        with tempfile.TemporaryDirectory(prefix="build-", dir=settings.scratch or None) as scratch:
            answer = work(
                SourceRequest.model_validate_json(request.model_dump_json()),
                Path(scratch),
                _no_loop,
            )
        answer.answer.model_dump_json()
        loaded = load(b"box: debian\nbuild:\n  steps:\n    - script:\n        code: echo\n")
        pipeline_of(loaded, "build")
        source = SourceAnswer(commit="0" * 40, config=loaded.config)
        Answer(source=source).model_dump_json()


def _no_loop(work: Coroutine[Any, Any, Done]) -> Done:
    raise AssertionError("a source is resolved without an event loop")
