"""What a Plan is made of, before any registry was asked: each fact of a Build once.

Not here: what registries have (`ImageFacts`, `StepFacts`), and the Plan itself (`plan.py`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from sentinel.api.build import Build
from sentinel.api.reasons import Reason
from sentinel.config.model import Config, Pipeline, Step
from sentinel.errors import UserError
from sentinel.layout import BASE_PATH
from sentinel.plan.generic import generic_variables
from sentinel.plan.images import WantedImages, wanted_images
from sentinel.plan.internal import check_internal
from sentinel.plan.interpolate import Budget, hidden_names, public_values
from sentinel.plan.model import PlanSource, StepPhase
from sentinel.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A Build, where its files are, and its configuration; what follows from them is computed when it is first needed.

    `started` becomes WERCKER_MAIN_PIPELINE_STARTED, in whole seconds. `budget` is shared by all that is expanded for
    the Plan. Every property may raise UserError: ConfigInvalid, StepNotFound, InvalidImageName.
    """

    build: Build
    settings: Settings
    source: PlanSource
    config: Config
    pipeline: Pipeline
    started: datetime
    budget: Budget = field(default_factory=Budget, compare=False)

    @property
    def base_path(self) -> str:
        """Where the project is in the box."""
        return self.pipeline.base_path or BASE_PATH

    @cached_property
    def source_dir(self) -> str:
        """Where its steps begin: base-path, or a directory below it."""
        base, below = self.base_path, self.config.source_dir.strip("/")
        path = posixpath.normpath(f"{base}/{below}")
        if path != posixpath.normpath(base) and not path.startswith(f"{base}/"):
            raise UserError(
                f"source-dir {self.config.source_dir} leads outside the source: it must be a path below the "
                "project's root",
                reason=Reason.CONFIG_INVALID,
            )
        return path

    @cached_property
    def generic(self) -> tuple[tuple[str, str], ...]:
        """wercker's own variables, in its order."""
        return generic_variables(
            self.build,
            source=self.source,
            settings=self.settings,
            started=self.started,
            base_path=self.base_path,
            source_dir=self.source_dir,
        )

    @cached_property
    def public(self) -> Mapping[str, str]:
        """The variables that wercker.yml may use in the fields of boxes and services."""
        return {**dict(self.generic), **public_values(self.build.spec.env)}

    @cached_property
    def hidden(self) -> frozenset[str]:
        """The variables that it may not: their values come from Secrets."""
        return hidden_names(self.build.spec.env)

    @cached_property
    def images(self) -> WantedImages:
        """The images to look up, with the public variables in their ids."""
        images = self.settings.images
        return wanted_images(
            self.config,
            self.pipeline,
            public=self.public,
            hidden=self.hidden,
            budget=self.budget,
            rules=images.rewrite,
            defaults=images.rewrite_defaults,
            parent_image=self.source.parent_image,
        )

    @cached_property
    def steps(self) -> tuple[tuple[StepPhase, Step], ...]:
        """The steps that run, in order. Raises UserError StepNotFound for what cannot run here."""
        pipeline, target = self.pipeline, self.build.spec.deploy_target
        main = pipeline.targets.get(target, pipeline.steps) if target else pipeline.steps
        chosen: list[tuple[StepPhase, Step]] = [("main", step) for step in main]
        chosen += [("after", step) for step in pipeline.after_steps]
        check_internal([step for _, step in chosen], self.settings)
        return tuple(chosen)
