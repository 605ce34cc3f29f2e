"""Options of internal steps, so that a misspelt one is found (wercker.md "Internal steps").

An internal step takes these and no others. The options of the standard steps are in `standardsteps`: another registry's
step of that name may have more, so that only what is nearly one of them is worth a warning.
"""

from __future__ import annotations

_AWS = ("aws-access-key", "aws-secret-key", "aws-region", "aws-registry-id", "aws-strict-auth")
_AZURE = (
    "azure-client-id", "azure-client-secret", "azure-subscription-id", "azure-tenant-id",
    "azure-resource-group", "azure-registry-name", "azure-login-server",
)  # fmt: skip
_PUSH = (
    "repository", "registry", "username", "password", "email", "tag", "ports", "volumes", "working-dir",
    "user", "author", "message", "stopsignal", "cmd", "entrypoint", "env", "labels", "image-name",
    "disable-sync", "force-tags", *_AWS, *_AZURE,
)  # fmt: skip

INTERNAL: dict[str, tuple[str, ...]] = {
    "docker-push": _PUSH,
    "docker-scratch-push": _PUSH,
    "docker-build": (
        "image-name", "dockerfile", "context", "build-args", "labels", "no-cache", "q", "squash",
        "extra-hosts", "registry-auth-config", "target", "disable-sync",
    ),
    "docker-run": (
        "image", "cmd", "entrypoint", "env", "working-dir", "user", "ports", "username", "password",
        "registry",
    ),
    "docker-kill": (),
    "store-container": (),
    "publish-step": ("owner", "endpoint", "auth-token", "path", "private"),
    "watch": ("code", "reload"),
    "shell": ("cmd", "code"),
}  # fmt: skip
"""Name below `internal/` → its options, `name`, `cwd` and `checkpoint` aside."""

REQUIRED: dict[str, str] = {
    "docker-push": "repository",
    "docker-scratch-push": "repository",
    "docker-build": "image-name",
    "docker-run": "image",
    "publish-step": "owner",
}
"""The option without which such a step fails."""
