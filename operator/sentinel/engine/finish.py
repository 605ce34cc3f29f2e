"""Stages 10 and 13: what is kept, what goes, and the last word in the status.

The order is what makes it safe: logs and output are in the store before the pod goes, the pod is gone before the
build says Finished, and the label that takes it out of the watch comes last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sentinel.api.build import OutputStatus, Results
from sentinel.api.conditions import ConditionType
from sentinel.api.reasons import Reason
from sentinel.backoff import Backoff
from sentinel.clock import rfc3339
from sentinel.engine.attempt import Attempt
from sentinel.engine.cache import may_save, note_saved, save_cache
from sentinel.engine.guard import guarded
from sentinel.engine.leftovers import drop
from sentinel.engine.ours import find_pod
from sentinel.engine.pod import box_ended
from sentinel.engine.run import Outcome, Run, Tools
from sentinel.engine.salvage import salvage_logs
from sentinel.engine.status import settled
from sentinel.engine.summary import summary
from sentinel.engine.uploads import OUTPUT, artifacts_of
from sentinel.engine.usage import used_in_all
from sentinel.errors import BoxEnded, Conflict, InfrastructureError, InternalError
from sentinel.kube.client import Kube
from sentinel.kube.errors import Conflict as ApiConflict
from sentinel.kube.errors import Invalid, NotFound
from sentinel.kube.resources import BUILDS, CONFIG_MAPS, PODS, SECRETS
from sentinel.layout import OUTPUT_DIR, report_artifacts
from sentinel.plan.cache import SAVED_WITHIN
from sentinel.plan.keys import step_log
from sentinel.plan.names import FINISHED_LABEL, AttemptId
from sentinel.retry import retry
from sentinel.session.client import Session
from sentinel.session.messages import Collect
from sentinel.session.records import CollectFailed

log = logging.getLogger(__name__)

CLOSED_WITHIN = 360.0
"""Seconds for the end of a box: its own limit for uploads is a minute, and a session is lost after five."""

COLLECTED_WITHIN = 3600.0
"""Seconds for the output, of which boxkit takes half for the upload at most."""

AGAIN = Backoff(first=0.5, longest=5.0, tries=5)
"""Between two tries of writing why a build ended."""

OUTPUT_LIMIT = 5000 * 1024 * 1024
"""Bytes of a build's output; wercker's own limit (wercker.md "Output, reports and cache")."""


ARTIFACTS_LIMIT = 1000 * 1024 * 1024
"""Bytes of one step's report artifacts."""


async def store_output(attempt: Attempt, outcome: Outcome) -> Outcome:
    """Stage 10: what a green build left in $WERCKER_OUTPUT_DIR, as output.tar in the store."""
    store = attempt.tools.store
    if store is None or not outcome.succeeded:
        return outcome
    await attempt.session.collect(Collect(what=OUTPUT, path=OUTPUT_DIR, limit=OUTPUT_LIMIT))
    try:
        async with asyncio.timeout(COLLECTED_WITHIN):
            state = await attempt.session.wait_for(lambda state: OUTPUT in state.collected)
    except TimeoutError:
        return Outcome.failed(
            Reason.STORE_FAILED, f"the output was not stored within {COLLECTED_WITHIN:.0f} s"
        )
    collected = state.collected[OUTPUT]
    if isinstance(collected, CollectFailed):
        if collected.reason == "TooLarge":
            return Outcome.failed(
                Reason.OUTPUT_TOO_LARGE,
                f"the output is larger than {OUTPUT_LIMIT // 1024**2} MiB: {collected.text}",
            )
        if collected.reason == "Unreadable":
            return Outcome.failed(
                Reason.OUTPUT_UNREADABLE, f"the output cannot be read: {collected.text}"
            )
        return Outcome.failed(Reason.STORE_FAILED, f"the output was not stored: {collected.text}")
    if collected.notice:
        attempt.report.noticed(message=f"the output is stored, but {collected.notice}")
    if not collected.empty:
        results = attempt.writer.status.results or Results(prefix=attempt.plan.results_prefix)
        output = OutputStatus(size_bytes=collected.bytes, sha256=collected.sha256)
        attempt.writer.change(results=results.model_copy(update={"output": output}))
    return outcome


