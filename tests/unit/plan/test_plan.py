"""What a Plan is made of, and what is refused before there is a pod."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.plan.examples import BOX, REDIS, UID, YML, build, plan, settings

from sentinel.api.reasons import Reason
from sentinel.config.load import load, pipeline_of
from sentinel.config.model import Step
from sentinel.errors import UserError
from sentinel.plan import options
from sentinel.plan.environment import resolve
from sentinel.plan.images import wanted_images
from sentinel.plan.links import exposed
from sentinel.plan.model import VERSION, PlanImage, PlanStep, StepFacts
from sentinel.plan.options import check_options


def reason_of(error: pytest.ExceptionInfo[UserError]) -> Reason | None:
    return error.value.reason


def test_steps_and_after_steps_are_numbered_through() -> None:
    def step(ordinal: int, id_: str, **said: Any) -> PlanStep:
        fixed: dict[str, Any] = {
            "owner": "wercker",
            "name": "script",
            "display_name": "script",
            "phase": "main",
            "kind": "script",
            "command_timeout": 3600.0,
            "no_response_timeout": 300.0,
        }
        return PlanStep(ordinal=ordinal, id=id_, **{**fixed, **said})

    assert plan().steps == (
        step(1, "script-07509983", display_name="compile it", code="make"),
        step(
            2, "script-ab3d8432", display_name="test", cwd="$WERCKER_ROOT/tests", code="make check"
        ),
        step(3, "script-ebc6cdc2", phase="after", code="echo $WERCKER_RESULT"),
    )


def test_timeouts_of_the_build_go_before_those_of_the_file() -> None:
    said = build(timeouts={"command": "2h", "noResponse": "90s", "pending": "1m", "build": "3h"})

    made = plan(said)

    assert {(s.command_timeout, s.no_response_timeout) for s in made.steps} == {(7200.0, 90.0)}
    assert (made.pending_timeout, made.build_timeout) == (60.0, 10800.0)


@pytest.mark.parametrize(
    ("said", "seconds"), [("7.5", 420.0), ("90", 3600.0), ("0", 1500.0), ('"30"', 1500.0)]
)
def test_a_timeout_of_the_file_is_in_minutes_and_clamped(said: str, seconds: float) -> None:
    made = plan(yml=YML.replace("command-timeout: 90", f"command-timeout: {said}"))

    assert made.steps[0].command_timeout == seconds


@pytest.mark.parametrize(
    ("target", "code"),
    [("", "echo default"), ("production", "echo production"), ("x", "echo default")],
)
def test_a_deploy_target_replaces_the_steps_where_there_is_one(target: str, code: str) -> None:
    made = plan(build(pipeline="deploy", deployTarget=target))

    assert [step.code for step in made.steps] == [code]
    assert made.deploy


def test_options_of_a_step_become_variables_with_a_live_dollar() -> None:
    yml = "box: x\nbuild:\n  steps:\n    - script:\n        code: a\n        key-id: $A\n        on: yes\n"

    assert plan(yml=yml, services=()).steps[0].exports == (
        ("WERCKER_SCRIPT_KEY_ID", "$A"),
        ("WERCKER_SCRIPT_ON", "true"),
    )


def test_base_path_and_source_dir_move_the_source() -> None:
    yml = YML.replace("build:\n", "source-dir: /sub/\nbuild:\n  base-path: /go/src/x/\n")

    made = plan(yml=yml)

    assert (made.base_path, made.source_dir) == ("/go/src/x", "/go/src/x/sub")
    env = dict(resolve(made.variables, secrets={}, config_maps={}).env)
    assert (env["WERCKER_ROOT"], env["WERCKER_SOURCE_DIR"]) == ("/go/src/x", "/go/src/x/sub")


def test_a_source_dir_that_leaves_the_source_is_refused() -> None:
    with pytest.raises(UserError, match=r"source-dir \.\./x leads outside the source") as caught:
        plan(yml=f"source-dir: ../x\n{YML}")

    assert reason_of(caught) is Reason.CONFIG_INVALID


@pytest.mark.parametrize(
    ("cmd", "shell"),
    [
        ("/bin/sh", ("/bin/sh",)),
        ("bash -l", ("bash",)),
        ("ash", ("ash",)),
        ("sleep 9", ()),
        ("", ()),
    ],
)
def test_a_boxs_cmd_that_names_a_shell_chooses_it(cmd: str, shell: tuple[str, ...]) -> None:
    yml = YML.replace("box: debian:12", f"box: {{id: debian, cmd: '{cmd}', entrypoint: tini -- }}")

    made = plan(yml=yml)

    assert (made.shell, made.entrypoint) == (shell, ("tini", "--"))


def test_words_with_an_open_quote_are_refused() -> None:
    yml = YML.replace("box: debian:12", 'box: {id: debian, cmd: "sh -c \'x"}')

    with pytest.raises(UserError, match=r"cmd of debian on line 1 .* No closing quotation"):
        plan(yml=yml)


FACTS = StepFacts(
    version="1.4.0",
    digest="d" * 64,
    defaults=(("bucket-url", ""), ("opts", "--acl-private"), ("delete", "")),
    required=frozenset({"bucket-url"}),
)
S3SYNC = """\
box: x
build:
  steps:
    - lab/s3sync@1.4.0:
        key_id: $KEY
        delete: yes
  after-steps:
    - lab/notify: {on: failed}
