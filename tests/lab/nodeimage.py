"""The node image: what `kindest/node` is where it can be pulled, built here where it cannot.

Debian with systemd and containerd, Kubernetes from its Go modules, and in containerd's store
the images that kubeadm starts. What kind asks of such an image was found by running it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.lab import archive, gobuild, rootfs
from tests.lab.engine import Engine
from tests.lab.shell import LabError, run, stage, wait_for
from tests.lab.state import CACHE

PACKAGES = (
    "systemd",
    "dbus",
    "containerd",
    "runc",
    "iptables",
    "nftables",
    "iproute2",
    "conntrack",
    "socat",
    "ethtool",
    "kmod",
    "procps",
    "mount",
    "util-linux",
    "ca-certificates",
    "containernetworking-plugins",
    "hostname",
)
FILES = Path(__file__).parent / "node"
UNITS = ("containerd", "kubelet", "network", "dns", "ready")
LOWERED = ("dbus", "systemd-journald")
"""Debian's units that ask for a negative OOM score, which needs a capability we may lack."""
KUBE_IMAGES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
DOCKERFILE = """\
FROM {source}
ENV PATH={path} container=docker
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/bin/node", "entrypoint", "/lib/systemd/systemd"]
"""


def ensure(engine: Engine) -> str:
    """Return the name of a node image that the engine has.

    `SENTINEL_NODE_IMAGE` names one to take instead, such as `kindest/node:v1.34.0`; it is
    pulled where the engine does not have it.
    """
    wanted = os.environ.get("SENTINEL_NODE_IMAGE")
    if wanted:
        if not engine.docker("images", "-q", wanted).strip():
            with stage(f"pull {wanted}"):
                engine.docker("pull", wanted)
        return wanted
    programs = {
        program.name: gobuild.build(program)
        for program in (gobuild.KUBE, gobuild.ETCD, gobuild.COREDNS, gobuild.NODE, gobuild.PAUSE)
    }
    tag = f"sentinel-lab/node:{gobuild.KUBERNETES}-{_key(programs)}"
    if not engine.docker("images", "-q", tag).strip():
        with stage(f"build the node image {tag} (a minute)"):
            _build(engine, tag, programs)
    if engine.own:
        _forget_older(engine, tag)
    return tag


def _forget_older(engine: Engine, tag: str) -> None:
    """Remove node images of earlier recipes: each is more than half a gigabyte."""
    shape = "{{.Repository}}:{{.Tag}}"
    for old in engine.docker("images", "sentinel-lab/node", "--format", shape).split():
        if old != tag:
            engine.docker("rmi", old, check=False)


def _key(programs: dict[str, Path]) -> str:
    content = hashlib.sha256(rootfs.BASE_KEY.encode())
    for path in sorted(programs.values()):
        content.update(str(path.relative_to(CACHE)).encode())
    for file in (Path(__file__), Path(archive.__file__), *sorted(FILES.iterdir())):
        content.update(file.read_bytes())
    return content.hexdigest()[:12]


def _build(engine: Engine, tag: str, programs: dict[str, Path]) -> None:
    raw = f"{tag}-raw"

    def make(root: Path) -> None:
        _install(root, programs)
        _import_images(root, programs)
        into = ["docker", "--host", engine.host, "import", "-", raw]
        rootfs.pack(root, into)

    rootfs.variant(packages=PACKAGES, use=make)
    engine.docker(
        "build", "-q", "-t", tag, "-", stdin=DOCKERFILE.format(source=raw, path=archive.PATH)
    )
    engine.docker("rmi", raw)


