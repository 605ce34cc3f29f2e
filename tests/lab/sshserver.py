"""Debian's own sshd in front of the lab's repositories: keys only, and git's programs only.

It runs in a mount namespace of its own, in which the machine has a user `git` and a directory /run/sshd: nothing of
either is left on the machine itself, and no setting of the machine's own sshd counts.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab.shell import LabError, run

SSHD = Path("/usr/sbin/sshd")
USER = "git"
SHORT_PORT = 22
"""The port of git@host:path, which can name none."""
_ID = 65533
_CONFIG = """\
{listen}
HostKey {root}/host_key
PidFile none
AuthorizedKeysFile {root}/authorized_keys
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UsePAM no
AllowUsers {user}
DisableForwarding yes
AcceptEnv GIT_PROTOCOL
PermitTTY no
PermitUserRC no
MaxStartups 200
ForceCommand {root}/serve
LogLevel VERBOSE
"""
# Paths are the server's own, as on the well-known hosts: /public/x.git or, in the short form, public/x.git.
_SERVE = """\
#!/bin/sh
export GIT_CONFIG_COUNT=3
export GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
export GIT_CONFIG_KEY_1=uploadpack.allowFilter GIT_CONFIG_VALUE_1=true
export GIT_CONFIG_KEY_2=uploadpack.allowAnySHA1InWant GIT_CONFIG_VALUE_2=true
cd '{repositories}' || exit 1
case "$SSH_ORIGINAL_COMMAND" in
    "git-upload-pack '/"*) SSH_ORIGINAL_COMMAND="git-upload-pack '.${{SSH_ORIGINAL_COMMAND#*\\'}}" ;;
    "git-upload-pack '"*) ;;
    *) echo 'only fetching is allowed' >&2; exit 1 ;;
esac
exec git-shell -c "$SSH_ORIGINAL_COMMAND"
"""
_NAMESPACE = """\
set -e
mount --make-rprivate /
mount --bind '{root}/passwd' /etc/passwd
mount --bind '{root}/group' /etc/group
mount --bind '{root}/shadow' /etc/shadow
mount -t tmpfs tmpfs /run
mkdir -m 755 /run/sshd
exec {sshd} -D -e -f '{root}/sshd_config'
"""


@dataclass(frozen=True, kw_only=True)
class SshServer:
    """Files of one server below `root`."""

    root: Path

    @property
    def client_key(self) -> Path:
        """The private key that is let in."""
        return self.root / "client_key"

    @property
    def strange_key(self) -> Path:
        """A private key that is not."""
        return self.root / "strange_key"

    def known_host(self, name: str, port: int) -> str:
        """The line of known_hosts by which `name` is known at `port`."""
        return self._line(name, port, "host_key.pub")

    def strange_host(self, name: str, port: int) -> str:
        """The same line with a key that is another server's."""
        return self._line(name, port, "strange_key.pub")

    def _line(self, name: str, port: int, file: str) -> str:
        kind, key = (self.root / file).read_text().split()[:2]
        return f"{name if port == SHORT_PORT else f'[{name}]:{port}'} {kind} {key}\n"

    def prepare(self, *, address: str, port: int, repositories: Path) -> list[str]:
        """Write what sshd needs; the command that runs it. Port 22 is served as well where nobody has it."""
        self.root.mkdir(parents=True, exist_ok=True)
        for name in ("host_key", "client_key", "strange_key"):
            if not (self.root / name).exists():
                run(
                    *("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab"),
                    *("-f", self.root / name),
                )
        ports = [port, SHORT_PORT] if free(address, SHORT_PORT) else [port]
        listen = "\n".join(f"ListenAddress {address}:{each}" for each in ports)
        config = _CONFIG.format(listen=listen, root=self.root, user=USER)
        (self.root / "sshd_config").write_text(config)
        (self.root / "authorized_keys").write_text(
            f"restrict {(self.root / 'client_key.pub').read_text()}"
        )
        serve = self.root / "serve"
        serve.write_text(_SERVE.format(repositories=repositories))
        serve.chmod(0o755)
        self._accounts()
        if not SSHD.exists():
            raise LabError(f"{SSHD} is missing (Debian's openssh-server brings it)")
        script = _NAMESPACE.format(root=self.root, sshd=SSHD)
        return ["unshare", "--mount", "sh", "-c", script]

    def _accounts(self) -> None:
        """The machine's accounts, one more for git, and sshd's own for what it does without rights."""
        for name, line in (
            ("passwd", f"{USER}:x:{_ID}:{_ID}:git:/:/bin/sh\n"),
            ("group", f"{USER}:x:{_ID}:\n"),
            ("shadow", f"{USER}:*:19000:0:99999:7:::\n"),
        ):
            kept = [
                each
                for each in Path(f"/etc/{name}").read_text().splitlines(keepends=True)
                if not each.startswith((f"{USER}:", "sshd:"))
            ]
            if name == "passwd":
                kept.append("sshd:x:65532:65534::/run/sshd:/usr/sbin/nologin\n")
            (self.root / name).write_text("".join([*kept, line]))
            (self.root / name).chmod(0o640 if name == "shadow" else 0o644)

    def serves_short(self) -> bool:
        """Whether it was given port 22, so that git@host:path reaches it."""
        with suppress(FileNotFoundError):
            return f":{SHORT_PORT}\n" in (self.root / "sshd_config").read_text()
        return False


def free(address: str, port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