"""


def test_a_step_of_a_registry_has_its_version_digest_and_the_manifest_s_options_first() -> None:
    bare = StepFacts(version="2.0.0", digest="e" * 64)

    made = plan(yml=S3SYNC, services=(), steps={"lab/s3sync@1.4.0": FACTS, "lab/notify": bare})

    assert made.steps == (
        PlanStep(
            ordinal=1,
            id="s3sync-07509983",
            owner="lab",
            name="s3sync",
            display_name="s3sync",
            phase="main",
            kind="step",
            version="1.4.0",
            digest="d" * 64,
            exports=(
                ("WERCKER_S3SYNC_BUCKET_URL", ""),
                ("WERCKER_S3SYNC_OPTS", "--acl-private"),
                ("WERCKER_S3SYNC_DELETE", "true"),
                ("WERCKER_S3SYNC_KEY_ID", "$KEY"),
            ),
            command_timeout=1500.0,
            no_response_timeout=300.0,
        ),
        PlanStep(
            ordinal=2,
            id="notify-ab3d8432",
            owner="lab",
            name="notify",
            display_name="notify",
            phase="after",
            kind="step",
            version="2.0.0",
            digest="e" * 64,
            exports=(("WERCKER_NOTIFY_ON", "failed"),),
            command_timeout=1500.0,
            no_response_timeout=300.0,
        ),
    )


def test_a_required_option_that_is_missing_is_a_warning_at_its_step() -> None:
    config = load(S3SYNC.replace("delete:", "delte:").encode()).config
    assert config is not None
    steps = config.pipelines["build"].steps

    found = check_options(steps, {"lab/s3sync@1.4.0": FACTS}, pipeline="build")

    assert [(d.code, d.severity, d.line, d.message, d.hint) for d in found] == [
        (
            "WY310",
            "warning",
            4,
            "lab/s3sync@1.4.0 requires the option bucket-url, which is missing",
            "add bucket-url: below the step",
        ),
        ("WY308", "warning", 4, "lab/s3sync@1.4.0 has no option delte", "did you mean delete?"),
    ]


def test_internal_steps_that_need_an_engine_are_refused_all_at_once() -> None:
    yml = """\
box: x
build:
  steps:
    - internal/docker-build: {image-name: a}
    - internal/docker-push: {image-name: a, tag: x}
  after-steps:
    - internal/docker-run: {image: a}
"""

    with pytest.raises(UserError) as caught:
        plan(yml=yml, services=())

    assert reason_of(caught) is Reason.STEP_NOT_FOUND
    assert caught.value.message == (
        "internal/docker-build (line 4) needs a BuildKit, which the operator's setting engine.buildkit.address names: "
        "build the image in a step with a tool of the box, such as buildah or kaniko; internal/docker-push (line 5) "
        "needs an image of internal/docker-build (image-name), and so a BuildKit, which the operator's setting "
        "engine.buildkit.address names; internal/docker-run (line 7) needs containers in the build's pod, which the "
        "operator's setting engine.containers allows"
    )


def test_internal_steps_have_their_place_in_the_plan() -> None:
    yml = """\
