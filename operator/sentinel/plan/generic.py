"""wercker's own variables: what every build and every deploy knows of itself (wercker.md "The environment").

The order is part of it. Not here: what wercker.yml, the Build and the services add (`environment`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sentinel.api.build import Build
from sentinel.layout import CACHE_DIR, OUTPUT_DIR, PIPELINE_DIR, REPORT_DIR, WERCKER_DIR
from sentinel.plan.model import PlanSource
from sentinel.plan.source import GitUrl, schemeless
from sentinel.settings import Settings

LAST_BUILD_BOX = "WERCKER_LAST_BUILD_BOX"
"""The image of the Build's parent, as in the original design's `box: $WERCKER_LAST_BUILD_BOX`."""

HERE = ("localhost", "127.0.0.1", "::1")
"""What no proxy is asked for: services are on the pod's own addresses."""


def is_deploy(build: Build) -> bool:
    """Whether the build has a deploy's variables: its pipeline is `deploy`, or it names a deploy target or a parent.

    wercker decided by the verb of its command line, and ran with `deploy` whatever followed another pipeline; a Build
    has no verb.
    """
    spec = build.spec
    return spec.pipeline == "deploy" or bool(spec.deploy_target) or spec.parent is not None


def application_name(build: Build, *, source: PlanSource) -> str:
    """The application's name: the spec's, else the repository's or the archive's file name, else the Build's."""
    return build.spec.application.name or source.project.repository or build.name


def application_id(build: Build, *, source: PlanSource) -> str:
    """The application's id: the spec's, else its name."""
    return build.spec.application.id or application_name(build, source=source)


def generic_variables(
    build: Build,
    *,
    source: PlanSource,
    settings: Settings,
    started: datetime,
    base_path: str,
    source_dir: str,
) -> tuple[tuple[str, str], ...]:
    """wercker's own variables, in its order.

    Two are what upstream meant and not what it did: WERCKER_ROOT follows base-path, and WERCKER_REPORT_DIR is
    where the reports are. The five of the original design's diagram come last.
    """
    spec = build.spec
    git = GitUrl() if source.digest else source.project
    name = application_name(build, source=source)
    application = application_id(build, source=source)
    owner = spec.application.owner or git.owner
    base = settings.base_url.rstrip("/")
    run_url = f"{base}/{owner}/{name}/runs/{spec.pipeline}/{build.uid}"
    if is_deploy(build):
        verb = [
            ("DEPLOY", "true"),
            ("WERCKER_DEPLOY_ID", build.uid),
            ("WERCKER_DEPLOY_URL", run_url),
        ]
        if spec.deploy_target:
            verb.append(("WERCKER_DEPLOYTARGET_NAME", spec.deploy_target))
    else:
        verb = [
            ("BUILD", "true"),
            ("CI", "true"),
            ("WERCKER_BUILD_ID", build.uid),
            ("WERCKER_BUILD_URL", run_url),
        ]
    return (
        ("WERCKER", "true"),
        ("WERCKER_ROOT", base_path),
        ("WERCKER_SOURCE_DIR", source_dir),
        ("WERCKER_CACHE_DIR", CACHE_DIR),
        ("WERCKER_OUTPUT_DIR", OUTPUT_DIR),
        ("WERCKER_PIPELINE_DIR", PIPELINE_DIR),
        ("WERCKER_REPORT_DIR", REPORT_DIR),
        ("WERCKER_APPLICATION_ID", application),
        ("WERCKER_APPLICATION_NAME", name),
        ("WERCKER_APPLICATION_OWNER_NAME", owner),
        ("WERCKER_APPLICATION_URL", spec.application.url or f"{base}/#applications/{application}"),
        ("TERM", "xterm-256color"),
        *verb,
        ("WERCKER_RUN_ID", build.uid),
        ("WERCKER_RUN_URL", run_url),
        ("WERCKER_GIT_DOMAIN", git.domain),
        ("WERCKER_GIT_OWNER", git.owner),
        ("WERCKER_GIT_REPOSITORY", git.repository),
        ("WERCKER_GIT_BRANCH", source.branch),
        ("WERCKER_GIT_TAG", source.tag),
        ("WERCKER_GIT_COMMIT", source.commit),
        ("WERCKER_STARTED_BY", spec.started_by),
        ("WERCKER_MAIN_PIPELINE_STARTED", str(int(started.astimezone(UTC).timestamp()))),
        *([(LAST_BUILD_BOX, source.parent_image)] if source.parent_image else []),
        *diagram_variables(build, source=source),
    )


def diagram_variables(build: Build, *, source: PlanSource) -> tuple[tuple[str, str], ...]:
    """The names in the original design's diagram, so that what was written for it works: `cd $BUILD_DIR/source`,
    `cp x $OUTPUT_DIR`, `cp -r $WERCKER_DIR/source $BUILD_DIR/`, `git clone https://$GIT_URL`.

    GIT_URL is written as there, without a scheme, and never holds credentials; it is empty for an archive.
    """
    return (
        ("BUILD_ID", build.uid),
        ("BUILD_DIR", PIPELINE_DIR),
        ("WERCKER_DIR", WERCKER_DIR),
        ("GIT_URL", schemeless(source.url) if source.commit else ""),
        ("OUTPUT_DIR", OUTPUT_DIR),
    )


def proxy_variables(
    build: Build, *, settings: Settings, services: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """The operator's proxies for builds, in both spellings, and what goes past them.

    A variable that the Build sets, in either spelling, is left to it: programs disagree which of the two counts.
    """
    proxy = settings.proxy
    values = {"http_proxy": proxy.http, "https_proxy": proxy.https}
    if not any(values.values()):
        return ()
    past = dict.fromkeys([*HERE, *services, *(each for each in proxy.no_proxy if each)])
    values["no_proxy"] = ",".join(past)
    said = {each.name.lower() for each in build.spec.env}
    return tuple(
        (spelling, value)
        for name, value in values.items()
        if value and name not in said
        for spelling in (name, name.upper())
    )
