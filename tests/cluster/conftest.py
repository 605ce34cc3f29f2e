"""What tests on a real cluster stand on: the lab, Sentinel installed in it by helm, and a namespace each.

The lab is brought up by `make lab-up` (`make test` does it). Where it is not up these tests are skipped with that
hint, and fail in CI.

Tests run side by side (`tests/suite.py`), each in its own namespace. A test that changes or reads what all share (the
operator, the agent, the nodes, the audit log, the operator's log) is marked `alone`. One that calls `install`, itself
or in a fixture, is marked so here, and need not restore anything.
"""

from __future__ import annotations

import inspect
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.cluster import diagnosis
from tests.conftest import Once, locked
from tests.install import (
    PRIVATE_REGISTRY,
    ROOT,
    SHARED,
    await_leader,
    build_image,
    install,
    restore,
)
from tests.kubectl import Kubectl, KubectlError, finished, until
from tests.lab import git, services
from tests.lab import lab as the_lab
from tests.lab.cluster import CERTS
from tests.lab.shell import LabError
from tests.lab.state import Lab

API_VERSION = "sentinel.wercker.com/v1alpha1"
WAITS = "until [ -e /go ]; do sleep 0.1; done"
"""A script that runs until `Builds.release`."""


T = TypeVar("T")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            # More than the longest single wait, so that a test which hangs says in which one.
            item.add_marker(pytest.mark.timeout(600))
            if installs(item):
                item.add_marker(pytest.mark.alone)
    # Those with settings of their own follow one another: nothing is restored between them. What the module on rights
    # looks at is what all others did.
    items.sort(key=lambda item: (item.path == here / "test_rights.py", installs(item)))


