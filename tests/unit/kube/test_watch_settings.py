"""kopf with our settings: it watches, and neither compares nor writes."""

from __future__ import annotations

import copy
from typing import Any

import kopf
import pytest

from sentinel.kube.watches import tune


@pytest.fixture
def settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    tune(settings)
    return settings


def test_no_object_is_copied_to_see_what_changed(
    settings: kopf.OperatorSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any) -> None:
        raise AssertionError("a copy was made")

    monkeypatch.setattr(copy, "deepcopy", refuse)
    body = kopf.Body({"metadata": {"name": "b"}, "spec": {"cancel": True}, "status": {}})
    diffs, progress = settings.persistence.diffbase_storage, settings.persistence.progress_storage
    assert diffs.fetch(body=body) is None
    assert progress.clear(essence=diffs.build(body=body)) == {}


def test_nothing_is_written_on_an_object(settings: kopf.OperatorSettings) -> None:
    patch: Any = kopf.Patch()
    body = kopf.Body({"metadata": {"name": "b"}})
    diffs, progress = settings.persistence.diffbase_storage, settings.persistence.progress_storage
    diffs.store(body=body, patch=patch, essence=diffs.build(body=body))
    progress.store(key="on_build", record={}, body=body, patch=patch)  # type: ignore[arg-type]
    progress.touch(body=body, patch=patch, value="now")
    progress.purge(key="on_build", body=body, patch=patch)  # type: ignore[arg-type]
    assert patch == {}
    assert not settings.posting.enabled
