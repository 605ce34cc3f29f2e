"""Images to test with, made of Debian packages: boxes, a service, and a base to build on.

Those named after the lab's registry are pushed there; `debian:12-slim` stays in the engine,
where the project's Dockerfile finds the base it starts FROM.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import rootfs, services
from tests.lab.archive import PATH
from tests.lab.engine import Engine
from tests.lab.shell import LabError, run, stage
from tests.lab.state import CACHE, REGISTRY

LABEL = "lab.recipe"
MARK = "lab-images"
"""File in a registry's storage that says which of our images, by which recipes, it holds."""
BUSYBOX = Path("/bin/busybox")
ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One image: what is installed in it and what its config says."""

    name: str
    packages: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    """Dockerfile instructions for the config, beside PATH."""
    busybox: bool = False
    """Whether the image holds busybox alone, not Debian."""
    programs: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """(path in the image, program of this machine): the image holds these and their libraries, and nothing else."""

    @property
    def key(self) -> str:
        # Fields that came later count only where they are used: no other image is built again for them.
        more = f" {self.programs!r}" if self.programs else ""
        return hashlib.sha256(f"{rootfs.BASE_KEY} {self!r}{more}".encode()).hexdigest()[:12]

    @property
    def pushed(self) -> bool:
        return self.name.startswith(REGISTRY)


BOX_DEBIAN = Recipe(
    name=f"{REGISTRY}/box/debian:12",
    packages=("bash", "git", "gcc", "libc6-dev", "make", "ca-certificates", "libhiredis-dev"),
    changes=('CMD ["bash"]',),
)
BOX_BUSYBOX = Recipe(
    name=f"{REGISTRY}/box/busybox:1",
    changes=('CMD ["sh"]',),
    busybox=True,
)
BOX_USER = Recipe(
    name=f"{REGISTRY}/box/user:1",
    # Nobody of /etc/passwd, and an entrypoint that runs nothing.
    changes=("USER 1000:1000", 'ENTRYPOINT ["/bin/false"]', 'CMD ["-x"]', "WORKDIR /home"),
    busybox=True,
)
BOX_DASH = Recipe(
    name=f"{REGISTRY}/box/dash:1",
    # No bash, no coreutils, no /tmp, no /etc.
    changes=('ENTRYPOINT ["/nowhere"]',),
    programs=(("bin/sh", "/bin/dash"),),
)
BOX_SHELL_LESS = Recipe(
    name=f"{REGISTRY}/box/shell-less:1",
    changes=('CMD ["/app"]',),
    programs=(("app", "/bin/true"),),
)
SERVICE_REDIS = Recipe(
    name=f"{REGISTRY}/service/redis:7",
    packages=("redis-server", "redis-tools"),
    changes=(
        "EXPOSE 6379",
        'CMD ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", '
        '"--save", "", "--appendonly", "no", "--dir", "/tmp"]',
    ),
)
SLIM = Recipe(
    name="debian:12-slim",
    packages=(
        "python3",
        "python3-venv",
        "python3-pip",
        "git",
        "ca-certificates",
        "openssh-client",
        "zstd",
    ),
    changes=('CMD ["bash"]',),
)
ALL = (
    BOX_BUSYBOX,
    BOX_DEBIAN,
    BOX_USER,
    BOX_DASH,
    BOX_SHELL_LESS,
    SERVICE_REDIS,
    SLIM,
)


def ensure(engine: Engine) -> None:
    """Have every image in the engine, making those that are missing or out of date."""
    for recipe in ALL:
        have = engine.docker("images", "-q", recipe.name).strip()
        label = f"label={LABEL}={recipe.key}"
        if engine.docker("images", "-q", "-f", label, recipe.name).strip():
            continue
        if have and not engine.own and not recipe.pushed:
            continue  # The machine's own base image is better than ours.
        with stage(f"make the image {recipe.name} (half a minute)"):
            _make(engine, recipe)


def _make(engine: Engine, recipe: Recipe) -> None:
    changes = [f"ENV PATH={PATH}", *recipe.changes, f"LABEL {LABEL}={recipe.key}"]
    into = ["docker", "--host", engine.host, "import"]
    for change in changes:
        into += ["--change", change]
    into += ["-", recipe.name]
    if recipe.busybox:
        _import_busybox(recipe, into)
    elif recipe.programs:
        _import_programs(recipe, into)
    else:
        rootfs.variant(packages=recipe.packages, use=lambda root: rootfs.pack(root, into))


def _import_busybox(recipe: Recipe, into: list[str]) -> None:
    if not BUSYBOX.exists():
        raise LabError(f"{BUSYBOX} is missing (Debian's busybox-static brings it)")
    file = CACHE / "tmp" / f"{recipe.key}.tar"
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name in ("bin", "etc", "tmp", "root", "usr", "usr/bin", "var", "home"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(directory)
        for name, text in ACCOUNTS.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
        tar.add(BUSYBOX, arcname="bin/busybox")
        for name in run(BUSYBOX, "--list").split():
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            if name != "busybox":
                tar.addfile(link)
    run(*into[:-2], file, into[-1])
    file.unlink()


def _import_programs(recipe: Recipe, into: list[str]) -> None:
    file = CACHE / "tmp" / f"{recipe.key}.tar"
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w", dereference=True) as tar:
        libraries: set[str] = set()
        for place, program in recipe.programs:
            tar.add(program, arcname=place)
            # Lines like `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, and the loader's own path.
            words = run("ldd", program).split()
            libraries |= {word for word in words if word.startswith("/")}
        for library in sorted(libraries):
            tar.add(library, arcname=library.lstrip("/"))
    run(*into[:-2], file, into[-1])
    file.unlink()


def drop_stale_seed() -> None:
    """Forget a registry seed whose images were made by other recipes, before it is used."""
    if not _holds_current(services.REGISTRY_SEED):
        shutil.rmtree(services.REGISTRY_SEED, ignore_errors=True)


def _current() -> str:
    return "".join(f"{recipe.name} {recipe.key}\n" for recipe in ALL if recipe.pushed)


def _holds_current(storage: Path) -> bool:
    mark = storage / MARK
    return mark.exists() and mark.read_text() == _current()


def publish(engine: Engine) -> None:
    """Have the images in the lab's registry; keep its storage as the seed of later labs."""
    if _holds_current(services.REGISTRY_ROOT):
        return
    with stage("push the images to the lab's registry (half a minute)"):
        for recipe in ALL:
            if recipe.pushed:
                engine.docker("push", "-q", recipe.name)
        (services.REGISTRY_ROOT / MARK).write_text(_current())
        shutil.rmtree(services.REGISTRY_SEED, ignore_errors=True)
        fresh = services.REGISTRY_SEED.with_name("registry.new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(services.REGISTRY_ROOT, fresh, symlinks=True)
        fresh.rename(services.REGISTRY_SEED)


def push(engine: Engine, image: str, reference: str) -> None:
    """Tag an image of the engine with a reference in the lab's registry and push it there."""
    engine.docker("tag", image, reference)
    engine.docker("push", "-q", reference)
