"""Bringing the lab up and down: the order of things."""

from __future__ import annotations

from pathlib import Path

from tests.lab import cleanup, cluster, engine, gobuild, images, machine, nodeimage, services
from tests.lab.shell import LabError, say, stage
from tests.lab.state import BIN, CLUSTER, GIT_PORT, KUBECONFIG, REGISTRY, RUN, S3_PORT, STATE, Lab

TOOLS = {"kubectl": gobuild.KUBE, "kind": gobuild.KIND, "helm": gobuild.HELM}


def up() -> Lab:
    """Return the lab that is up, or bring one up. The caller holds the lock."""
    lab = find()
    if lab is not None:
        machine.install()
        services.start(lab.gateway)
        say("the lab is up")
        return lab
    machine.check()
    with stage("bring the lab up"):
        cleanup.clear()
        machine.install()
        for program in gobuild.ALL:
            gobuild.build(program)
        STATE.mkdir(parents=True, exist_ok=True)
        machine.remember()
        _link_tools()
        found = engine.start()
        image = nodeimage.ensure(found)
        images.ensure(found)
        images.drop_stale_seed()
        services.start(found.gateway())
        images.publish(found)
        cluster.create(found, image)
        lab = _describe(found)
        lab.save()
    return lab


def down() -> None:
    """Take the lab away. The caller holds the lock."""
    cleanup.clear()


def find() -> Lab | None:
    """The lab if all of it is alive: engine, servers, cluster."""
    try:
        lab = Lab.load()
    except LabError:
        return None
    found = engine.find()
    if found is None or not services.alive() or not cluster.alive(found):
        return None
    return lab


def _link_tools() -> None:
    BIN.mkdir(parents=True, exist_ok=True)
    for name, program in TOOLS.items():
        link = BIN / name
        link.unlink(missing_ok=True)
        link.symlink_to(gobuild.build(program))


def _describe(found: engine.Engine) -> Lab:
    return Lab(
        cluster=CLUSTER,
        kubeconfig=str(KUBECONFIG),
        registry=REGISTRY,
        s3_endpoint=f"http://s3.lab:{S3_PORT}",
        s3_bucket=services.BUCKET,
        s3_access_key=services.S3_LOGIN.name,
        s3_secret_key=services.S3_LOGIN.secret,
        git_url=f"http://git.lab:{GIT_PORT}",
        git_user=services.GIT_LOGIN.name,
        git_password=services.GIT_LOGIN.secret,
        git_root=str(services.GIT_ROOT),
        docker_host=found.host,
        audit_log=str(cluster.AUDIT_LOG),
        bin=str(BIN),
        gateway=found.gateway(),
    )


def load_image(tag: str) -> None:
    """Load an image of the lab's engine into every node. Raises LabError if there is no lab."""
    Lab.load()
    cluster.load(_engine(), tag)


def push_image(image: str, reference: str) -> None:
    """Push an image of the lab's engine under a reference that begins with the registry's name."""
    if not reference.startswith(f"{REGISTRY}/"):
        raise LabError(f"{reference} is not in the lab's registry: begin it with {REGISTRY}/")
    images.push(_engine(), image, reference)


def _engine() -> engine.Engine:
    found = engine.find()
    if found is None:
        raise LabError("no Docker Engine answers: run `make lab-up`")
    return found


def leftovers() -> list[str]:
    """What `down` would leave if it were finished now, one line each; for tests of the lab."""
    lines = [str(place) for place in (STATE, RUN) if place.exists()]
    mounts = Path("/proc/self/mountinfo").read_text()
    lines += [line for line in mounts.splitlines() if "sentinel" in line]
    lines += [str(path) for path in Path("/sys/fs/cgroup").glob("**/sentinel-lab") if path.is_dir()]
    return lines
