"""What keeps a pipeline from running though each line of it is right."""

from __future__ import annotations

import pytest

from sentinel.config.lacks import lacks
from sentinel.config.load import load

STEPS = "{steps: []}"


def reported(text: str) -> list[tuple[str, int, str, str]]:
    """(code, line, pipeline, message)."""
    config = load(text.encode()).config
    assert config is not None
    return [(d.code, d.line, d.pipeline, d.message) for d in lacks(config)]


@pytest.mark.parametrize(
    "text",
    [
        f"box: debian:12\nbuild: {STEPS}\n",
        f"box: host:5000/a/b:$TAG\nservices: [redis, {{id: redis, name: two}}]\nbuild: {STEPS}\n",
        "build: {box: $IMAGE, services: [$A, $A], steps: []}\n",
        f"box: a@sha256:{'b' * 64}\nbuild: {STEPS}\n",
        "box: debian 12\n",  # there is no pipeline that it could hurt
    ],
)
def test_nothing_is_lacking(text: str) -> None:
    assert reported(text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"build: {STEPS}\nother: {{box: a, steps: []}}\n",
            [("WY114", 1, "build", "neither pipeline build nor the file says in which box to run")],
        ),
        (
            f"box: debian 12\nbuild: {STEPS}\nother: {STEPS}\n",
            [("WY206", 1, "", "'debian 12' cannot be the name of the box's image: there is a space in it")],
        ),
        (
            "box: a\nbuild:\n  services: [“redis”]\n",
            [("WY206", 3, "build",
              "'“redis”' cannot be the name of the service's image: there is '“' (U+201C) in it")],
        ),
        (
            f"box: a\nservices:\n  - redis:6\n  - x/redis:7\nbuild: {STEPS}\n",
            [("WY207", 4, "", "the service on line 3 is called redis too")],
        ),
    ],
)  # fmt: skip
def test_what_is_missing_is_reported(text: str, said: list[tuple[str, int, str, str]]) -> None:
    assert reported(text) == said
