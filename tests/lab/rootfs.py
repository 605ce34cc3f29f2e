"""Debian root filesystems: one minimal base in the cache, and variants on top of it.

A variant is the base under an overlay with more packages, handed to the code that makes an image of
it. Mounts live in a mount namespace of a child process and end with it, whatever happens.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.lab.shell import LabError, run, stage
from tests.lab.state import CACHE

SUITE = "bookworm"
BASE_KEY = f"{SUITE}-1"
CLONE_NEWNS = 0x00020000

TRIM = """\
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/lintian/*
force-unsafe-io
"""
"""dpkg settings: what nobody reads in a container is not unpacked, and nothing is synced."""

LEFT_OUT = (
    "./var/lib/apt/lists/*",
    "./var/cache/*",
    "./var/log/*",
    "./tmp/*",
    "./run/*",
    "./proc/*",
    "./sys/*",
    "./etc/apt/apt.conf.d/99lab",
    "./etc/dpkg/dpkg.cfg.d/lab",
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
)
"""What a tar of a root filesystem leaves out."""


def base() -> Path:
    """Return the directory of a minimal Debian, made by debootstrap on first use."""
    root = CACHE / "rootfs" / BASE_KEY
    if root.exists():
        return root
    fresh = root.with_name(root.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    packages = CACHE / "apt"
    packages.mkdir(parents=True, exist_ok=True)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    with stage(f"debootstrap a minimal Debian {SUITE} (a minute)"):
        run("debootstrap", "--variant=minbase", f"--cache-dir={packages}", SUITE, fresh, *_mirror())
        (fresh / "etc/dpkg/dpkg.cfg.d/lab").write_text(TRIM)
        (fresh / "etc/apt/apt.conf.d/99lab").write_text(_apt_settings())
        chroot(fresh, "apt-get", "update", "-q")
    fresh.rename(root)
    return root


def _mirror() -> list[str]:
    """The package mirror that this machine's apt uses; none said means debootstrap's own."""
    sites = run(
        "apt-get",
        "indextargets",
        "--format",
        "$(SITE) $(CODENAME)",
        "Created-By: Packages",
        check=False,
    )
    for line in sites.splitlines():
        site, _, codename = line.partition(" ")
        if codename == SUITE:
            return [site]
    return []


def _apt_settings() -> str:
    """The machine's own way to its packages (proxies), for apt inside a root filesystem."""
    dump = run("apt-config", "dump", "Acquire::http::Proxy", "Acquire::https::Proxy", check=False)
    return dump + 'APT::Install-Recommends "false";\nAPT::Get::Assume-Yes "true";\n'


def chroot(root: Path, *argv: str) -> str:
    """Run a command inside a root filesystem, with this machine's resolver and no services."""
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    resolver = root / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    resolver.write_bytes(Path("/etc/resolv.conf").read_bytes())
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
    }
    try:
        return run("chroot", root, *argv, env=env)
    finally:
        policy.unlink()
        resolver.write_text("")


def variant(
    *,
    packages: Sequence[str],
    use: Callable[[Path], None],
) -> None:
    """Install packages on top of the base and call `use` with the root filesystem.

    `use` runs in a child process with mounts of its own; what it leaves in the directory is
    thrown away afterwards. Raises LabError when anything in the child fails.
    """
    lower = base()
    work = CACHE / "tmp" / f"variant-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    merged = work / "merged"
    for name in ("upper", "work", "merged"):
        (work / name).mkdir(parents=True)

    def child() -> None:
        layers = f"lowerdir={lower},upperdir={work}/upper,workdir={work}/work"
        run("mount", "-t", "overlay", "overlay", "-o", layers, merged)
        run("mount", "-t", "proc", "proc", merged / "proc")
        for device in ("null", "zero", "urandom", "random"):
            node = merged / "dev" / device
            node.touch()
            run("mount", "--bind", f"/dev/{device}", node)
        archives = merged / "var/cache/apt/archives"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", CACHE / "apt", archives)
        if packages:
            chroot(merged, "apt-get", "install", "-q", *packages)
        run("umount", archives)
        use(merged)

    try:
        _in_own_mounts(child)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _in_own_mounts(work: Callable[[], None]) -> None:
    """Run `work` in a child process whose mounts nobody else sees."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
                raise OSError(ctypes.get_errno(), "unshare")
            run("mount", "--make-rprivate", "/")
            work()
            status = 0
        except LabError as error:
            print(f"lab: {error}", file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if status:
        raise LabError("making a root filesystem failed; the lines above say where")


def pack(root: Path, into: Sequence[str], *, leave_out: Sequence[str] = LEFT_OUT) -> None:
    """Stream a root filesystem as a tar into the standard input of a command."""
    excludes = [f"--exclude={pattern}" for pattern in leave_out]
    # One file system only: the mounts of `variant` stay outside.
    argv = ["tar", "-C", str(root), "--one-file-system", "--anchored", *excludes, "-c", "."]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as tar:
        done = subprocess.run(into, stdin=tar.stdout, capture_output=True, check=False)
    if tar.returncode or done.returncode:
        raise LabError(f"{' '.join(into)[:120]}: {done.stderr.decode(errors='replace').strip()}")
