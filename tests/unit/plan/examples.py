"""One Build and what belongs to it, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sentinel.api.build import Build
from sentinel.config.load import load, pipeline_of
from sentinel.plan.facts import Facts
from sentinel.plan.model import ImageFacts, Plan, PlanSource, StepFacts
from sentinel.plan.plan import make_plan
from sentinel.settings import Settings

UID = "6f0d3a52-9b1c-4e7e-8a55-3d2f10c4b7aa"
STARTED = datetime(2026, 11, 23, 9, 30, 15, 250000, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64

SOURCE = PlanSource(
    url="https://git.example.com/acme/hello.git",
    commit="c0ffee" + "0" * 34,
    ref="main",
    branch="main",
    subject="Say hello",
)
BOX = ImageFacts(
    name="debian:12",
    reference=f"docker.io/library/debian@{DIGEST}",
    digest=DIGEST,
    env=(("PATH", "/usr/bin:/bin"),),
    cmd=("bash",),
)
REDIS = ImageFacts(
    name="redis",
    reference=f"docker.io/library/redis@{DIGEST}",
    digest=DIGEST,
    env=(("PATH", "/usr/bin"), ("REDIS_VERSION", "7")),
    ports=("6379/tcp",),
    entrypoint=("redis-server",),
)

YML = """\
box: debian:12
services:
  - redis
command-timeout: 90
build:
  steps:
    - script:
        name: compile it
        code: make
    - script:
      name: test
      cwd: $WERCKER_ROOT/tests
      code: make check
  after-steps:
    - script:
        code: echo $WERCKER_RESULT
deploy:
  steps:
    - script: {code: echo default}
  production:
    - script: {code: echo production}
"""


def build(*, name: str = "hello-42", **spec: Any) -> Build:
    """A Build as the API server gives it."""
    source = {"git": {"url": SOURCE.url, "ref": "main"}}
    return Build.parse(
        {
            "metadata": {"name": name, "namespace": "team", "uid": UID},
            "spec": {"source": source, **spec},
        }
    )


def settings(**said: Any) -> Settings:
    """Settings, whatever the environment says."""
    return Settings(image="registry.example.com/sentinel:1", **said)


def plan(
    of: Build | None = None,
    *,
    yml: str = YML,
    box: ImageFacts = BOX,
    services: tuple[ImageFacts, ...] = (REDIS,),
    steps: Mapping[str, StepFacts] | None = None,
    source: PlanSource = SOURCE,
    with_settings: Settings | None = None,
) -> Plan:
    """The plan of the first attempt."""
    of = of or build()
    facts = facts_of(of, yml=yml, source=source, with_settings=with_settings)
    return make_plan(facts, box=box, services=services, steps=steps or {}, attempt=1)


def facts_of(
    of: Build,
    *,
    yml: str = YML,
    source: PlanSource = SOURCE,
    with_settings: Settings | None = None,
) -> Facts:
    """What that plan is made of."""
    loaded = load(yml.encode())
    assert loaded.config is not None
    return Facts(
        build=of,
        settings=with_settings or settings(),
        source=source,
        config=loaded.config,
        pipeline=pipeline_of(loaded, of.spec.pipeline),
        started=STARTED,
    )