async def store_artifacts(attempt: Attempt) -> None:
    """The report artifacts of every step that left some, passed or not, all at once (wercker.md).

    What cannot be stored is reported and changes nothing. Without artifacts this does nothing at all.
    """
    store = attempt.tools.store
    known = attempt.session.state.steps
    left = {
        s.ordinal: s.id
        for s in attempt.plan.steps
        if s.ordinal in known and known[s.ordinal].artifacts
    }
    if store is None or not left:
        return
    for ordinal, step_id in left.items():
        collect = Collect(
            what=artifacts_of(ordinal),
            path=report_artifacts(step_id),
            limit=ARTIFACTS_LIMIT,
        )
        await attempt.session.collect(collect)
    wanted = {artifacts_of(ordinal) for ordinal in left}
    state = await attempt.session.wait_for(lambda state: wanted <= state.collected.keys())
    for ordinal, step_id in left.items():
        collected = state.collected[artifacts_of(ordinal)]
        if isinstance(collected, CollectFailed):
            attempt.report.noticed(
                message=f"the report artifacts of {step_id} are not stored: {collected.text}"
            )
        elif collected.notice:
            attempt.report.noticed(message=f"report artifacts of {step_id}: {collected.notice}")


async def close_box(attempt: Attempt) -> bool:
    """No more steps. Whether all logs are in the store; without a store they are not.

    The result stands before: a box that is lost now costs its logs at most, and never changes how the build ended.
    """
    seconds = CLOSED_WITHIN + (SAVED_WITHIN if may_save(attempt) else 0)
    try:
        async with asyncio.timeout(seconds):
            return await _close(attempt)
    except (BoxEnded, InfrastructureError, InternalError, TimeoutError) as e:
        why = str(e) or f"no end within {seconds:.0f} s"
        log.warning("build %s/%s: the box could not be closed: %s", *attempt.run.key, why)
        return False
    finally:
        note_saved(attempt, attempt.session.state)


async def _close(attempt: Attempt) -> bool:
    # After a restart the journal must be heard first: it tells which steps left artifacts.
    with suppress(BoxEnded):
        await guarded(_heard(attempt.session), box_ended(attempt))
    if attempt.tools.store is None:
        with suppress(BoxEnded):
            await guarded(attempt.session.close(), box_ended(attempt))
            attempt.run.closed = attempt.session.state.closed is not None
        return False
    with suppress(BoxEnded):
        await guarded(store_artifacts(attempt), box_ended(attempt))
    try:
        await guarded(_save_and_close(attempt), box_ended(attempt))
        attempt.run.closed = attempt.session.state.closed is not None
    except BoxEnded:
        attempt.run.closed = True
        log.info("build %s/%s: the box ended before it said so", *attempt.run.key)
    missing = [
        step.id
        for ordinal, step in enumerate(attempt.writer.status.steps, start=1)
        if step.start_time and not await _stored(attempt, ordinal, step.id)
    ]
    if missing:
        names = ", ".join(missing)
        log.warning(
            "build %s/%s: logs of %s are not stored; the pod stays", *attempt.run.key, names
        )
    return not missing


async def _save_and_close(attempt: Attempt) -> None:
    await save_cache(attempt)
    await attempt.session.close()


async def _heard(session: Session) -> None:
    await session.is_open()


async def _stored(attempt: Attempt, ordinal: int, step_id: str) -> bool:
    """Whether a step's log is in the store: as the box's journal has it, else a look at the store.

    The last record that was received may be a refusal, and a later try have succeeded.
    """
    upload = attempt.session.state.uploads.get(f"log/{ordinal}")
    if upload is not None and upload.state == "uploaded":
        return True
    store = attempt.tools.store
    return (
        store is not None
        and await store.head(step_log(attempt.plan.results_prefix, step_id)) is not None
    )


