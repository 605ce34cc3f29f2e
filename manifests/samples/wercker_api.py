"""How a scheduler such as wercker-api runs builds on Sentinel: start a run, wait for it, cancel it, read its result.

Needs the package `kubernetes`. In a pod it uses the pod's service account (wercker-api.yaml), elsewhere the kubeconfig.

    python wercker_api.py start 58f1c2a9 --url https://git.example.com/team/shop.git --ref main
    python wercker_api.py wait 58f1c2a9
    python wercker_api.py cancel 58f1c2a9
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

from kubernetes import client, config, watch

GROUP, VERSION, PLURAL = "sentinel.wercker.com", "v1alpha1", "builds"
WATCH_SECONDS = 240
"""How long one watch lasts; load balancers cut idle connections."""


class OtherRun(Exception):
    """There is a Build of this run's name that builds something else."""


@dataclass(frozen=True)
class Result:
    """How a run ended: wercker's result, and what a person wants to know."""

    result: str  # passed, failed or aborted
    phase: str  # Succeeded, Failed, Errored or Cancelled
    reason: str
    message: str
    commit: str = ""
    image: str = ""
    logs: str = ""  # where logs and output begin in the object store


def build_name(run_id: str) -> str:
    """The Build's name is a function of the run's id: a second request for the same run meets the first one's Build."""
    return f"run-{run_id.lower()}"


class Runs:
    """Runs in one namespace."""

    def __init__(self, namespace: str, *, api_client: client.ApiClient | None = None) -> None:
        self._namespace = namespace
        self._api = client.CustomObjectsApi(api_client)

    def start(self, run_id: str, spec: dict[str, Any]) -> str:
        """Create the run's Build and return its uid, the `runId` of all reports. Doing it again changes nothing.

        After a timeout, when it is unclear whether the Build was created, call it again. Raises OtherRun.
        """
        name = build_name(run_id)
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "Build",
            "metadata": {"name": name},
            "spec": spec,
        }
        try:
            made = self._api.create_namespaced_custom_object(
                GROUP, VERSION, self._namespace, PLURAL, body
            )
        except client.ApiException as error:
            if error.status != 409:
                raise
            made = self.get(run_id)  # 409: this run was started before
            if any(
                made["spec"].get(key) != spec[key] for key in ("source", "pipeline") if key in spec
            ):
                raise OtherRun(f"Build {name} has another source or pipeline") from None
        uid: str = made["metadata"]["uid"]
        return uid

    def get(self, run_id: str) -> dict[str, Any]:
        """The Build as it is now. ApiException 404 where the run was never started, or its Build is gone."""
        found: dict[str, Any] = self._api.get_namespaced_custom_object(
            GROUP, VERSION, self._namespace, PLURAL, build_name(run_id)
        )
        return found

    def cancel(self, run_id: str) -> None:
        """Stop the run. What runs gets SIGTERM at once; `wait` returns when the Build has ended."""
        self._api.patch_namespaced_custom_object(
            GROUP, VERSION, self._namespace, PLURAL, build_name(run_id), {"spec": {"cancel": True}}
        )

    def wait(self, run_id: str, *, seconds: float = 86400) -> Result:
        """The result, when the Build has ended. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while True:
            build = self.get(run_id)
            if (result := result_of(build)) is not None:
                return result
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"run {run_id} has not ended within {seconds:.0f} s")
            self._until_it_changes(build, min(WATCH_SECONDS, left))

    def _until_it_changes(self, build: dict[str, Any], seconds: float) -> None:
        stream = watch.Watch()
        try:
            for event in stream.stream(
                self._api.list_namespaced_custom_object,
                GROUP,
                VERSION,
                self._namespace,
                PLURAL,
                field_selector=f"metadata.name={build['metadata']['name']}",
                resource_version=build["metadata"]["resourceVersion"],
                timeout_seconds=max(int(seconds), 1),
            ):
                if result_of(event["object"]) is not None or event["type"] == "DELETED":
                    return
        except client.ApiException as error:
            if error.status != 410:  # the version is too old: read it again
                raise
        finally:
            stream.stop()


def result_of(build: dict[str, Any]) -> Result | None:
    """The result of a Build that has ended, else None. `Finished` is the condition that every Build gets."""
    status = build.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    if conditions.get("Finished", {}).get("status") != "True":
        return None
    ended = conditions["Succeeded"]
    phase = status["phase"]
    image = status.get("image") or {}
    return Result(
        result={"Succeeded": "passed", "Cancelled": "aborted"}.get(phase, "failed"),
        phase=phase,
        reason=ended["reason"],
        message=ended.get("message", ""),
        commit=(status.get("source") or {}).get("commit", ""),
        image=f"{image['repository']}@{image['digest']}" if image.get("digest") else "",
        logs=(status.get("results") or {}).get("prefix", ""),
    )


def main(arguments: list[str] | None = None) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("verb", choices=["start", "wait", "cancel"])
    parser.add_argument("run", help="the run's id")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("--url", help="git repository")
    parser.add_argument("--ref", default="HEAD")
    parser.add_argument("--pipeline", default="build")
    options = parser.parse_args(arguments)
    try:
        config.load_incluster_config()
    except config.ConfigException:
        config.load_kube_config()
    runs = Runs(options.namespace)
    if options.verb == "start":
        spec = {
            "pipeline": options.pipeline,
            "source": {"git": {"url": options.url, "ref": options.ref}},
            "image": {"commit": "never"},
        }
        print(runs.start(options.run, spec))
    elif options.verb == "cancel":
        runs.cancel(options.run)
    else:
        result = runs.wait(options.run)
        print(json.dumps(result.__dict__))
        return 0 if result.result == "passed" else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
