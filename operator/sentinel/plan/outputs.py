"""The stored output of another Build as a source: what is known of it, and where it lies. Pure.

The key is always derived from the Build's own namespace: of what a status says of the place only the application's
segment is used, which the operator has chosen itself.
"""

from __future__ import annotations

from sentinel.api.build import Build
from sentinel.plan.keys import output, results_prefix, segment
from sentinel.plan.model import PlanOutput
from sentinel.settings import Settings


def plan_output(build: Build, *, directory: str) -> PlanOutput | None:
    """The output of a Build that has succeeded, for that directory; None where it stored none."""
    status = build.status
    if status.results is None or status.results.output is None or status.pod is None:
        return None
    # <prefix>/<namespace>/project-artifacts/<application>/<uid>/<attempt>/
    parts = status.results.prefix.rstrip("/").split("/")
    return PlanOutput(
        build=build.name,
        application=segment(parts[-3]) if len(parts) >= 3 else "",
        uid=build.uid,
        attempt=status.pod.attempt,
        sha256=status.results.output.sha256,
        size=status.results.output.size_bytes,
        directory=directory,
    )


def output_key(of: PlanOutput, *, namespace: str, settings: Settings) -> str:
    """Its key in the store; `namespace` is the one of the Build that uses it."""
    return output(
        results_prefix(
            prefix=settings.store.prefix,
            namespace=namespace,
            app_id=of.application,
            build_uid=of.uid,
            attempt=of.attempt,
        )
    )
