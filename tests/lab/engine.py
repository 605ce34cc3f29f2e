"""Docker Engine: the machine's own where one answers, else one that the lab starts.

The lab's own engine keeps to itself: own data, sockets and control groups, no default bridge,
no packet filter rules, no forwarding, no resolver outside. Nothing that runs in it reaches
anything beyond this machine.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cgroups, gobuild
from tests.lab.daemon import Daemon
from tests.lab.shell import LabError, run, say, stage, succeeds
from tests.lab.state import CACHE, REGISTRY, RUN, note

DAEMON = Daemon(name="dockerd")
SOCKET = RUN / "docker.sock"
OWN_HOST = f"unix://{SOCKET}"
DATA = CACHE / "docker"
BRIDGE = "sentinel0"
NETWORK = "kind"
"""The network that kind puts its nodes on; where it exists kind takes it as it is."""
SUBNET = "10.87.0.0/24"
GATEWAY = "10.87.0.1"
CAP_SYS_RESOURCE = 24


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A Docker Engine that answers."""

    host: str
    own: bool
    """Whether the lab started it and may do with it as it likes."""

    def docker(self, *args: str | Path, check: bool = True, stdin: str | None = None) -> str:
        """Run the docker command against this engine and return what it prints."""
        return run("docker", *args, env=self.environ(), check=check, stdin=stdin)

    def environ(self) -> dict[str, str]:
        return {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"}

    def gateway(self) -> str:
        """This machine's address on the nodes' network."""
        shape = "{{range .IPAM.Config}}{{.Gateway}} {{end}}"
        for address in self.docker("network", "inspect", NETWORK, "-f", shape).split():
            if ":" not in address:
                return address
        raise LabError(f"Docker's network {NETWORK} has no IPv4 gateway")


def answering(host: str) -> bool:
    """Whether an engine answers at an address."""
    return succeeds("docker", "version", "-f", "{{.Server.Version}}", env={"DOCKER_HOST": host})


def find() -> Engine | None:
    """The engine to use if one answers: the lab's own first, then the machine's."""
    if not shutil.which("docker"):
        return None
    if SOCKET.exists() and answering(OWN_HOST):
        return Engine(host=OWN_HOST, own=True)
    theirs = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if theirs != OWN_HOST and answering(theirs):
        return Engine(host=theirs, own=False)
    return None


def start() -> Engine:
    """Return an engine with the nodes' network in it, starting one where none answers."""
    engine = find()
    if engine is None:
        engine = _start_own()
    else:
        say(f"Docker Engine at {engine.host}")
    if not engine.docker("network", "ls", "-q", "-f", f"name=^{NETWORK}$").strip():
        options = ["-o", f"com.docker.network.bridge.name={BRIDGE}"]
        options += ["--subnet", SUBNET, "--gateway", GATEWAY] if engine.own else []
        engine.docker("network", "create", "-d", "bridge", *options, NETWORK)
    return engine


def _start_own() -> Engine:
    with stage("start Docker Engine"):
        RUN.mkdir(parents=True, exist_ok=True)
        DATA.mkdir(parents=True, exist_ok=True)
        parent = cgroups.make_parent()
        note(own_engine=True, data=str(DATA))
        config = RUN / "daemon.json"
        config.write_text(json.dumps(_settings(parent), indent=1))
        # The default configuration file belongs to the machine's engine, not to this one.
        DAEMON.start(["dockerd", "--config-file", config], env={"TMPDIR": "/tmp"})
        DAEMON.expect(lambda: SOCKET.exists() and answering(OWN_HOST), seconds=240)
    engine = Engine(host=OWN_HOST, own=True)
    clear(engine)
    # What rebuilt images left behind; younger layers still serve as the builder's cache.
    engine.docker("image", "prune", "--force", "--filter", "until=24h")
    return engine


def _settings(cgroup_parent: str | None) -> dict[str, object]:
    settings: dict[str, object] = {
        "hosts": [OWN_HOST],
        "data-root": str(DATA),
        "exec-root": str(RUN / "docker"),
        "pidfile": str(RUN / "docker.pid"),
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "ip-masq": False,
        "default-address-pools": [{"base": "10.87.0.0/16", "size": 24}],
        "dns": ["127.0.0.1"],
        "storage-driver": "overlay2",
        "log-driver": "json-file",
        "oom-score-adjust": 0,
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "insecure-registries": [REGISTRY],
        "max-concurrent-uploads": 2,
    }
    if cgroup_parent:
        settings["cgroup-parent"] = cgroup_parent
    if not _has_capability(CAP_SYS_RESOURCE):
        wrapper = str(gobuild.build(gobuild.RUNC))
        settings["runtimes"] = {"lab": {"path": wrapper}}
        settings["default-runtime"] = "lab"
    return settings


def _has_capability(number: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapBnd":
            return bool(int(value, 16) >> number & 1)
    return False


def clear(engine: Engine) -> None:
    """Remove every container, volume and network from the lab's own engine; images stay."""
    if not engine.own:
        return
    containers = engine.docker("ps", "-aq").split()
    if containers:
        engine.docker("rm", "-f", "-v", *containers)
    volumes = engine.docker("volume", "ls", "-q").split()
    if volumes:
        engine.docker("volume", "rm", "-f", *volumes)
    networks = engine.docker("network", "ls", "-q", "-f", "type=custom").split()
    if networks:
        engine.docker("network", "rm", *networks)


def stop() -> None:
    """Stop the lab's own engine, its containers first; another engine is left alone."""
    if DAEMON.pid() is None:
        return
    engine = Engine(host=OWN_HOST, own=True)
    if answering(OWN_HOST):
        clear(engine)
    DAEMON.stop(seconds=30)