def installs(item: pytest.Item) -> bool:
    """Whether a test, or a fixture of its, calls `install`."""
    info = getattr(item, "_fixtureinfo", None)
    if info is None:
        return False
    fixtures = (each.func for defs in info.name2fixturedefs.values() for each in defs)
    functions = (inspect.unwrap(each) for each in (*fixtures, getattr(item, "function", None)))
    return any("install" in each.__code__.co_names for each in functions if each is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails leaves nothing but what pytest prints: its namespace goes, and so does the cluster."""
    report = yield
    if report.failed:
        report.sections += diagnosis.sections(getattr(item, "funcargs", {}))
    return report


@pytest.fixture(autouse=True)
def default_settings(request: pytest.FixtureRequest) -> None:
    """The operator as `sentinel` installed it, for every test that does not install it itself.

    A test that is `alone` begins with an operator that leads, whatever the one before has done to it.
    """
    if installs(request.node):
        return
    restore()
    if request.node.get_closest_marker("alone") and "sentinel" in request.fixturenames:
        await_leader(request.getfixturevalue("kubectl"))


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab that is up."""
    try:
        return Lab.load()
    except LabError as e:
        if os.environ.get("CI"):
            pytest.fail(f"the cluster tests cannot run: {e}")
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def kubectl(lab: Lab) -> Kubectl:
    return Kubectl(lab)


@pytest.fixture(scope="session")
def served(sentinel: Lab, kubectl: Kubectl, once: Once) -> Kubectl:
    """kubectl for a cluster that knows our resources, as `kubectl apply -f crds/` makes it."""

    def apply() -> None:
        files = [f"-f={path}" for path in sorted((ROOT / "crds").glob("*.yaml"))]
        kubectl("apply", "--server-side", "--force-conflicts", *files)
        kubectl("wait", "--for=condition=Established", *files)

    once("crds", apply)
    return kubectl


@pytest.fixture(scope="session")
def sentinel(lab: Lab, once: Once) -> Iterator[Lab]:
    """Sentinel as users have it: our image, the chart, operator and agent as pods."""

    def install_it() -> None:
        build_image(lab)
        install(lab, quiet=True)

    once("install", install_it)
    if os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ[SHARED] = "1"
    yield lab
    restore()


@pytest.fixture(scope="module")
def step_registry(sentinel: Lab) -> Iterator[str]:
    """The registry's URL, as the operator has it in its settings until the module's last test has ended."""
    command = (sys.executable, "-m", "sentinel", "steps", "serve", str(ROOT / "tests/steps"))
    with subprocess.Popen(
        [*command, "--listen", f"{sentinel.gateway}:0"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = next(line for line in process.stdout if line.startswith("step registry at "))
            url = said.removeprefix("step registry at ").strip()
            install(sentinel, quiet=True, more={"steps.registry": url})
            yield url
        finally:
            process.terminate()


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the test's own; its deletion is not waited for."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@dataclass(frozen=True)
class Builds:
    """Builds in one namespace: apply them, wait for them, look at what they left."""

    lab: Lab
    kubectl: Kubectl
    namespace: str

    def project(self, wercker_yml: str | None, *, private: bool = False, **files: str) -> str:
        """Publish a project with that wercker.yml (none if None) and `files`; its url."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            if wercker_yml is not None:
                (root / "wercker.yml").write_text(wercker_yml)
            (root / "README.md").write_text("A project.\n")
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            return git.publish(self.lab, root, f"p{uuid.uuid4().hex[:8]}", private=private)

    def script(self, code: str, *, name: str = "step", box: str = "", top: str = "") -> str:
        """A project whose build is one script step; its url."""
        box = box or f"{self.lab.registry}/box/debian:12"
        text = f"box: {box}\n{top}build:\n  steps:\n    - script:\n        name: {name}\n        code: |\n"
        return self.project(text + "".join(f"          {line}\n" for line in code.splitlines()))

    def apply(self, name: str, *, url: str, ref: str = "", **spec: Any) -> None:
        """Apply a Build of that project; other fields of the spec as given. It is not committed unless asked."""
        self.kubectl.apply(self.body(name, url=url, ref=ref, **spec))

    def body(self, name: str, *, url: str, ref: str = "", **spec: Any) -> dict[str, Any]:
        """The Build that `apply` applies."""
        source: dict[str, Any] = {"url": url, **({"ref": ref} if ref else {})}
        source |= spec.pop("git", {})
        body = {"source": {"git": source}, "image": {"commit": "never"}, **spec}
        return {
            "apiVersion": API_VERSION,
            "kind": "Build",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": body,
        }

    def secret(self, name: str, *, type_: str = "Opaque", **data: str) -> None:
        self.kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": type_,
                "metadata": {"name": name, "namespace": self.namespace},
                "stringData": data,
            }
        )

    def get(self, name: str) -> dict[str, Any]:
        raw = self.kubectl.get("build", name, namespace=self.namespace)
        assert raw is not None
        return raw

    def finish(self, name: str, *, timeout: float = 300) -> dict[str, Any]:
        """The Build once it says Finished."""
        return self.kubectl.wait_for(
            "build", name, namespace=self.namespace, until=finished, timeout=timeout
        )

    def run(self, name: str = "b", **arguments: Any) -> dict[str, Any]:
        """Apply and wait."""
        self.apply(name, **arguments)
        return self.finish(name)

    def pods(self, name: str) -> list[dict[str, Any]]:
        return self.kubectl.list(
            "pods", namespace=self.namespace, selector=f"sentinel.wercker.com/build={name}"
        )

    def await_rights(self, account: str, verb: str, resource: str, *, namespace: str = "") -> None:
        """Until a service account may do that: the API server hears of Roles and bindings by a watch of its own."""
        who = f"--as=system:serviceaccount:{self.namespace}:{account}"
        ask = ("auth", "can-i", verb, resource, "-n", namespace or self.namespace, who)

        def may() -> bool:
            try:
                return self.kubectl(*ask).strip() == "yes"
            except KubectlError:
                return False

        until(may, what=f"{account} may {verb} {resource}", timeout=60)

    def evict(self, name: str) -> None:
        """Evict the build's pod through the API that drains use.

        The API server first writes the pod's condition and then deletes the pod. Where the operator sees the condition
        and deletes it in between, the answer is NotFound, which `kubectl drain` takes for success.
        """
        pod = self.pods(name)[0]["metadata"]["name"]
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        metadata = {"name": pod, "namespace": self.namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        try:
            self.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
        except KubectlError as error:
            if "(NotFound)" not in str(error):
                raise

    def printed(self, name: str) -> str:
        """What the build's box has printed, "" while the kubelet cannot give it: it follows the box by some time."""
        (pod,) = self.pods(name)
        where = ("-n", self.namespace, "-c", "box")
        try:
            return self.kubectl("logs", pod["metadata"]["name"], *where)
        except KubectlError:
            return ""

    def release(self, name: str) -> None:
        """End what a step of the build waits for in `WAITS`."""
        (pod,) = self.pods(name)
        where = ("-n", self.namespace, "-c", "box")
        self.kubectl("exec", pod["metadata"]["name"], *where, "--", "touch", "/go")

    def events(self) -> list[dict[str, Any]]:
        """The events in the namespace. The operator writes them without waiting: wait for one with `eventually`."""
        return self.kubectl.list("events.events.k8s.io", namespace=self.namespace)

    def stored(self, raw: dict[str, Any], key: str) -> bytes:
        """An object of that build's from the object store; `key` is below its prefix."""
        with self._store() as client:
            answer = client.get_object(
                Bucket=self.lab.s3_bucket, Key=raw["status"]["results"]["prefix"] + key
            )
            body: bytes = answer["Body"].read()
            answer["Body"].close()
            return body

    def remove(self, raw: dict[str, Any], key: str) -> None:
        """Delete an object of that build's; `key` is below its prefix."""
        with self._store() as client:
            client.delete_object(
                Bucket=self.lab.s3_bucket, Key=raw["status"]["results"]["prefix"] + key
            )

    @contextmanager
    def _store(self) -> Iterator[Any]:
        import boto3
        from botocore.config import Config

        client = boto3.client(
            "s3",
            endpoint_url=self.lab.s3_endpoint,
            aws_access_key_id=self.lab.s3_access_key,
            aws_secret_access_key=self.lab.s3_secret_key,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )
        try:
            yield client
        finally:
            client.close()

    def log(self, raw: dict[str, Any], step: str) -> str:
        """The stored log of the step with that display name."""
        found = next(s for s in raw["status"]["steps"] if s.get("displayName") == step)
        return self.stored(raw, f"step/{found['id']}/log.txt").decode()


@pytest.fixture
def builds(sentinel: Lab, kubectl: Kubectl, namespace: str) -> Builds:
    """Builds in a fresh namespace, with Sentinel installed."""
    return Builds(sentinel, kubectl, namespace)


@pytest.fixture
def gate(builds: Builds) -> Iterator[str]:
    """A label no node has: pods that select it wait, until a test gives it to every node."""
    name = f"chaos-gate-{uuid.uuid4().hex[:8]}"
    yield name
    builds.kubectl("label", "nodes", "--all", f"{name}-")


def open_gate(builds: Builds, gate: str) -> None:
    builds.kubectl("label", "nodes", "--all", f"{gate}=open", "--overwrite")


REGISTRY_PASSWORD = "lab-registry-password"
HTPASSWD = "ci:$2b$04$lBUOKLvx2LPaZBL6sw66purDUGmrPXrCz7LKL5pQaBMsIY.VybPei\n"


@pytest.fixture
def private_registry(lab: Lab, tmp_path: Path) -> Iterator[str]:
    """The lab's registry once more, asking for a password; an image in it that no node has seen.

    It has one address, so one test at a time has it.
    """
    with locked(CERTS.parent / "private.lock"), _private_registry(lab, tmp_path) as name:
        yield name


@contextmanager
def _private_registry(lab: Lab, tmp_path: Path) -> Iterator[str]:
    host, _, port = PRIVATE_REGISTRY.partition(":")
    address = socket.gethostbyname(host)
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    config = tmp_path / "registry.yml"
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(services.REGISTRY_ROOT)}},
        "http": {"addr": f"{address}:{port}"},
        "auth": {"htpasswd": {"realm": "lab", "path": str(tmp_path / "htpasswd")}},
    }
    config.write_text(json.dumps(settings))
    name = f"test/{uuid.uuid4().hex[:8]}"
    the_lab.push_image(f"{lab.registry}/box/busybox:1", f"{lab.registry}/{name}:1")
    hosts = CERTS / PRIVATE_REGISTRY / "hosts.toml"
    hosts.parent.mkdir(exist_ok=True)
    hosts.write_text(
        f'server = "http://{PRIVATE_REGISTRY}"\n\n[host."http://{PRIVATE_REGISTRY}"]\n'
        '  capabilities = ["pull", "resolve"]\n'
    )
    server = subprocess.Popen(
        ["docker-registry", "serve", str(config)],
        env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until_it_listens(address, int(port))
        yield name
    finally:
        server.terminate()
        server.wait()
        hosts.unlink()
        hosts.parent.rmdir()


def _until_it_listens(address: str, port: int) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on {address}:{port}"
            time.sleep(0.05)


def eventually(holds: Callable[[], T], *, within: float = 120) -> T:
    """What `holds` gives as soon as that is true. Raises AssertionError with its last value.

    A kubectl that fails is repeated, as in `Kubectl.wait_for`.
    """
    deadline = time.monotonic() + within
    while True:
        last: object
        try:
            found = last = holds()
            if found:
                return found
        except KubectlError as error:
            last = error
        assert time.monotonic() < deadline, f"it did not come to hold in {within:.0f} s: {last!r}"
        time.sleep(0.2)


def steps(raw: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(display name, state, reason) of every step."""
    return [
        (s.get("displayName", s["name"]), s["state"], s.get("reason", ""))
        for s in raw["status"]["steps"]
    ]
