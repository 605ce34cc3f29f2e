"""What the lab needs of this machine: rights, packages, and settings it puts back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab.shell import LabError, run, stage
from tests.lab.state import ledger, note

PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "containerd": "containerd",
    "runc": "runc",
    "docker-registry": "docker-registry",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
    "git": "git",
    "ip": "iproute2",
    "mount": "mount",
    "tar": "tar",
    "openssl": "openssl",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "gcc": "gcc",  # Go's race detector
}
"""Program → Debian package that brings it."""

SETTINGS = (
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
    "fs.inotify.max_user_instances",
)
"""Kernel settings of the whole machine that a kubelet, or we, change for the cluster."""

WATCHERS = ("fs.inotify.max_user_instances", 1024)
"""Everything in the cluster is root: systemd, kubelet and every followed log share this number."""

FIXED = (
    Path("/run/docker/plugins"),
    Path("/run/docker"),
    Path("/run/containerd/s"),
    Path("/run/containerd"),
)
"""Directories that Docker Engine and containerd make whatever their settings are, inmost first."""

POLICY = Path("/usr/sbin/policy-rc.d")


def check() -> None:
    """Raise LabError with one line that says what keeps the lab from running here."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it mounts, makes control groups and runs Docker Engine")
    if not Path("/sys/fs/cgroup").is_dir():
        raise LabError("no control groups at /sys/fs/cgroup")
    if Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() != "0":
        # Somebody's choice, and not ours to change: but then our nodes could reach out.
        note(forwarding=True)


def install() -> None:
    """Install the Debian packages that are missing, without starting their services."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = {
        package for program, package in PACKAGES.items() if not shutil.which(program, path=path)
    }
    if not Path("/usr/lib/git-core/git-http-backend").exists():
        missing.add("git")
    if not _is_static(Path("/bin/busybox")):
        missing.add("busybox-static")
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise LabError(f"missing and not installable without apt-get: {' '.join(sorted(missing))}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with stage(f"install {' '.join(sorted(missing))}"), _no_services():
        run("apt-get", "update", "-q", env=quiet)
        run("apt-get", "install", "-qy", "--no-install-recommends", *sorted(missing), env=quiet)


def _is_static(program: Path) -> bool:
    """Whether a program needs no libraries, so that it runs alone in an image."""
    return program.exists() and b"ld-linux" not in program.read_bytes()[:4096]


@contextmanager
def _no_services() -> Iterator[None]:
    """Keep packages from starting the services they bring, where nothing keeps them yet."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink()


def remember() -> None:
    """Write down what of the machine the lab will change, once per lab, and raise the limits."""
    if "settings" not in ledger():
        note(
            settings={name: _setting(name).read_text().strip() for name in SETTINGS},
            absent=[str(path) for path in FIXED if not path.exists()],
        )
    name, least = WATCHERS
    if int(_setting(name).read_text()) < least:
        _setting(name).write_text(str(least))


def restore() -> None:
    """Put the kernel settings back and remove what is empty and was not there."""
    settings, absent = ledger().get("settings", {}), ledger().get("absent", [])
    assert isinstance(settings, dict)
    assert isinstance(absent, list)
    for path in absent:
        with suppress(OSError):
            Path(path).rmdir()
    for name, value in settings.items():
        if _setting(name).read_text().strip() != value:
            _setting(name).write_text(value)


def _setting(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")
