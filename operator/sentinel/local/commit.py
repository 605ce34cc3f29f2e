"""`--commit`: the box as a local image, with the config of the image that it was started from."""

from __future__ import annotations

import json

from sentinel.image.reference import parse_reference
from sentinel.local.docker import Docker
from sentinel.local.leftovers import LABEL


def commit_box(docker: Docker, box: str, name: str) -> str:
    """Commit the container `box`, which is paused meanwhile, as `name`; the name with its tag. Blocking.

    What runs when the image is run is what its base ran, and not boxkit. Secrets are in the session's memory, and
    volumes are never committed. Raises docker's APIError.
    """
    reference = parse_reference(name)
    container = docker.api.inspect_container(box)
    config = docker.api.inspect_image(container["Image"])["Config"] or {}
    entrypoint, command = config.get("Entrypoint"), config.get("Cmd")
    changes = [f'LABEL {LABEL}=""']
    if entrypoint:
        changes.append(f"ENTRYPOINT {json.dumps(entrypoint)}")
    # An empty one would leave boxkit's: Docker fills it from the container.
    changes.append(f"CMD {json.dumps(command or ([] if entrypoint else ['/bin/sh']))}")
    if config.get("User"):
        changes.append(f"USER {config['User']}")
    tag = reference.tag or "latest"
    repository = name.removesuffix(f":{reference.tag}") if reference.tag else name
    docker.api.commit(box, repository=repository, tag=tag, changes=changes)
    return f"{repository}:{tag}"
