"""Stages 7, 8 and 11: the session with the box of a pod, and what of it shows in the status.

The journal in the box decides. Everything here may be done twice: boxkit knows what it has, and the status is derived
again from the journal each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sentinel import __version__
from sentinel.api.build import PodStatus
from sentinel.api.conditions import ConditionType
from sentinel.api.reasons import Reason
from sentinel.engine.attempt import Attempt
from sentinel.engine.board import Board
from sentinel.engine.boxsteps import expected, open_message
from sentinel.engine.cache import note_restored
from sentinel.engine.status import step_statuses
from sentinel.engine.uploads import Uploads
from sentinel.engine.usage import used_by_steps
from sentinel.errors import InfrastructureError, NotYet, UserError
from sentinel.kube.client import Kube
from sentinel.kube.errors import NotFound
from sentinel.layout import BOXKIT
from sentinel.plan.names import BOX
from sentinel.plan.observe import observe
from sentinel.plan.users import is_read_only
from sentinel.session.client import Session
from sentinel.session.journal import SessionState
from sentinel.session.records import (
    AnyRecord,
    CacheSeen,
    Finished,
    Opened,
    ServiceSeen,
    Skipped,
    Started,
)
from sentinel.session.stream import ByteStream, RequestRefused

log = logging.getLogger(__name__)


@asynccontextmanager
async def box_session(attempt: Attempt) -> AsyncIterator[Session]:
    """`attempt.session` while the block runs, which keeps the status at what the journal has."""

    def heard(record: AnyRecord) -> None:
        _follow(attempt, session.state, record)

    connect = connector(
        attempt.tools.kube,
        attempt.tools.pods,
        namespace=attempt.id.namespace,
        pod=attempt.id.pod,
        uid=lambda: attempt.run.pod_uid,
    )
    session = Session(
        connect,
        box=(attempt.id.uid, attempt.id.attempt),
        on_record=heard,
        known=attempt.writer.begun,
        expected=expected(attempt.plan),
    )
    attempt.session = session
    async with session:
        signing = asyncio.create_task(Uploads(attempt).sign(), name="sign URLs")
        try:
            yield session
        finally:
            signing.cancel()
            await asyncio.gather(signing, return_exceptions=True)


def connector(
    kube: Kube, pods: Board, *, namespace: str, pod: str, uid: Callable[[], str]
) -> Callable[[], Awaitable[ByteStream]]:
    """How to reach the box of a pod: an exec of `boxkit attach`. It raises NotYet while that is in vain.

    `uid` gives that of the pod we made, "" before it is known. There is no exec into another pod of that name; one
    that takes its place between our look and the exec belongs to the same namespace, and answers for another box.
    """

    async def connect() -> ByteStream:
        # Exec works up to a second before the kubelet reports the container running, so we do not wait for that. Before
        # its init containers are done an exec is in vain: each costs us 5 ms, and the node more when it is busiest.
        seen = pods.get((namespace, pod))
        if seen is None or seen.deleted or seen.uid != uid():
            raise NotYet(f"pod {pod} not found")
        if not observe(seen.raw).initialized:
            raise NotYet(f"the box of pod {pod} is not about to start")
        try:
            return await kube.exec(
                namespace=namespace, pod=pod, container=BOX, command=[BOXKIT, "attach"]
            )
        except NotFound as e:
            # Whether the pod is really lost is for the guard that watches it to say.
            raise NotYet(e.message) from e

    return connect


async def open_box(attempt: Attempt) -> None:
    """Have the box prepared for the steps, unless it was before: then its Secrets need not exist any more."""
    await _open(attempt)
    welcome = attempt.session.welcome
    if welcome is not None and welcome.version not in ("", __version__):
        namespace, name = attempt.run.key
        log.info(
            "build %s/%s: boxkit %s, operator %s", namespace, name, welcome.version, __version__
        )


async def _open(attempt: Attempt) -> None:
    # A new box is not asked first whether it is open: that would cost every build a round trip.
    session, environment = attempt.session, attempt.environment
    ready = environment.done() and environment.exception() is None
    if not (ready and not attempt.writer.begun) and await session.is_open():
        return
    if attempt.writer.begun:
        # Begun is only ever written of an open box. To open this one would run the steps a second time.
        raise InfrastructureError(
            "the box knows nothing of this build, though its steps may have begun: its container was replaced (a "
            "restored cluster, or a node recreated under its old name)",
            reason=Reason.BOX_TERMINATED,
        )
    resolved = await environment
    if session.state.opened is None and resolved.warnings:
        attempt.report.noticed(message="; ".join(resolved.warnings))
    try:
        store = attempt.tools.store is not None
        settings = attempt.tools.settings
        await session.open(
            open_message(
                attempt.plan,
                resolved,
                store=store,
                ca=settings.store.ca,
                proxy=settings.store_proxy(),
            )
        )
    except RequestRefused as e:
        if e.code == "PrepareFailed":
            remedy = (
                "Its root file system is read-only: write to /pipeline, /report, base-path or /tmp, or leave out "
                "spec.pod.box.securityContext.readOnlyRootFilesystem"
                if is_read_only(attempt.build.spec.pod.box)
                else "Boxes must run as a user who may write /pipeline and /report"
            )
            raise UserError(
                f"the box cannot be prepared: {e.text}. {remedy}",
                reason=Reason.CONTAINER_CONFIG_INVALID,
            ) from e
        if e.code == "NoShell":
            raise UserError(
                f"the box {attempt.plan.box.name} has neither bash nor sh: steps need a shell",
                reason=Reason.SHELL_MISSING,
            ) from e
        raise
    if attempt.plan.image_notes:
        # Into the log as well: who reads it years later has no Build to look at.
        lines = [f"--- sentinel: {note}" for note in attempt.plan.image_notes]
        await session.note("images", "\n".join(lines))


async def mark_begun(attempt: Attempt) -> None:
    """Say that steps may start from now on, before the box is asked to start any.

    Whether a lost pod may be replaced hangs on it: an operator that dies right after the request leaves no other trace.
    """
    if not attempt.writer.begun:
        attempt.writer.condition(ConditionType.SUCCEEDED, "Unknown", Reason.RUNNING)
        await attempt.writer.flush()


def _follow(attempt: Attempt, state: SessionState, record: AnyRecord) -> None:
    match record:
        case Opened():
            _note_opened(attempt)
        case Started() | Finished() | Skipped():
            before = {step.id: step.state for step in attempt.writer.status.steps}
            steps = step_statuses(attempt.plan.steps, state, before=attempt.writer.status.steps)
            running = next((step.display_name for step in steps if step.state == "Running"), "")
            usage = used_by_steps(attempt.writer.status.usage, state)
            attempt.writer.change(steps=steps, current_step=running, running=True, usage=usage)
            for step in steps:
                if step.state != before.get(step.id) and step.state not in ("Pending", "Running"):
                    attempt.report.step_finished(step=step)
        case CacheSeen():
            note_restored(attempt, record)
        case ServiceSeen() if not record.ready:
            service = next((s for s in attempt.plan.services if s.alias == record.alias), None)
            ports = ", ".join(str(port) for port in service.ports) if service is not None else ""
            attempt.report.noticed(
                message=f"service {record.alias} accepts on none of its ports ({ports}) after {record.seconds:.0f} s; "
                "the steps begin all the same"
            )
        case _:
            pass


def _note_opened(attempt: Attempt) -> None:
    if attempt.writer.holds(ConditionType.POD_READY):
        return
    seen = attempt.seen()
    node = seen.raw["spec"].get("nodeName", "") if seen is not None else ""
    attempt.writer.condition(ConditionType.POD_READY, "True", Reason.READY, f"on node {node}")
    pod = attempt.writer.status.pod or PodStatus(attempt=attempt.plan.attempt)
    attempt.writer.change(pod=pod.model_copy(update={"node": node}))
    attempt.report.started(plan=attempt.plan, node=node)
