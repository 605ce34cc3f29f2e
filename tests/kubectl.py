"""kubectl as tests and the demo use it: what a user would type, with JSON where a program reads the answer."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.lab.state import Lab


class KubectlError(Exception):
    """kubectl ended with another code than 0; the message is what it said."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl against the lab."""

    lab: Lab

    def __call__(self, *args: str, stdin: str | None = None, timeout: float = 270) -> str:
        """What kubectl prints. Raises KubectlError."""
        done = subprocess.run(
            [f"{self.lab.bin}/kubectl", "--kubeconfig", self.lab.kubeconfig, *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise KubectlError(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create or change objects. In a namespace that was made just now, a pod waits for the service account."""
        deadline = time.monotonic() + 60
        while True:
            try:
                self("apply", "-f", "-", stdin="\n---\n".join(json.dumps(each) for each in objects))
            except KubectlError as error:
                # The API server itself waits for a second or two.
                missing = 'serviceaccount "default" not found' in str(error)
                if not missing or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def get(self, kind: str, name: str, *, namespace: str | None = None) -> dict[str, Any] | None:
        """An object, or None if there is none."""
        where = ("-n", namespace) if namespace else ()
        text = self("get", kind, name, *where, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def list(
        self, kind: str, *, namespace: str, selector: str = "", timeout: float = 240
    ) -> list[dict[str, Any]]:
        """Objects of a namespace."""
        select = ("-l", selector) if selector else ()
        items: list[dict[str, Any]] = json.loads(
            self("get", kind, "-n", namespace, *select, "-o", "json", timeout=timeout)
        )["items"]
        return items

    def wait_for(
        self,
        kind: str,
        name: str,
        *,
        namespace: str,
        until: Callable[[dict[str, Any]], Any],
        timeout: float = 300,
    ) -> dict[str, Any]:
        """The object once `until` holds. Raises AssertionError with its last state after `timeout` seconds.

        A read that fails is repeated: the API server of a busy machine does not answer every request in time.
        """
        deadline = time.monotonic() + timeout
        found: dict[str, Any] | None = None
        problem = ""
        while True:
            try:
                found, problem = self.get(kind, name, namespace=namespace), ""
            except KubectlError as error:
                problem = f"; the last read failed: {error}"
            if found is not None and until(found):
                return found
            if time.monotonic() > deadline:
                state = json.dumps((found or {}).get("status"), indent=1)
                raise AssertionError(
                    f"{kind} {name} did not get there in {timeout:.0f} s: {state}{problem}"
                )
            time.sleep(0.2)


def until(holds: Callable[[], object], *, what: str, timeout: float = 300) -> None:
    """Wait until `holds`. Raises AssertionError with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.2)


def condition(raw: dict[str, Any], type_: str) -> dict[str, Any]:
    """A condition of an object, {} if it has none of that type."""
    found = (c for c in raw.get("status", {}).get("conditions", []) if c["type"] == type_)
    return next(found, {})


def finished(raw: dict[str, Any]) -> bool:
    """Whether a Build has ended."""
    return condition(raw, "Finished").get("status") == "True"
