"""The cache of a Build: what its spec says of it, and what its status says became of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sentinel.api.model import Model, Quantity


class Cache(Model):
    """What a passed build leaves in $WERCKER_CACHE_DIR, which the next one finds there."""

    enabled: Annotated[bool, Field(description="Restore the cache, and save it.")] = True
    key: Annotated[
        str,
        Field(
            max_length=256,
            description="Builds of a pipeline with another key have another cache, for a version of a tool or a "
            "platform. Any text.",
        ),
    ] = ""
    read_only: Annotated[
        bool | None,
        Field(
            description="Restore it and never save it. Default: true for a ref that is neither a branch nor a tag, "
            "like pull/1/head.",
        ),
    ] = None
    max_size: Annotated[
        Quantity,
        Field(
            description="Most that its files may have together, like 500Mi. A larger one is not saved, and the build "
            "passes. Default, and most: the operator's cache.maxMib.",
        ),
    ] = ""


class CacheStatus(Model):
    """What became of the build's cache."""

    restored: Annotated[
        Literal["", "Hit", "Miss", "Invalid", "Failed"],
        Field(
            description="Hit: it was there. Miss: there was none. Invalid: it could not be used. Failed: it was not "
            "fetched. All but a Hit start empty."
        ),
    ] = ""
    restored_bytes: Annotated[
        int, Field(description="Bytes of its files.", json_schema_extra={"format": "int64"})
    ] = 0
    saved: Annotated[
        Literal["", "Saved", "Unchanged", "Empty", "TooLarge", "Failed", "ReadOnly"],
        Field(
            description="Unchanged: it is what was restored, and nothing was sent. Empty, TooLarge, Failed, ReadOnly: "
            "the cache in the store stays as it was. Empty string: the build has not passed."
        ),
    ] = ""
    saved_bytes: Annotated[
        int, Field(description="Bytes of its files.", json_schema_extra={"format": "int64"})
    ] = 0
    message: Annotated[str, Field(max_length=1024, description="Why, where it went wrong.")] = ""