def _install(root: Path, programs: dict[str, Path]) -> None:
    """Put programs, units and settings in place."""
    binaries = root / "usr/local/bin"
    shutil.copy2(programs["kube"], binaries / "kube")
    shutil.copy2(programs["node"], binaries / "node")
    for name in ("kubeadm", "kubectl", "kubelet"):
        (binaries / name).symlink_to("kube")
    for directory in ("kind/manifests", "etc/containerd/certs.d", "etc/cni/net.d"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "kind/version").write_text(gobuild.KUBERNETES)
    shutil.copy2(FILES / "default-cni.yaml", root / "kind/manifests/default-cni.yaml")
    settings = (FILES / "containerd.toml").read_text()
    names = _kubeadm_images(programs["kube"])
    (root / "etc/containerd/config.toml").write_text(settings.replace("@PAUSE@", names["pause"]))
    units = root / "etc/systemd/system"
    for name in UNITS:
        shutil.copy2(FILES / f"{name}.service", units / f"{name}.service")
    for name in LOWERED:
        override = units / f"{name}.service.d/lab.conf"
        override.parent.mkdir(parents=True, exist_ok=True)
        override.write_text("[Service]\nOOMScoreAdjust=0\n")
    # Units that would touch the kernel, which is the machine's, or wait for a person.
    for name in (FILES / "masked.txt").read_text().split():
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (units / "default.target").unlink(missing_ok=True)
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    rootfs.chroot(root, "systemctl", "enable", *(f"{name}.service" for name in UNITS))


def _kubeadm_images(kube: Path) -> dict[str, str]:
    """The images that kubeadm will ask for: last part of the name → full name."""
    listed = run(
        kube, "kubeadm", "config", "images", "list", "--kubernetes-version", gobuild.KUBERNETES
    )
    return {name.rpartition("/")[2].partition(":")[0]: name for name in listed.split()}


def _import_images(root: Path, programs: dict[str, Path]) -> None:
    """Fill the containerd store of the root filesystem, with a containerd of ours working on it."""
    names = _kubeadm_images(programs["kube"])
    images = [
        archive.Image(
            names=[names[name] for name in KUBE_IMAGES],
            files={"usr/local/bin/kube": programs["kube"], **_iptables(root)},
            links={
                **{f"usr/local/bin/{name}": "kube" for name in KUBE_IMAGES},
                **{
                    f"usr/sbin/{family}tables{verb}": "xtables-nft-multi"
                    for family in ("ip", "ip6")
                    for verb in ("", "-save", "-restore")
                },
            },
        ),
        archive.Image(names=[names["etcd"]], files={"usr/local/bin/etcd": programs["etcd"]}),
        archive.Image(
            names=[names["coredns"]],
            files={"coredns": programs["coredns"]},
            entrypoint=["/coredns"],
        ),
        archive.Image(
            names=[names["pause"]], files={"pause": programs["pause"]}, entrypoint=["/pause"]
        ),
    ]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        socket = work / "containerd.sock"
        config = work / "config.toml"
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        argv: list[str | Path] = ["containerd", "--config", config, "--address", socket]
        argv += ["--root", root / "var/lib/containerd", "--state", work / "state"]
        with (work / "log").open("wb") as log:
            server = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            wait_for("containerd for the node image", socket.exists, seconds=120)
            for number, image in enumerate(images):
                file = CACHE / "tmp" / f"image-{os.getpid()}-{number}.tar"
                archive.write(image, file)
                ctr = ("ctr", "--address", socket, "-n", "k8s.io")
                run(*ctr, "images", "import", "--no-unpack", file)
                file.unlink()
        finally:
            server.terminate()
            server.wait()


def _iptables(root: Path) -> dict[str, Path]:
    """kube-proxy's iptables: the program, its plug-ins and every library of both."""
    program = "usr/sbin/xtables-nft-multi"
    plugins = sorted((root / "usr/lib/x86_64-linux-gnu/xtables").glob("*.so"))
    if not plugins:
        raise LabError("Debian's iptables brought no plug-ins for the node image")
    inside = [f"/{program}", *(f"/{plugin.relative_to(root)}" for plugin in plugins)]
    libraries = {
        word.lstrip("/")
        for word in rootfs.chroot(root, "ldd", *inside).split()
        if word.startswith("/") and ".so" in word and not word.endswith(":")
    }
    wanted = [program, *(path.lstrip("/") for path in inside[1:]), *libraries]
    return {path: root / path for path in wanted}
