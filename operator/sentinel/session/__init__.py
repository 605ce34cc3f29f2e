"""Talking to boxkit: the runner that is PID 1 of the box.

`frames`, `messages` and `journal` are sans-I/O: bytes or records in, values out. `client` keeps a session alive over
byte streams that it gets passed in, and knows nothing of pods or exec. The protocol is described in
`operator/boxkit/README.md`; the journal that boxkit keeps decides, and what is held here is a cache of it.
"""

from __future__ import annotations