box: x
build:
  steps:
    - internal/docker-push: {repository: a/b, tag: $TAG}
    - internal/watch: {code: make watch, reload: true}
"""

    push, watch = plan(yml=yml, services=()).steps

    assert (push.kind, push.properties, push.exports) == (
        "operator",
        (("repository", "a/b"), ("tag", "$TAG")),
        (),
    )
    assert (watch.kind, watch.code) == ("script", "make watch")


def test_a_shipped_internal_step_is_a_step_of_our_image() -> None:
    yml = """\
box: x
build:
  steps:
    - internal/publish-step: {owner: acme, auth-token: $TOKEN}
"""
    facts = StepFacts(
        version="3.0.0",
        digest="",
        defaults=(("owner", ""), ("auth-token", ""), ("private", "false")),
        standard=True,
    )

    (step,) = plan(yml=yml, services=(), steps={"internal/publish-step": facts}).steps

    assert (step.kind, step.owner, step.name, step.standard, step.version, step.digest) == (
        "step", "internal", "publish-step", True, "3.0.0", ""
    )  # fmt: skip
    assert (step.exports, step.properties) == (
        (
            ("WERCKER_PUBLISH_STEP_OWNER", "acme"),
            ("WERCKER_PUBLISH_STEP_AUTH_TOKEN", "$TOKEN"),
            ("WERCKER_PUBLISH_STEP_PRIVATE", "false"),
        ),
        (),
    )


SCRATCH = """\
box: {id: x, user: "%s"}
build:
  base-path: /go/src/x
  steps:
    - internal/docker-scratch-push: {name: push, repository: a/b, image-name: ignored}
"""


def test_an_image_from_scratch_is_of_the_output_or_else_the_source() -> None:
    found = plan(yml=SCRATCH % "0", services=())

    assert [step.kind for step in found.steps] == ["operator"]
    assert found.scratch_directories == ("/pipeline/output", "/go/src/x")


@pytest.mark.parametrize(
    ("user", "box", "pod", "why"),
    [
        (
            "1000",
            {},
            {},
            "the box runs as user 1000, so that /pipeline is a volume: run it as root",
        ),
        ("", {"user": "app"}, {}, "the box runs as user app, so that /pipeline is a volume"),
        ("", {}, {"readOnlyRootFilesystem": True}, "the box's root file system is read-only"),
        ("", {"volumes": ("/pipeline/",)}, {}, "/pipeline/output lies in VOLUME /pipeline/ of"),
    ],
)
def test_an_image_from_scratch_of_a_box_that_writes_to_volumes_is_refused(
    user: str, box: dict[str, Any], pod: dict[str, Any], why: str
) -> None:
    asked = build(image={"commit": "never"}, pod={"box": {"securityContext": pod}} if pod else {})

    with pytest.raises(UserError) as caught:
        plan(asked, yml=SCRATCH % user, box=replace(BOX, **box), services=())

    assert reason_of(caught) is Reason.COMMIT_UNSUPPORTED
    assert caught.value.message.startswith(
        f"internal/docker-scratch-push (step push) can push only what is in the box itself: {why}"
    )


def test_options_of_a_shipped_internal_step_are_checked_with_the_file_alone() -> None:
    yml = b"box: x\nbuild: {steps: [{internal/publish-step: {ownr: acme}}]}\n"
    loaded = load(yml)
    steps = pipeline_of(loaded, "build").steps
    facts = StepFacts(
        version="3.0.0", digest="", defaults=(("owner", ""),), required=frozenset({"owner"})
    )

    assert [d.code for d in loaded.diagnostics] == ["WY310", "WY308"]
    assert check_options(steps, {"internal/publish-step": facts}, pipeline="build") == ()


def test_two_services_of_one_name_are_refused() -> None:
    yml = YML.replace("  - redis\n", "  - redis\n  - other/redis:3\n")

    with pytest.raises(UserError, match=r"two services are called redis \(lines 3 and 4"):
        plan(yml=yml, services=(REDIS, REDIS))


def test_a_pipeline_that_wants_a_docker_daemon_is_refused() -> None:
    with pytest.raises(UserError, match="docker: true of pipeline build needs a Docker daemon"):
        plan(yml=YML.replace("build:\n", "build:\n  docker: true\n"))


@pytest.mark.parametrize(
    ("entries", "ports"),
    [
        (("6379/tcp", "53/udp"), ((53, "udp"), (6379, "tcp"))),
        (("80", "8080:80", "127.0.0.1:81:80/TCP"), ((80, "tcp"),)),
        (("", "x", "0", "70000", "1-9", "$PORT"), ()),
    ],
)
def test_exposed_ports_are_read_in_all_their_forms(
    entries: tuple[str, ...], ports: tuple[tuple[int, str], ...]
) -> None:
    assert exposed(entries) == ports


def test_services_wait_on_tcp_ports_only() -> None:
    made = plan(services=(replace(REDIS, ports=("6379/tcp", "53/udp")),))

    assert [service.ports for service in made.services] == [(6379,)]


@pytest.mark.parametrize(
    ("pipeline", "box", "services"),
    [
        ("inherits", "top:1", ["a", "b"]),
        ("own", "mine:2", ["c"]),
        ("none", "top:1", []),
    ],
)
def test_box_and_services_of_the_pipeline_replace_those_of_the_file(
    pipeline: str, box: str, services: list[str]
) -> None:
    yml = """\
