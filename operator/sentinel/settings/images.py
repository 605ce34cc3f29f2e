"""Settings of images: which builds may use, what runs instead of them, and where the builds' own go."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, Field, field_validator

# Without a dot or a port it would be a part of a path.
_HOST = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9.-]+:[0-9]{1,5})"
_PLACE = re.compile(rf"{_HOST}(?:/[a-z0-9._-]+)*")


class Rewrite(BaseModel):
    """One rule of `images.rewrite`."""

    pattern: Annotated[
        str,
        Field(
            min_length=1,
            description="The name, or name:version, that wercker.yml has; * matches any text. A classic box "
            "owner/name@version is owner/name:version here.",
        ),
    ]
    image: Annotated[
        str, Field(min_length=1, description="What runs instead; {version} is replaced.")
    ]
    env: Annotated[
        dict[str, str], Field(description="Variables that the old one set, for its container.")
    ] = {}


class ImageSettings(BaseModel):
    """Which images builds may use, and where theirs go."""

    prefix: Annotated[
        str,
        Field(
            description="registry/path under which images of builds without image.repository are pushed: "
            "<prefix>/<namespace>/<application>. Empty: such builds are not committed."
        ),
    ] = ""
    rewrite: Annotated[
        list[Rewrite],
        Field(
            max_length=256,
            description="Images that run instead of boxes and services of wercker.yml; the first pattern that matches "
            "counts.",
        ),
    ] = []
    rewrite_defaults: Annotated[
        bool,
        Field(
            description="After these, replace wercker's classic boxes and services and some images that are gone, such "
            "as centos without a tag."
        ),
    ] = True
    allowed_registries: Annotated[
        list[str], Field(description="Registries of boxes and services; empty: all.")
    ] = []
    allowed_repositories: Annotated[
        list[str],
        Field(
            description="Patterns of repositories that builds may push to besides <prefix>/<namespace>/*; {namespace} "
            "is replaced, * matches slashes too. Empty: no other repository of the prefix's registry, and any of "
            "another registry for which the Build names a Secret with a login."
        ),
    ] = []
    insecure_registries: Annotated[
        list[str], Field(description="host:port of registries that speak plain http.")
    ] = []
    default_registry: Annotated[
        str, Field(description="Where an image without a host lives. Default: Docker Hub.")
    ] = "docker.io"
    mirrors: Annotated[
        dict[str, str],
        Field(
            max_length=64,
            description="Registry -> host or host/path of a mirror, where its images are looked up and pulled instead, "
            "e.g. docker.io -> mirror.example.com/hub. Pushes, and images that a Build has a login for, go to the "
            "registry itself.",
        ),
    ] = {}
    latest: Annotated[
        str, Field(pattern="^(green|every)$", description="Which builds move `latest`.")
    ] = "green"
    local: Annotated[
        bool,
        Field(
            description="For development with images loaded onto the nodes: no registry is asked, nothing is "
            "committed, services have the ports that wercker.yml names."
        ),
    ] = False

    @field_validator("mirrors")
    @classmethod
    def _check_mirrors(cls, mirrors: dict[str, str]) -> dict[str, str]:
        for registry, mirror in mirrors.items():
            if not re.fullmatch(_HOST, registry) or not _PLACE.fullmatch(mirror):
                raise ValueError(
                    f"images.mirrors: {registry} -> {mirror} is not registry -> host or host/path, e.g. docker.io -> "
                    "mirror.example.com/hub, without https://"
                )
        return mirrors
