"""Creating an object: what is waited for, what ends the build, and that no refusal passes as a mistake of ours."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.clocks import Hasty
from tests.unit.engine.world import Server, attempt_of, plan, run_of, status_of

from sentinel.api.conditions import ConditionType, get_condition
from sentinel.api.reasons import Reason
from sentinel.engine.commit import commit
from sentinel.engine.create import create
from sentinel.engine.run import Outcome, Run
from sentinel.errors import (
    CancelledByUser,
    GoneError,
    InfrastructureError,
    SentinelError,
    TransientError,
    UserError,
)
from sentinel.kube.errors import AlreadyExists, from_status
from sentinel.kube.resources import CONFIG_MAPS, PODS, Resource
from sentinel.plan.model import PlanImage
from sentinel.plan.refusals import RIGHTS_GRACE

QUOTA = 'configmaps "c" is forbidden: exceeded quota: few, requested: count/configmaps=1'
TOO_SMALL = (
    'Pod "c" is invalid: spec.containers[0].resources.requests: Invalid value: "128Mi": must be less than or equal '
    "to memory limit of 48Mi"
)
TERMINATING = 'pods "c" is forbidden: unable to create new content in namespace ns because it is being terminated'


def no(status: int, text: str, reason: str = "Forbidden") -> SentinelError:
    return from_status("create ns/c", status, {"kind": "Status", "reason": reason, "message": text})


def body(kind: str = "ConfigMap", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "c", "namespace": "ns"}, **more}


class Refusing(Server):
    """A server that answers creations with these errors, in order, and takes what comes after them."""

    def __init__(self, *answers: SentinelError, status: dict[str, Any] | None = None) -> None:
        super().__init__(status)
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []

    async def create(
        self, resource: Resource, body: dict[str, Any], *, namespace: str
    ) -> dict[str, Any]:
        self.bodies.append(body)
        if self.answers:
            raise self.answers.pop(0)
        return body


def shown(run: Run, type_: ConditionType) -> tuple[str, str, str]:
    found = get_condition(run.writer.status.conditions, type_)
    assert found is not None
    return found.status, found.reason, found.message


async def test_a_quota_is_waited_for_with_backoff_and_shown() -> None:
    clock = Hasty()
    server = Refusing(*(no(403, QUOTA) for _ in range(6)))
    run = run_of(server, clock=clock)
    parked: list[bool] = []
    run.park = parked.append

    made = await create(run, CONFIG_MAPS, body(), within=900)

    assert made == body()
    assert clock.elapsed == 1 + 2 + 4 + 8 + 15 + 15
    assert parked == [*[True] * 6, False]
    assert shown(run, ConditionType.POD_READY) == ("False", "Pending", "ConfigMap c was created")


async def test_a_quota_that_stays_ends_the_build_after_its_pending_timeout() -> None:
    clock = Hasty()
    run = run_of(Refusing(*(no(403, QUOTA) for _ in range(99))), clock=clock)

    with pytest.raises(InfrastructureError) as caught:
        await create(run, CONFIG_MAPS, body(), within=100)

    assert caught.value.reason is Reason.QUOTA_EXCEEDED
    assert 100 <= clock.elapsed < 120
    status, reason, message = shown(run, ConditionType.POD_READY)
    assert (status, reason) == ("False", "QuotaExceeded")
    # The reason that `kubectl get builds -o wide` prints.
    assert shown(run, ConditionType.SUCCEEDED)[:2] == ("Unknown", "QuotaExceeded")
    assert QUOTA in message


@pytest.mark.parametrize(("account", "passes"), [("default", True), ("deployer", False)])
async def test_an_account_that_appears_late_is_waited_for(account: str, passes: bool) -> None:
    text = f'pods "c" is forbidden: error looking up service account ns/{account}: serviceaccount "{account}" not found'
    clock = Hasty()
    run = run_of(Refusing(*(no(403, text) for _ in range(6))), clock=clock)

    if passes:
        assert await create(run, PODS, body("Pod"), within=900) == body("Pod")
    else:
        with pytest.raises(UserError) as caught:
            await create(run, PODS, body("Pod"), within=900)
        assert caught.value.reason is Reason.SERVICE_ACCOUNT_MISSING
        assert clock.elapsed < 20


@pytest.mark.parametrize(("times", "passes"), [(3, True), (9, False)])
async def test_a_right_that_the_server_has_not_read_yet_is_waited_for(
    times: int, passes: bool
) -> None:
    """An API server that has just started."""
    text = 'pods is forbidden: User "system:serviceaccount:s:o" cannot create resource "pods"'
    clock = Hasty()
    run = run_of(Refusing(*(no(403, text) for _ in range(times))), clock=clock)

    if passes:
        assert await create(run, PODS, body("Pod"), within=900) == body("Pod")
        return
    with pytest.raises(InfrastructureError) as caught:
        await create(run, PODS, body("Pod"), within=900)
    assert caught.value.reason is Reason.INTERNAL
    assert RIGHTS_GRACE <= clock.elapsed < 2 * RIGHTS_GRACE


async def test_refused_resources_are_tried_without_our_defaults() -> None:
    server = Refusing(no(422, TOO_SMALL, "Invalid"))
    first = body("Pod", spec={"containers": [{"name": "box", "resources": {"requests": {}}}]})
    second = body("Pod", spec={"containers": [{"name": "box"}]})
    clock = Hasty()

    assert (
        await create(run_of(server, clock=clock), PODS, first, otherwise=lambda: second, within=900)
        == second
    )
    assert server.bodies == [first, second]
    assert clock.elapsed == 0


async def test_where_neither_is_accepted_the_first_refusal_is_reported() -> None:
    server = Refusing(no(422, TOO_SMALL, "Invalid"), no(403, "memory limit, something else"))
    first = body("Pod", spec={"containers": [{"name": "box"}]})

    with pytest.raises(UserError) as caught:
        await create(run_of(server), PODS, first, otherwise=lambda: body("Pod"), within=900)

    assert caught.value.reason is Reason.ADMISSION_DENIED
    assert "set spec.pod.box.resources" in caught.value.message


async def test_a_refusal_for_another_reason_is_not_tried_again() -> None:
    server = Refusing(no(403, 'admission webhook "w" denied the request: no'))

    with pytest.raises(UserError) as caught:
        await create(run_of(server), PODS, body("Pod"), otherwise=lambda: body("Pod"), within=900)

    assert caught.value.reason is Reason.ADMISSION_DENIED
    assert len(server.bodies) == 1


async def test_a_namespace_that_is_being_deleted_ends_the_build_quietly() -> None:
    with pytest.raises(GoneError):
        await create(run_of(Refusing(no(403, TERMINATING))), PODS, body("Pod"), within=900)


async def test_an_expired_token_is_not_a_refusal() -> None:
    with pytest.raises(TransientError):
        await create(run_of(Refusing(no(401, "Unauthorized"))), PODS, body("Pod"), within=900)


async def test_an_object_that_exists_is_the_callers_to_look_at() -> None:
    with pytest.raises(AlreadyExists):
        await create(
            run_of(Refusing(no(409, "exists", "AlreadyExists"))), PODS, body("Pod"), within=900
        )


async def test_a_cancel_ends_the_wait() -> None:
    run = run_of(Refusing(*(no(403, QUOTA) for _ in range(9))))
    run.cancelled.set()
    with pytest.raises(CancelledByUser):
        await create(run, CONFIG_MAPS, body(), within=900)


def begun(*answers: SentinelError) -> tuple[Refusing, Run, Any]:
    """A build whose steps have passed, about to commit."""
    server = Refusing(*answers, status=status_of(ready=True, begun=True))
    the_plan = plan()
    image = PlanImage(commit="end", repository="registry.example.com/a/b")
    the_plan = type(the_plan)(**{**vars(the_plan), "image": image})
    name = server.add_pod(the_plan)
    server.pods[name]["status"]["containerStatuses"][0]["containerID"] = "containerd://x"
    run = run_of(server)
    run.tools.pods.offer(server.pods[name])
    return server, run, the_plan


async def test_a_commit_that_a_quota_refuses_is_not_a_failure_of_the_steps() -> None:
    _, run, the_plan = begun(*(no(403, QUOTA) for _ in range(999)))
    before = run.writer.status.steps

    outcome = await commit(attempt_of(run, the_plan), Outcome.passed("all 2 steps passed"))

    assert (outcome.succeeded, outcome.reason) == (False, Reason.QUOTA_EXCEEDED)
    assert "the box was not committed: ImageCommit " in outcome.message
    assert run.writer.status.steps == before
    assert shown(run, ConditionType.SUCCEEDED) == ("Unknown", "Running", "")


async def test_a_red_build_whose_commit_is_refused_keeps_its_own_reason() -> None:
    _, run, the_plan = begun(no(403, 'admission webhook "w" denied the request: no'))

    outcome = await commit(
        attempt_of(run, the_plan), Outcome.failed(Reason.EXIT_CODE, "step failed")
    )

    assert outcome.reason is Reason.EXIT_CODE
    assert 'webhook "w" denied' in outcome.message


async def test_a_commit_that_waits_can_be_cancelled() -> None:
    _, run, the_plan = begun(*(no(403, QUOTA) for _ in range(999)))
    run.cancelled.set()

    outcome = await commit(attempt_of(run, the_plan), Outcome.passed("all 2 steps passed"))

    assert outcome.reason is Reason.CANCELLED
