"""What a build took of time, processor and memory, in its status."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sentinel.api.model import Model


class UsageStatus(Model):
    """What the build took."""

    queued_seconds: Annotated[
        int, Field(description="From its creation until work on it began.")
    ] = 0
    pending_seconds: Annotated[
        int, Field(description="From Accepted until the box of the last attempt answered.")
    ] = 0
    run_seconds: Annotated[int, Field(description="From then to the end.")] = 0
    cpu_seconds: Annotated[
        float, Field(description="Processor time of the box while steps of the last attempt ran.")
    ] = 0
    peak_memory_bytes: Annotated[
        int,
        Field(
            description="Most memory that the box had at once, page cache included.",
            json_schema_extra={"format": "int64"},
        ),
    ] = 0
