"""wercker.yml: bytes in, a Config or diagnostics out. Pure.

`load.py` is the door. What a file means follows upstream (`docs/design/`, wercker.md); what is
wrong with it is reported with line, column and a hint, all at once.
"""

from __future__ import annotations
