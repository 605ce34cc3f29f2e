"""`make demo`: from nothing to a built, pushed, running and deployed real project. Exit status tells the truth.

Every command it runs against the cluster is one a user could type; it prints them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from tests.install import NAMESPACE, ROOT, build_image, environ, install
from tests.kubectl import Kubectl, condition, finished
from tests.lab import git
from tests.lab.state import Lab

DEMO = "demo"
BUILD, DEPLOY = "hello", "hello-deploy"
TIMEOUT = 300.0

BOLD, DIM, GREEN, RED, PLAIN = (
    ("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m")
    if sys.stdout.isatty()
    else ("", "", "", "", "")
)


def main() -> int:
    """Run the demo; 0 when the build succeeded and its image runs."""
    began = time.monotonic()
    stage("a real cluster on this machine (kind), with a registry, a git server and an S3 server")
    subprocess.run([sys.executable, "-m", "tests.lab", "up"], check=True, cwd=ROOT)
    lab = Lab.load()
    kubectl = Kubectl(lab)

    stage("our image, from operator/Dockerfile, and the chart, by helm")
    build_image(lab)
    install(lab, quiet=True)
    print(kubectl("get", "pods", "-n", NAMESPACE))

    stage("the project tests/projects/hello, pushed to the git server")
    url = git.publish(lab, ROOT / "tests/projects/hello", "hello")
    print(f"  {url}")

    stage("kubectl apply -f manifests/samples/hello.yaml")
    if kubectl.get("namespace", DEMO) is None:
        kubectl("create", "namespace", DEMO)
    kubectl("delete", "build", BUILD, "-n", DEMO, "--ignore-not-found", "--wait")
    print(kubectl("apply", "-n", DEMO, "-f", str(ROOT / "manifests/samples/hello.yaml")))
    build = follow(lab, kubectl, BUILD)

    stage("what became of it")
    print(kubectl("get", "builds", "-n", DEMO, "-o", "wide"))
    if not show_steps(build):
        return failed(kubectl, BUILD)
    show_results(lab, build)

    stage("the pushed image, run as a pod")
    image = build["status"]["image"]
    reference = f"{image['repository']}@{image['digest']}"
    said = run_image(kubectl, reference)
    print(f"  {reference}\n  says: {BOLD}{said}{PLAIN}")
    if "hello from version 1.0." not in said:
        print(f"{RED}that is not what the build put into it{PLAIN}")
        return 1

    stage(
        "kubectl apply -f manifests/samples/deploy.yaml: in the build's image, with the build's output"
    )
    kubectl("delete", "build", DEPLOY, "-n", DEMO, "--ignore-not-found", "--wait")
    print(kubectl("apply", "-n", DEMO, "-f", str(ROOT / "manifests/samples/deploy.yaml")))
    deploy = follow(lab, kubectl, DEPLOY)
    if not show_steps(deploy):
        return failed(kubectl, DEPLOY)
    print(f"  box      {deploy['status']['box']['image']}")
    if deploy["status"]["box"]["digest"] != image["digest"]:
        print(f"{RED}that is not the image of {BUILD}{PLAIN}")
        return 1

    stage(f"done in {time.monotonic() - began:.0f} s; look further")
    print(
        "  env $(make -s lab-env) kubectl get builds -A\n"
        f"  env $(make -s lab-env) kubectl describe build {BUILD} -n {DEMO}\n"
        f"  env $(make -s lab-env) kubectl logs -n {NAMESPACE} deploy/sentinel-operator\n"
        "  make lab-down"
    )
    return 0


def stage(text: str) -> None:
    """One headline of the demo."""
    print(f"\n{BOLD}==> {text}{PLAIN}", flush=True)


def show_steps(build: dict[str, Any]) -> bool:
    """Every step with how it ended, and the result. Whether the Build succeeded."""
    for step in build["status"].get("steps", []):
        mark = f"{GREEN}✔{PLAIN}" if step["state"] == "Passed" else f"{RED}✘{PLAIN}"
        print(f"  {mark} {step.get('displayName', step['name']):24} {step.get('reason', '')}")
    succeeded = condition(build, "Succeeded")
    print(f"\n  {succeeded.get('reason')}: {succeeded.get('message')}")
    return succeeded.get("status") == "True"


def follow(lab: Lab, kubectl: Kubectl, name: str) -> dict[str, Any]:
    """`sentinel logs -f`: the build's log, live, until it has finished; the Build."""
    store = {
        "SENTINEL_STORE__BUCKET": lab.s3_bucket,
        "SENTINEL_STORE__ENDPOINT": lab.s3_endpoint,
        "SENTINEL_STORE__ACCESS_KEY_ID": lab.s3_access_key,
        "SENTINEL_STORE__SECRET_ACCESS_KEY": lab.s3_secret_key,
    }
    print(f"{BOLD}    sentinel logs -f {name} -n {DEMO}{PLAIN}", flush=True)
    subprocess.run(
        [sys.executable, "-m", "sentinel", "logs", "-f", name, "-n", DEMO],
        check=False,
        env={**environ(lab), **store},
        timeout=TIMEOUT,
    )
    return kubectl.wait_for("build", name, namespace=DEMO, until=finished)


def show_results(lab: Lab, build: dict[str, Any]) -> None:
    """Where logs, output and image lie."""
    status = build["status"]
    prefix = status["results"]["prefix"]
    print(f"  logs     {lab.s3_endpoint}/{lab.s3_bucket}/{prefix}step/<step id>/log.txt")
    output = status["results"].get("output", {})
    print(
        f"  output   {prefix}output.tar: {output.get('sizeBytes')} bytes, sha256 {output.get('sha256')}"
    )
    image = status["image"]
    print(
        f"  image    {image['repository']} as {', '.join(image['tags'])}\n           {image['digest']}"
    )


def run_image(kubectl: Kubectl, reference: str) -> str:
    """What `hello` says in a pod of that image."""
    kubectl("delete", "pod", "hello-image", "-n", DEMO, "--ignore-not-found", "--wait")
    container = {"name": "hello", "image": reference, "command": ["hello"]}
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "hello-image", "namespace": DEMO},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
    )
    kubectl.wait_for(
        "pod",
        "hello-image",
        namespace=DEMO,
        until=lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"),
    )
    return kubectl("logs", "hello-image", "-n", DEMO).strip()


def failed(kubectl: Kubectl, name: str) -> int:
    """Show why, as a user would look for it."""
    print(kubectl("describe", "build", name, "-n", DEMO))
    print(kubectl("logs", "-n", NAMESPACE, "deploy/sentinel-operator", "--tail=60"))
    return 1


if __name__ == "__main__":
    sys.exit(main())
