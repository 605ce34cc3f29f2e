"""The shapes of real files: every pipeline and deploy target planned by the real code, nothing of theirs run.

Read where they lie, beside the checkout. No registry is asked: an image is what a stand-in says, a step is a standard
one or not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sentinel.api.build import Build
from sentinel.api.reasons import Reason
from sentinel.config.load import Loaded, load, pipeline_of
from sentinel.config.model import Box, Pipeline, Step
from sentinel.errors import UserError
from sentinel.plan.facts import Facts
from sentinel.plan.internal import is_shipped
from sentinel.plan.model import ImageFacts, Plan, PlanSource, StepFacts
from sentinel.plan.plan import make_plan
from sentinel.settings import Settings
from sentinel.steps.standard import find_standard, standard_facts, suggestion
from sentinel.steps.wanted import WantedStep
from tests.corpus import REAL
from tests.corpus.values import value_of

STARTED = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
SOURCE = PlanSource(
    url="https://github.com/acme/hello.git",
    commit="c0ffee" + "0" * 34,
    ref="master",
    branch="master",
    subject="Say hello",
)
PRIVATE = ("olger/box-yeoman*", "wcandillon/zorba*", "electblake/*")
"""Private boxes of before Docker images: only their owners know what to run instead, and say so in `images.rewrite`."""

_PORTS = {"postgres": 5432, "redis": 6379, "mongo": 27017, "elasticsearch": 9200}
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One pipeline of a file, or one of its deploy targets. `why` says why there is no plan.

    `engine`: nothing but a Docker daemon is missing. `private`: it has a plan because a rule names its private box.
    """

    file: str
    pipeline: str
    target: str = ""
    plan: Plan | None = None
    why: str = ""
    engine: bool = False
    private: bool = False

    @property
    def name(self) -> str:
        return self.pipeline + (f":{self.target}" if self.target else "")

    @property
    def planned(self) -> bool:
        return self.plan is not None or self.engine


def accepted() -> Iterator[tuple[str, Loaded]]:
    """Number and content of each real file that the original accepts."""
    for path in sorted(REAL.glob("[0-9]*.yml")):
        expected = path.with_suffix(".expected.json").read_text()
        if '"error": null' in expected:
            yield path.stem, load(path.read_bytes())


def shapes_of(file: str, loaded: Loaded) -> list[Shape]:
    """All pipelines of a file; of one with deploy targets, each target."""
    if loaded.config is None:
        return []
    return [
        _shape(file, loaded, pipeline, target)
        for pipeline in loaded.config.pipelines.values()
        for target in ((*pipeline.targets,) if pipeline.targets else ("",))
    ]


def _shape(file: str, loaded: Loaded, pipeline: Pipeline, target: str) -> Shape:
    shape = Shape(file=file, pipeline=pipeline.name, target=target)
    why = ""
    for private in (False, True):
        try:
            plan = plan_of(loaded, pipeline, target, private=private)
            return replace(shape, plan=plan, private=private)
        except UserError as error:
            why = error.message
    return replace(shape, why=why, engine=_only_engine(why))


def _only_engine(why: str) -> bool:
    """Whether the problem that this message names is that one. Registry steps were looked for before."""
    return "docker: true" in why


def plan_of(loaded: Loaded, pipeline: Pipeline, target: str, *, private: bool) -> Plan:
    """The Plan of a pipeline. Raises UserError as a Build would end."""
    assert loaded.config is not None
    chosen = pipeline_of(loaded, pipeline.name)
    build = build_of(chosen, loaded, target)
    images: dict[str, object] = {}
    if private:
        images["rewrite"] = [{"pattern": each, "image": "debian:12"} for each in PRIVATE]
    images["prefix"] = "registry.example.com/builds"
    buildkit = {"address": "tcp://buildkit.example.com:1234", "tls_secret": "buildkit-client"}
    settings = Settings(
        image="registry.example.com/sentinel:1",
        images=images,  # type: ignore[arg-type]
        store={"bucket": "results"},  # type: ignore[arg-type]
        engine={"buildkit": buildkit, "containers": True},  # type: ignore[arg-type]
    )
    # Before the internal steps, so that a missing Docker Engine hides no missing step.
    facts = _step_facts([*chosen.targets.get(target, chosen.steps), *chosen.after_steps])
    about = Facts(
        build=build,
        settings=settings,
        source=SOURCE,
        config=loaded.config,
        pipeline=chosen,
        started=STARTED,
    )
    assert about.steps is not None
    return make_plan(
        about,
        box=facts_of(about.images.box),
        services=[facts_of(each) for each in about.images.services],
        steps=facts,
        attempt=1,
    )


def build_of(pipeline: Pipeline, loaded: Loaded, target: str) -> Build:
    """A Build of it, with a harmless value for each variable that its options name."""
    assert loaded.config is not None
    every = (*pipeline.steps, *pipeline.after_steps, *pipeline.targets.get(target, ()))
    texts = [text for step in every for _, text in step.properties]
    boxes = [pipeline.box or loaded.config.box, *(pipeline.services or loaded.config.services)]
    texts += [part for box in boxes if box for part in (box.id, box.tag, *dict(box.auth).values())]
    texts += [text for box in boxes if box for _, text in box.env]
    names = {name for text in texts for name in _VARIABLE.findall(text)}
    names |= {
        f"{text}_PRIVATE"
        for step in every
        for key, text in step.properties
        if step.name == "add-ssh-key" and key == "keyname"
    }
    if any(step.name == "heroku-deploy" for step in every):
        names |= {"HEROKU_KEY", "HEROKU_APP_NAME"}
    if any(is_shipped(step) for step in every):
        names |= {"STEP_REGISTRY_URL", "STEP_REGISTRY_TOKEN"}
    # Of the names that look like the build's own, one file makes a variable of a script's.
    names -= {name for name in names if name.startswith("WERCKER_") and name != "WERCKER_VERSION"}
    return Build.parse(
        {
            "metadata": {
                "name": "hello-1",
                "namespace": "team",
                "uid": "6f0d3a52-9b1c-4e7e-8a55-3d2f10c4b7aa",
            },
            "spec": {
                "source": {"git": {"url": SOURCE.url, "ref": SOURCE.ref}},
                "pipeline": pipeline.name,
                "env": [{"name": name, "value": value_of(name)} for name in sorted(names)],
                **({"deployTarget": target} if target else {}),
            },
        }
    )


def facts_of(box: Box) -> ImageFacts:
    """A stand-in image: what a registry would say of it, as far as a plan needs it."""
    name = box.image.rpartition("/")[2].partition(":")[0]
    port = next((port for known, port in _PORTS.items() if known in name), None)
    return ImageFacts(
        name=box.image,
        reference=f"registry.example.com/stand-in@sha256:{'a' * 64}",
        digest=f"sha256:{'a' * 64}",
        ports=(f"{port}/tcp",) if port else (),
    )


def _step_facts(steps: Sequence[Step]) -> dict[str, StepFacts]:
    found: dict[str, StepFacts] = {}
    missing: list[str] = []
    for step in steps:
        if step.kind != "registry" and not is_shipped(step):
            continue
        wanted = WantedStep(owner=step.owner, name=step.name, version=step.version, url=step.url)
        standard = find_standard(wanted)
        if standard is None:
            missing.append(f"there is no step {step.identifier}{suggestion(wanted)}")
        else:
            found[step.identifier] = standard_facts(standard, wanted)
    if missing:
        raise UserError("; ".join(dict.fromkeys(missing)), reason=Reason.STEP_NOT_FOUND)
    return found
