"""What a Build is read as, whatever a tenant wrote."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.api.build import Build
from sentinel.api.reasons import Reason
from sentinel.errors import UserError


def test_a_spec_that_is_nested_without_end_is_refused_without_walking_the_stack() -> None:
    deep: Any = 1
    for _ in range(9000):
        deep = {"x": [deep]}
    raw = {"metadata": {"name": "b"}, "spec": {"source": {}, "pod": {"affinity": deep}}}

    with pytest.raises(UserError, match="nested more than 32 levels") as caught:
        Build.parse(raw)

    assert caught.value.reason is Reason.INVALID_SPEC


def test_the_deepest_field_of_a_spec_is_not_too_deep() -> None:
    term = {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
    selector = {"podAffinityTerm": {"labelSelector": term, "topologyKey": "zone"}}
    anti = {"preferredDuringSchedulingIgnoredDuringExecution": [selector]}
    raw = {
        "metadata": {"name": "b"},
        "spec": {"source": {}, "pod": {"affinity": {"podAntiAffinity": anti}}},
    }

    assert Build.parse(raw).spec.pod.affinity == {"podAntiAffinity": anti}