box: {id: top, tag: 1}
services: [a, b]
inherits: {steps: []}
own: {box: "mine:2", services: [c]}
none: {services: []}
"""
    config = load(yml.encode()).config
    assert config is not None

    wanted = wanted_images(config, config.pipelines[pipeline], public={})

    assert (wanted.box.image, [each.image for each in wanted.services]) == (box, services)


def test_variables_in_an_images_name_are_replaced() -> None:
    config = load(b"box: {id: $REG/app, tag: '${TAG}'}\nbuild: {}\n").config
    assert config is not None

    wanted = wanted_images(
        config, config.pipelines["build"], public={"REG": "r.example.com:5000", "TAG": "7"}
    )

    assert wanted.box.image == "r.example.com:5000/app:7"


@pytest.mark.parametrize(
    ("box", "message", "reason"),
    [
        ("", "neither pipeline build nor the file says in which box", Reason.CONFIG_INVALID),
        ("box: $UNSET", r"'' on line 1 .*\(\$UNSET with its variables", Reason.INVALID_IMAGE_NAME),
        ("box: a b", "'a b' on line 1", Reason.INVALID_IMAGE_NAME),
    ],
)
def test_without_an_image_there_is_nothing_to_run_in(
    box: str, message: str, reason: Reason
) -> None:
    config = load(f"{box}\nbuild: {{}}\n".encode()).config
    assert config is not None

    with pytest.raises(UserError, match=message) as caught:
        wanted_images(config, config.pipelines["build"], public={})

    assert reason_of(caught) is reason


@pytest.mark.parametrize(
    ("spec", "said", "image"),
    [
        ({}, {}, PlanImage()),
        (
            {},
            {"images": {"prefix": "r.example.com/ci/", "latest": "every"}},
            PlanImage(commit="end", repository="r.example.com/ci/team/hello", latest="every"),
        ),
        (
            {
                "repository": "r.example.com/Acme/Hello",
                "pushSecretRef": {"name": "push"},
                "pullSecretRefs": [{"name": "pull"}],
                "excludePaths": ["/home/ci/.netrc"],
            },
            {},
            PlanImage(
                commit="end",
                repository="r.example.com/acme/hello",
                push_secret="push",
                pull_secrets=("pull",),
                exclude_paths=("/home/ci/.netrc",),
            ),
        ),
        (
            {"commit": "never", "repository": "r/x", "pullSecretRefs": [{"name": "pull"}]},
            {},
            PlanImage(pull_secrets=("pull",)),
        ),
    ],
)
def test_where_the_box_is_pushed(
    spec: dict[str, Any], said: dict[str, Any], image: PlanImage
) -> None:
    assert plan(build(image=spec), with_settings=settings(**said)).image == image


@pytest.mark.parametrize("commit", ["onFailure", "eachStep"])
def test_a_plan_that_older_operators_cannot_follow_says_so(commit: str) -> None:
    made = plan(build(image={"repository": "r/x", "commit": commit}))
    assert (made.image.commit, made.version) == (commit, VERSION)
    assert plan(build(image={"repository": "r/x", "commit": "end"})).version < VERSION
    # Without a repository there is nothing to commit.
    assert plan(build(image={"commit": commit})).version < VERSION


def test_a_read_only_box_cannot_be_committed() -> None:
    said = build(
        image={"repository": "r/x"},
        pod={"box": {"securityContext": {"readOnlyRootFilesystem": True}}},
    )

    with pytest.raises(UserError, match=r"set spec\.image\.commit: never") as caught:
        plan(said)

    assert reason_of(caught) is Reason.COMMIT_UNSUPPORTED


@pytest.mark.parametrize(
    "env",
    [
        {"name": "A", "valueFrom": {}},
        {"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ],
)
def test_a_variable_with_two_sources_or_none_is_refused(env: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"variable A in spec\.env must have exactly one") as caught:
        plan(build(env=[env]))

    assert reason_of(caught) is Reason.INVALID_SPEC


def test_results_lie_under_the_attempt() -> None:
    made = plan(with_settings=settings(store={"bucket": "b", "prefix": "ci"}))

    assert made.results_prefix == f"ci/team/project-artifacts/hello/{UID}/1/"


def test_an_option_that_no_program_can_be_started_with_is_refused_by_its_step() -> None:
    """The step began, and its first command ended as "Argument list too long"."""
    long = "x" * 200_000
    yml = f"box: x\nbuild:\n  steps:\n    - lab/big:\n        content: {long}\n"
    facts = {"lab/big": StepFacts(version="1", digest="d" * 64)}

    with pytest.raises(UserError) as caught:
        plan(yml=yml, services=(), steps=facts)

    assert caught.value.message.startswith(
        "option content of step lab/big on line 4 of wercker.yml takes 200021 bytes as a variable: no program can be "
        "started with one of more than 131072. "
    )
    assert reason_of(caught) is Reason.CONFIG_INVALID
    fits = yml.replace(long, "x" * (131_072 - 21))
    assert len(plan(yml=fits, services=(), steps=facts).steps) == 1


def test_options_are_bounded_together_too_and_defaults_of_a_manifest_count() -> None:
    defaults = tuple((f"o{n}", "x" * 120_000) for n in range(5))
    facts = {"lab/big": StepFacts(version="1", digest="d" * 64, defaults=defaults)}

    with pytest.raises(UserError, match=r"options of step lab/big .* more than 524288"):
        plan(yml="box: x\nbuild:\n  steps:\n    - lab/big\n", services=(), steps=facts)


def test_near_options_are_looked_up_for_a_hundred_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def near(word: str, known: Sequence[str]) -> str:
        asked.append(word)
        return ""

    monkeypatch.setattr(options, "did_you_mean", near)
    names = tuple((f"o{n}", "1") for n in range(3000))
    steps = [Step(identifier="x", name="x", kind="registry", properties=names, line=1)] * 3
    facts = StepFacts(version="1", digest="d", defaults=(("opts", ""),))

    assert check_options(steps, {"x": facts}, pipeline="build") == ()
    assert len(asked) == options.LOOKUPS


def test_a_box_that_is_to_be_committed_is_refused_where_there_are_no_agents() -> None:
    without = settings(agent_enabled=False, images={"prefix": "r.example.com/ci"})

    with pytest.raises(UserError) as caught:
        plan(with_settings=without)
    assert reason_of(caught) is Reason.COMMIT_UNSUPPORTED
    assert "agent.enabled is false): set spec.image.commit: never" in caught.value.message
    assert plan(build(image={"commit": "never"}), with_settings=without).image.commit == "never"

    with pytest.raises(UserError) as caught:
        plan(
            build(image={"commit": "never"}),
            yml="box: x\nbuild:\n  steps:\n    - internal/docker-push: {repository: a/b, tag: x}\n",
            services=(),
            with_settings=without,
        )
    assert "(line 4) needs the node agents, which the chart's agent.enabled runs" in str(
        caught.value
    )
