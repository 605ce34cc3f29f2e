"""Where a project comes from: the part of a Build's spec that other resources share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sentinel.api.model import LocalRef, Model


class GitSource(Model):
    """A git repository and what of it to build."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            description="Where to fetch from: https://, http://, ssh://, git:// or user@host:path.",
        ),
    ]
    ref: Annotated[
        str,
        Field(
            max_length=256,
            description="Branch, tag, full commit id, or a name below refs/ like pull/1/head. Default: the remote's "
            "HEAD.",
        ),
    ] = "HEAD"
    commit: Annotated[
        str,
        Field(
            max_length=64,
            pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})?$",
            description="Exactly this commit; `ref` is then only the branch, or refs/tags/ and the tag, that it is of.",
        ),
    ] = ""
    secret_ref: Annotated[
        LocalRef | None,
        Field(
            description="A Secret of type kubernetes.io/basic-auth or kubernetes.io/ssh-auth; or with the keys token, "
            "known_hosts, ca.crt."
        ),
    ] = None
    submodules: Annotated[bool, Field(description="Check out submodules too, at all levels.")] = (
        False
    )


class ArchiveSource(Model):
    """A project packed as one file. A single leading directory is dropped."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            description="Where to download from: https:// or http://. A tar, tar.gz, tar.zst or zip.",
        ),
    ]
    sha256: Annotated[
        str,
        Field(
            max_length=64,
            pattern=r"^([0-9a-f]{64})?$",
            description="Digest it must have, in lower-case hexadecimal. Default: the one found at the start.",
        ),
    ] = ""
    secret_ref: Annotated[
        LocalRef | None,
        Field(
            description="A Secret with username and password (kubernetes.io/basic-auth), or with a bearer token in "
            "token; authorities of its own in ca.crt."
        ),
    ] = None


MAX_UPLOAD = 512 * 1024 * 1024
"""Bytes of a packed directory."""


class UploadSource(Model):
    """A directory that `sentinel run --cluster` packs and streams into the build's pod. It is kept nowhere else."""

    sha256: Annotated[
        str,
        Field(
            min_length=64,
            max_length=64,
            pattern=r"^[0-9a-f]{64}$",
            description="Digest of the packed directory, in lower-case hexadecimal.",
        ),
    ]
    size: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_UPLOAD,
            description="Its size in bytes.",
            json_schema_extra={"format": "int64"},
        ),
    ]


class Source(Model):
    """Where the project comes from: exactly one of them."""

    git: Annotated[GitSource | None, Field(description="A git repository.")] = None
    archive: Annotated[ArchiveSource | None, Field(description="An archive to download.")] = None
    upload: Annotated[
        UploadSource | None,
        Field(
            description="A directory that is sent to the build's pod, as `sentinel run --cluster` does; needs `config`."
        ),
    ] = None


class Input(Model):
    """The output of one Build, as a directory of the source."""

    name: Annotated[
        str, Field(min_length=1, max_length=253, description="A Build of the same namespace.")
    ]
    directory: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z0-9_][A-Za-z0-9 ._-]*$",
            description="The directory below the source's root that its output becomes.",
        ),
    ]
