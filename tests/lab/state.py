"""What the lab is and where it keeps things: fixed paths, the lock, and :class:`Lab`.

One lab per machine, whatever the checkout: the state directory is fixed, the cache is not
part of it and outlives the lab.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab.shell import LabError

CLUSTER = "sentinel"
STATE = Path("/var/lib/sentinel-lab")
RUN = Path("/run/sentinel-lab")
"""Sockets and Docker's exec root: paths there must stay short, and go with a reboot."""
CACHE = Path(os.environ.get("SENTINEL_LAB_CACHE") or Path.home() / ".cache/sentinel")
LOCK = Path("/run/sentinel-lab.lock")
KUBECONFIG = STATE / "kubeconfig"
LOGS = STATE / "logs"
BIN = STATE / "bin"
PREVIOUS = CACHE / "previous-lab"
"""Logs of the lab that was cleared away last."""
RECORD = STATE / "lab.json"
LEDGER = STATE / "ledger.json"
"""What must be undone on the machine itself, written before it is done."""

REGISTRY_PORT = 5000
GIT_PORT = 3000
GIT_TLS_PORT = 3443
GIT_SSH_PORT = 2222
S3_PORT = 9000
REGISTRY = f"registry.lab:{REGISTRY_PORT}"
NAMES = ("registry.lab", "git.lab", "s3.lab")


@dataclass(frozen=True, kw_only=True)
class Lab:
    """A lab that is up. All names and addresses work from pods, nodes and this machine."""

    cluster: str
    kubeconfig: str
    """Path of a kubeconfig whose user may do everything."""
    registry: str
    """host:port of a registry without TLS or authentication; deleting is allowed."""
    s3_endpoint: str
    s3_bucket: str
    s3_access_key: str
    s3_secret_key: str
    git_url: str
    """Base of all repositories: `{git_url}/public/NAME.git`, `{git_url}/private/NAME.git`."""
    git_user: str
    git_password: str
    git_root: str
    """Directory with `public/` and `private/`, each holding bare repositories."""
    docker_host: str
    audit_log: str
    """The API server's audit log, one JSON event a line; grows while the lab is up."""
    bin: str
    """Directory with kubectl, helm, kind."""
    gateway: str
    """This machine's address on the nodes' network; the servers listen there."""

    def environ(self) -> dict[str, str]:
        """The environment for programs that use the lab."""
        return {
            "KUBECONFIG": self.kubeconfig,
            "REGISTRY": self.registry,
            "S3_ENDPOINT": self.s3_endpoint,
            "S3_BUCKET": self.s3_bucket,
            "AWS_ACCESS_KEY_ID": self.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": self.s3_secret_key,
            "AWS_REGION": "us-east-1",
            "GIT_URL": self.git_url,
            "GIT_USER": self.git_user,
            "GIT_PASSWORD": self.git_password,
            "GIT_ROOT": self.git_root,
            "DOCKER_HOST": self.docker_host,
            "AUDIT_LOG": self.audit_log,
            "KIND_CLUSTER": self.cluster,
            "SENTINEL_BIN": self.bin,
            "PATH": f"{self.bin}:{os.environ.get('PATH', os.defpath)}",
        }

    def save(self) -> None:
        RECORD.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls) -> Lab:
        """Read the lab that `up` brought up. Raises LabError when there is none."""
        try:
            return cls(**json.loads(RECORD.read_text()))
        except FileNotFoundError as error:
            raise LabError("no lab is up: run `make lab-up`") from error
        except (TypeError, ValueError) as error:
            raise LabError(f"{RECORD} is another checkout's: run `make lab-up`") from error


@contextmanager
def locked() -> Iterator[None]:
    """Hold the machine's one lab lock; a second caller waits for the first."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def note(**facts: object) -> None:
    """Write down in the ledger what is about to be changed on the machine."""
    LEDGER.parent.mkdir(parents=True, exist_ok=True)
    fresh = LEDGER.with_suffix(".new")
    fresh.write_text(json.dumps({**ledger(), **facts}, indent=1))
    fresh.replace(LEDGER)


def ledger() -> dict[str, object]:
    """What earlier calls wrote down; empty when nothing was changed."""
    try:
        return dict(json.loads(LEDGER.read_text()))
    except FileNotFoundError:
        return {}
