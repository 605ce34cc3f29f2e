"""Tools that do nothing but note how they were called, for all that standard steps call."""

from __future__ import annotations

import shlex
from pathlib import Path

_GIT = """\
for last; do :; done
case "$1" in (add) /usr/bin/find . -path ./.git -prune -o -type f -print > "$call/tree" ;; esac
case "$1" in
(-c) case "$3" in (clone) /bin/mkdir -p "$last" ;; esac ;;
(init) case "$last" in (/*) /bin/mkdir -p "$last" ;; esac ;;
(diff) exit 1 ;;
esac
"""
"""A clone of an empty repository, in which everything is new."""

_KUBECTL = """\
[ -z "$KUBECONFIG" ] || /bin/cat "$KUBECONFIG" > "$call/kubeconfig"
"""

_KEYGEN = """\
echo "2048 $WERCKER_ADD_TO_KNOWN_HOSTS_FINGERPRINT example.com (RSA)"
"""
"""The host has the key that the file asks for."""

_RUBY = """\
case "$RUBY_VERSION" in
(1.9) printf 1.9.3 ;;
(*) printf %s.0 "${RUBY_VERSION:-2.3}" ;;
esac
"""

_TOOLS = {
    "apk": "",
    "apt-get": "",
    "aws": "",
    "bower": "",
    "bundle": "",
    "composer": "",
    "curl": "",
    "dep": "",
    "gem": "",
    "git": _GIT,
    "go": 'case "$1" in (version) echo "go version go1.10.8 linux/amd64" ;; esac\n',
    "golint": "",
    "goveralls": "",
    "gradle": "",
    "grunt": "",
    "heroku": "",
    "hugo": 'case "$1" in (version) echo "hugo v0.15.0" ;; (*) /bin/mkdir -p public ;; esac\n',
    "kubectl": _KUBECTL,
    "mvn": "",
    "node": 'case "$1" in (--version) echo v10.24.1 ;; esac\n',
    "nodebrew": "",
    "npm": "",
    "phantomjs": "",
    "pip": "",
    "python": "",
    "python3": "",
    "rsync": "",
    "ruby": _RUBY,
    "shellcheck": "",
    "ssh": "",
    "ssh-keygen": _KEYGEN,
    "ssh-keyscan": 'for host; do :; done\necho "$host ssh-rsa AAAA"\n',
    "terraform": "",
    "virtualenv": 'for last; do :; done\n/bin/mkdir -p "$last/bin" && echo : > "$last/bin/activate"\n',
    "wget": "",
    "yarn": "",
}


def make_tools(folder: Path) -> None:
    """All of them in `folder`. A call goes to a directory of its own below $CORPUS_CALLS."""
    folder.mkdir(parents=True)
    for name, code in _TOOLS.items():
        path = folder / name
        path.write_text(
            "#!/bin/sh\n"
            'at=$(/bin/ls "$CORPUS_CALLS" | /usr/bin/wc -l)\n'
            'until call="$CORPUS_CALLS/$(printf %04d "$at")" && /bin/mkdir "$call" 2>/dev/null; do\n'
            "    at=$((at + 1))\ndone\n"
            f'printf "%s\\0" {shlex.quote(name)} "$@" > "$call/argv"\n'
            'printf %s "$WERCKER_STEP_ID" > "$call/step"\n'
            '/usr/bin/env -0 > "$call/env"\n'
            f"{code}"
        )
        path.chmod(0o755)
