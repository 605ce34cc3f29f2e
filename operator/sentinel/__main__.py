"""`python -m sentinel` is the same as `sentinel`."""

from __future__ import annotations

from sentinel.cli import main

main(prog_name="sentinel")
