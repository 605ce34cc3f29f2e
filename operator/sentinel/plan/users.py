"""`user` of a box or service: an addition of ours, which wercker's users asked for (wercker.md).

The kubelet takes numbers only, and what name has which number stands inside the image, which is not read before it
runs. So a name is taken only where it says what is so anyway.
"""

from __future__ import annotations

import re
from typing import Any

from sentinel.api.build import PodContainer
from sentinel.api.reasons import Reason
from sentinel.config.model import Box
from sentinel.errors import UserError
from sentinel.plan.model import ImageFacts

_NUMBERS = re.compile(r"[0-9]{1,9}(:[0-9]{1,9})?")


def run_as(box: Box, image: ImageFacts) -> str:
    """`uid` or `uid:gid`; empty where the image's own user stays. Raises UserError ConfigInvalid for another name."""
    if box.user in ("", image.user):
        return ""
    if box.user == "root":
        return "0"
    if _NUMBERS.fullmatch(box.user):
        return box.user
    raise UserError(
        f"user {box.user!r} of {box.id} on line {box.line} of wercker.yml is a name, and what number it has is known "
        f"inside the image only: write the number (`id -u {box.user}` in the image tells it), or uid:gid",
        reason=Reason.CONFIG_INVALID,
    )


def is_root(user: str) -> bool:
    """Whether an image's or container's user is root, so that it may make /pipeline and write /etc/hosts."""
    return user.partition(":")[0] in ("", "0", "root")


def is_read_only(said: PodContainer) -> bool:
    """Whether the box's own files are read-only, so that even root needs volumes to write to."""
    return bool(said.security_context.get("readOnlyRootFilesystem"))


def security_context(user: str, image: ImageFacts) -> dict[str, Any]:
    """`user` as `run_as` gives it, in the words of a container's securityContext.

    The kubelet takes the user of an image's USER 1000:1000 and forgets the group, which Docker did not.
    """
    both = image.user if ":" in image.user and _NUMBERS.fullmatch(image.user) else ""
    if not user and not both:
        return {}
    uid, _, gid = (user or both).partition(":")
    return {"runAsUser": int(uid), **({"runAsGroup": int(gid)} if gid else {})}