async def finish(run: Run, outcome: Outcome, *, logs_safe: bool) -> None:
    """Stage 13: the pod goes or is stopped, then the status says Finished, then the label."""
    run.decide(outcome)
    reason, message = outcome.reason, outcome.message
    if run.lost is not None:
        reason, message = run.lost.reason or Reason.INTERNAL, run.lost.message
    if not outcome.succeeded or run.lost is not None:
        now = rfc3339(run.tools.clock.now())
        steps = settled(run.writer.status.steps, reason=reason, message=message, now=now)
        run.writer.change(steps=steps)
    attempt = run.writer.attempt
    if attempt:
        # The reason is written before the pod goes. To begin again from the top after a lost answer could lose it: the
        # pod that shows it may be gone by then.
        await retry(
            run.writer.flush,
            clock=run.tools.clock,
            backoff=AGAIN,
            what=f"writing how build {run.build.namespace}/{run.build.name} ends",
            unless=(Conflict,),
        )
        if not logs_safe and run.writer.holds(ConditionType.POD_READY):
            logs_safe = await salvage_logs(run, attempt, reason=reason, message=message)
        await _put_away(run, attempt, logs_safe=logs_safe, outcome=outcome)
    run.writer.condition(ConditionType.FINISHED, "True", Reason.COMPLETED)
    run.writer.change(
        current_step="", completion_time=rfc3339(run.tools.clock.now()), finishing=False
    )
    created = run.build.metadata.get("creationTimestamp", "")
    run.writer.change(usage=used_in_all(run.writer.status, created=created))
    await run.writer.flush()
    log.info("build %s/%s: %s", *run.key, summary(run.writer.status, reason=reason))
    run.report.finished(succeeded=outcome.succeeded, reason=outcome.reason, message=outcome.message)
    await label_finished(run)


async def label_finished(run: Run) -> None:
    """Take the Build out of the operator's watch."""
    try:
        await run.tools.kube.patch(
            BUILDS,
            namespace=run.build.namespace,
            name=run.build.name,
            body={"metadata": {"labels": {FINISHED_LABEL: "true"}}},
        )
    except NotFound:
        log.info("build %s/%s is gone", *run.key)


async def _put_away(run: Run, attempt: int, *, logs_safe: bool, outcome: Outcome) -> None:
    of = run.id(attempt)
    namespace, name = key = of.key
    keep = run.tools.settings.keep_pods
    wanted = keep == "always" or (keep == "failed" and not outcome.succeeded)
    started = run.writer.holds(ConditionType.POD_READY) is True
    kube = run.tools.kube
    seen = run.tools.pods.get(key)
    # The API server is asked only where the watch has not shown the pod.
    pod = seen.raw if seen is not None and run.owns(seen) else await find_pod(run, attempt)
    if pod is not None:
        await _drop_logins(run.tools, of, pod)
    # What could not be stored is in the pod only: until the Build's TTL it can be copied from the node.
    unstored = not logs_safe or outcome.reason is Reason.STORE_FAILED
    if wanted or (started and unstored):
        if pod is not None:
            # A box that was closed has ended by itself; then only services run on.
            await _keep(kube, pod, ended=run.closed and len(pod["spec"]["containers"]) == 1)
        run.tools.pods.forget(key)
        return
    if pod is not None:
        await kube.delete(PODS, namespace=namespace, name=name, uid=pod["metadata"]["uid"])
    run.tools.pods.forget(key)
    if any(step.digest for step in run.writer.status.steps):
        await drop(run.tools, CONFIG_MAPS, of, of.steps)
    cache = run.writer.status.cache
    if cache is not None and cache.restored != "Miss":
        await drop(run.tools, SECRETS, of, of.cache)
    if run.build.spec.parent is not None:
        await drop(run.tools, SECRETS, of, of.outputs)


async def _drop_logins(tools: Tools, of: AttemptId, pod: Mapping[str, Any]) -> None:
    """Delete the Secret that the pod pulled with, if it was the build's own."""
    used = [each.get("name") for each in pod["spec"].get("imagePullSecrets") or []]
    if of.pull_secret in used:
        await drop(tools, SECRETS, of, of.pull_secret)


async def _keep(kube: Kube, pod: Mapping[str, Any], *, ended: bool) -> None:
    """Take the pod out of the operator's watch and end its containers: it stays for the logs that the kubelet has."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    # The uid cannot be changed: for another pod of this name the server rejects the patch.
    uid = pod["metadata"]["uid"]
    body: dict[str, Any] = {"metadata": {"uid": uid, "labels": {FINISHED_LABEL: "true"}}}
    if not ended:
        body["spec"] = {"activeDeadlineSeconds": 1}
    try:
        await kube.patch(PODS, namespace=namespace, name=name, body=body)
    except (NotFound, ApiConflict, Invalid):
        log.info("pod %s/%s is gone", namespace, name)
