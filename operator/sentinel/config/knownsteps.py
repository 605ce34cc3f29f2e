"""Options of steps that we know, so that a misspelt one is told (`wercker-semantics.md` §2.7, §10.1).

An internal step takes these and no others. Of a registry step they are what its published releases take; another one
may have more, so that only what is nearly one of them is worth a word.
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
        "extra-hosts", "registry-auth-config", "disable-sync",
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

REGISTRY: dict[str, tuple[str, ...]] = {
    "add-ssh-key": ("keyname", "host"),
    "add-to-known_hosts": ("hostname", "fingerprint", "port", "type", "local"),
    "bundle-install": ("path", "without", "binstubs", "clean", "jobs", "retry"),
    "create-file": ("filename", "content", "overwrite", "hide-from-log"),
    "heroku-deploy": ("key-name", "key", "user", "app-name", "install-toolbelt", "run", "retry", "source-dir"),
    "hipchat-notify": ("token", "room-id", "from-name", "passed-message", "failed-message", "passed-color"),
    "hugo-build": ("version", "theme", "config", "flags", "basedir", "prod_branches", "force_install"),
    "install-packages": ("packages",),
    "mktemp": ("envvar", "type", "template"),
    "npm-install": ("options",),
    "pip-install": ("requirements_file", "packages_list", "pip_command", "extra_args", "wheel_dir"),
    "pretty-slack-notify": (
        "webhook_url", "channel", "username", "branches", "notify_on", "passed_message", "failed_message",
    ),
    "rvm-use": ("version",),
    "s3sync": ("key-id", "key-secret", "bucket-url", "source-dir", "delete-removed", "opts"),
    "setup-go-workspace": ("package-dir",),
    "slack-notifier": ("url", "channel", "username", "icon_url", "icon_emoji", "notify_on", "branch"),
}  # fmt: skip
"""Name of a step, whoever owns it → options."""
