"""Calls to the engine: what they make is known before it is removed, and errors mean what they are."""

from __future__ import annotations

import asyncio
import threading

import pytest
from docker import errors
from requests import Response

from sentinel.api.reasons import Reason
from sentinel.errors import BoxEnded, InfrastructureError, NotYet
from sentinel.local.docker import Docker
from sentinel.local.stream import attach


async def test_a_call_goes_on_where_its_caller_is_stopped_twice_and_is_waited_for() -> None:
    docker, go, done = Docker(api=None), threading.Event(), threading.Event()

    def create() -> None:
        go.wait(150)
        done.set()

    caller = asyncio.create_task(docker.do(create))
    for _ in range(2):
        await asyncio.sleep(0)
        caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    idle = asyncio.create_task(docker.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    go.set()
    await idle
    assert done.is_set()


def refusal(status: int) -> errors.APIError:
    response = Response()
    response.status_code = status
    return errors.APIError("no", response=response, explanation="no such thing")


class Api:
    """An engine whose execs are refused, for a container in that state."""

    def __init__(self, **state: object) -> None:
        self._state = state

    def exec_create(self, *_: object, **__: object) -> dict[str, str]:
        raise refusal(409)

    def inspect_container(self, _: str) -> dict[str, object]:
        return {"State": self._state}


async def test_a_box_that_has_not_started_is_tried_again_and_one_that_has_ended_is_not() -> None:
    with pytest.raises(NotYet):
        await attach(Docker(Api(Running=False, Status="created")), "box")
    with pytest.raises(BoxEnded, match="with exit code 137"):
        await attach(Docker(Api(Running=False, Status="exited", ExitCode=137)), "box")
    with pytest.raises(BoxEnded, match="out of memory"):
        await attach(Docker(Api(Running=False, Status="exited", OOMKilled=True)), "box")


@pytest.mark.parametrize("error", [refusal(500), ConnectionRefusedError("refused")])
async def test_an_engine_that_fails_is_no_fault_of_the_build(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(InfrastructureError, match="Docker Engine") as caught:
        await Docker(api=None).do(fail)
    assert caught.value.reason is Reason.CONTAINER_CREATE_FAILED
