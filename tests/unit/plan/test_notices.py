"""Notices about a build that runs all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.plan.examples import BOX, REDIS, YML, build, facts_of, plan, settings

from sentinel.plan.notices import notices

SERVICE = "  - redis\n"


def notices_of(
    yml: str = YML,
    *,
    user: str = "",
    volumes: tuple[str, ...] = (),
    images: dict[str, Any] | None = None,
    tags: bool = False,
    **spec: Any,
) -> list[str]:
    of = build(**spec)
    said = settings(images=images or {})
    about = facts_of(of, yml=yml, with_settings=said)
    wanted = about.images
    facts = tuple(replace(REDIS, name=each.alias, ports=()) for each in wanted.services)
    made = plan(
        of,
        yml=yml,
        box=replace(BOX, user=user, volumes=volumes),
        services=facts if len(facts) > 1 else (REDIS,),
        with_settings=said,
    )
    found = list(notices(about, made))
    # The examples name no tags; a test of its own is about that.
    return [each for each in found if tags or " has no tag: " not in each]


def test_images_without_a_tag_are_named_with_what_they_are_today() -> None:
    assert notices_of(tags=True) == [
        f"image redis has no tag: it is redis:latest, today {REDIS.digest}; name a version to keep it"
    ]


def test_latest_moves_as_well_and_a_version_does_not() -> None:
    yml = "box: r.example.com:5000/a/b:1\nservices: [redis:latest]\nbuild: {steps: [{script: {code: x}}]}\n"

    assert notices_of(yml, tags=True) == [
        f"image redis:latest is today {REDIS.digest}; name a version to keep it"
    ]


def test_what_is_said_of_images_is_in_the_plan_for_the_log() -> None:
    yml = "box: wercker/rvm@1.0\nservices: [redis]\nbuild: {steps: [{script: {code: x}}]}\n"

    assert plan(yml=yml).image_notes == (
        "box wercker/rvm@1.0 is replaced by ruby:2.3 (images.rewrite)",
        f"image redis has no tag: it is redis:latest, today {REDIS.digest}; name a version to keep it",
    )


def test_a_box_that_is_gone_is_named_with_what_replaces_it() -> None:
    assert notices_of(
        "box: wercker/rvm@1.0\nservices: [redis]\nbuild: {steps: [{script: {code: x}}]}\n"
    ) == ["box wercker/rvm@1.0 is replaced by ruby:2.3 (images.rewrite)"]


def test_an_ordinary_build_has_no_notices() -> None:
    assert notices_of() == []


@pytest.mark.parametrize(
    ("target", "notice"),
    [
        ("production", []),
        (
            "prodution",
            [
                "pipeline deploy has no target 'prodution', so its steps are run (its targets: production)"
            ],
        ),
    ],
)
def test_an_unknown_deploy_target(target: str, notice: list[str]) -> None:
    assert notices_of(pipeline="deploy", deployTarget=target) == notice


def test_a_pipeline_with_targets_only() -> None:
    yml = YML.replace("  steps:\n    - script: {code: echo default}\n", "")

    assert notices_of(yml, pipeline="deploy") == [
        "pipeline deploy has no steps to run; it has targets: production"
    ]


def test_a_box_that_is_not_root_and_committed() -> None:
    assert notices_of(user="app", images={"prefix": "r.example.com"}) == [
        "the box runs as user app: /pipeline, /report and base-path are volumes, so that it can write there, and are "
        "not part of its image"
    ]
    assert notices_of(user="app") == []


def test_an_alias_that_only_root_can_learn() -> None:
    yml = YML.replace(SERVICE, "  - {id: redis, name: my_db}\n")

    assert notices_of(yml) == []
    assert notices_of(yml, user="1000") == [
        "service my_db is not a DNS name, and only a box that runs as root can resolve it: use 127.0.0.1 or "
        "give it a name "
        "of small letters, digits and dashes"
    ]


def test_what_is_ignored_is_reported() -> None:
    yml = YML.replace("box: debian:12", "box: {id: debian, cmd: sleep 9, volumes: /a:/b}").replace(
        SERVICE, "  - {id: redis, url: 'file://x#build'}\n"
    )

    assert notices_of(yml, pod={"services": {"redsi": {}, "redis": {}}}) == [
        "cmd of the box is ignored: 'sleep 9' is not a shell",
        "volumes of debian is not supported, and ignored",
        "url of redis is not supported, and ignored",
        "spec.pod.services names redsi, which is not a service of this pipeline",
    ]


def test_a_port_that_box_and_service_have_both() -> None:
    yml = YML.replace("box: debian:12", "box: {id: debian, ports: ['80', '6379']}")

    assert notices_of(yml) == [
        "the box and service redis both have port 6379/tcp, and share one network: what listens there in the box will "
        "fail"
    ]
    assert REDIS.ports == ("6379/tcp",)


COMMITTED = {"prefix": "r.example.com"}


def test_volumes_of_the_box_s_image_are_not_committed() -> None:
    volumes = ("/data/", "/var/lib/db")
    notice = (
        "VOLUME /data, /var/lib/db of debian:12 is not committed: what steps write there is not in the "
        "pushed image"
    )

    assert notices_of(volumes=volumes, images=COMMITTED) == [notice]
    assert notices_of(volumes=volumes) == []


@pytest.mark.parametrize("volume", ["/pipeline", "/pipeline/source", "/"])
def test_a_volume_that_holds_the_project_loses_it(volume: str) -> None:
    assert notices_of(volumes=(volume,), images=COMMITTED) == [
        f"the project is NOT in the pushed image: /pipeline/source lies in VOLUME {volume} of debian:12, and "
        "volumes are not committed; set base-path to another directory"
    ]


def test_a_changed_name_is_reported() -> None:
    (notice,) = notices_of(images=COMMITTED, application={"name": "My App"})

    assert notice.startswith(
        "application 'My App' is not a valid repository name: its image goes to my-app-"
    )
    assert notices_of(images=COMMITTED, application={"name": "MyApp"}) == []
    explicit = {"repository": "r.example.com/team/x"}
    assert notices_of(images=COMMITTED, application={"name": "My App"}, image=explicit) == []


def test_services_whose_variables_have_the_same_names() -> None:
    yml = YML.replace(
        SERVICE,
        "  - {id: redis, name: Redis}\n  - redis\n  - {id: a, name: my-db}\n  - {id: a, name: my.db}\n",
    )

    assert notices_of(yml) == [
        "services Redis and redis have the same variables, REDIS_PORT and the like: those of redis are used",
        "services my-db and my.db have the same variables, MY_DB_PORT and the like: those of my.db are used",
    ]
