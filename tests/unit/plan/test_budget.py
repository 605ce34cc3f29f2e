"""Expansion stops at its budget while it grows: kilobytes of references never become gigabytes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.unit.plan.examples import build, plan

from sentinel.api.reasons import Reason
from sentinel.config.load import load
from sentinel.config.model import Box
from sentinel.errors import UserError
from sentinel.plan.environment import resolve
from sentinel.plan.images import wanted_images
from sentinel.plan.interpolate import Budget, interpolate
from sentinel.plan.model import ImageFacts, Variable
from sentinel.plan.services import plan_services

MEBIBYTE = 1024 * 1024


@contextmanager
def at_most(mebibytes: int) -> Iterator[None]:
    """The block allocates no more than this at any moment."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < mebibytes * MEBIBYTE
    finally:
        tracemalloc.stop()


def doubled(letters: int) -> None:
    """Variables that each repeat the one before: 2^40 bytes if nothing stops them."""
    names = [f"V{n}" for n in range(40)]
    variables = [Variable(name="V", value="x" * letters)]
    for before, name in zip(["V", *names], names, strict=False):
        variables.append(Variable(name=name, value=f"$({before})$({before})"))
    resolve(variables, secrets={}, config_maps={})


def repeated(letters: int) -> None:
    """One value that refers to a long one very often."""
    long, many = "x" * letters, "$(A)" * letters
    resolve(
        [Variable(name="A", value=long), Variable(name="B", value=many)], secrets={}, config_maps={}
    )


def replaced(letters: int) -> None:
    """The same name over and over: what is thrown away counts too, since its masks are kept."""
    secret = {"s": {"k": b"x" * letters}}
    variables = [Variable(name="S", secret=("s", "k"))]
    variables += [Variable(name="A", value=f"{n}$(S)$(S)$(S)") for n in range(2000)]
    resolve(variables, secrets=secret, config_maps={})


def box_env(letters: int) -> None:
    """$A$A… in a field of a box or service."""
    interpolate("$A" * letters, public={"A": "x" * letters}, where="box env B")


def many_fields(letters: int) -> None:
    """Each field short enough, all of them on one budget."""
    budget = Budget()
    for _ in range(1000):
        interpolate("$A$A", public={"A": "x" * letters}, where="box env B", budget=budget)


def linked(services: int) -> None:
    """Every service has the variables of all before it."""
    boxes = [Box(id="r/x:1", name=f"s{i}", line=1) for i in range(services)]
    env = tuple((f"E{k}", "v" * 100) for k in range(50))
    facts = [ImageFacts(name="x", reference="x", env=env) for _ in range(services)]
    plan_services(boxes, facts, uid="u", public={}, hidden=frozenset())


def exposing(ports: int) -> None:
    """An image that exposes every port there is."""
    facts = [ImageFacts(name="x", reference="x", ports=tuple(f"{n}/tcp" for n in range(1, ports)))]
    plan_services([Box(id="x", line=1)], facts, uid="u", public={}, hidden=frozenset())


@pytest.mark.parametrize(
    ("expand", "size", "reason"),
    [
        (doubled, 1000, Reason.INVALID_SPEC),
        (repeated, 20000, Reason.INVALID_SPEC),
        (replaced, 40000, Reason.INVALID_SPEC),
        (box_env, 20000, Reason.CONFIG_INVALID),
        (many_fields, 60000, Reason.CONFIG_INVALID),
        (linked, 400, Reason.CONFIG_INVALID),
        (exposing, 60000, Reason.CONFIG_INVALID),
    ],
)
def test_what_grows_without_end_is_refused_before_it_is_large(
    expand: Callable[[int], None], size: int, reason: Reason
) -> None:
    with at_most(30), pytest.raises(UserError, match=r"bytes|ports") as caught:
        expand(size)

    assert caught.value.reason is reason


def test_what_fits_is_expanded_as_before() -> None:
    assert interpolate("a${B}c$D$", public={"B": "b"}, where="x") == "abc$"
    env = resolve(
        [Variable(name="A", value="a$(B)"), Variable(name="C", value="$$(A)-$(A)")],
        secrets={},
        config_maps={},
    ).env
    assert env == (("A", "a$(B)"), ("C", "$(A)-a$(B)"))


def test_a_pipeline_has_at_most_32_services() -> None:
    services = "".join(f"  - {{id: x, name: s{n}}}\n" for n in range(8000))
    config = load(f"box: x\nservices:\n{services}build: {{}}\n".encode()).config
    assert config is not None

    with pytest.raises(UserError, match="build has 8000 services; at most 32") as caught:
        wanted_images(config, config.pipelines["build"], public={})

    assert caught.value.reason is Reason.CONFIG_INVALID


def test_the_box_s_variables_are_on_the_plan_s_budget() -> None:
    env = "".join(f"    V{n}: $A$A\n" for n in range(40))
    long = build(env=[{"name": "A", "value": "x" * 60000}])

    with pytest.raises(UserError, match=r"with box env V\w+ the variables of box and services"):
        plan(long, yml=f"box:\n  id: x\n  env:\n{env}build: {{steps: []}}\n", services=())
