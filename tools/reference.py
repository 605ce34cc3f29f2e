"""The reference pages about mistakes in wercker.yml, boxes, reasons of Builds, rights and the CLI: `python tools/reference.py [DIR]` writes them.

Every message on them is what `sentinel check` prints for the example beside it, so that the pages cannot go stale:
a test compares the committed files with what this would write.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import NamedTuple

import click
import yaml

from sentinel.api.reasons import Blame, Reason
from sentinel.cli import VERBS
from sentinel.cli import main as sentinel
from sentinel.cli.cluster import Exit
from sentinel.config.codes import Code
from sentinel.config.diagnostics import render
from sentinel.config.lacks import lacks
from sentinel.config.load import ConfigError, load, pipeline_of, relevant
from sentinel.plan.asked import Answer, about_answers, about_gone, images_of
from sentinel.plan.engines import about_engines
from sentinel.plan.model import StepFacts
from sentinel.plan.options import check_options
from sentinel.plan.rewrite import DEFAULTS, RVM, Pairs, Rule


class Example(NamedTuple):
    """What a code is about, and the smallest file that earns it. `shown` stands in for one that is too big."""

    about: str
    text: bytes
    shown: str = ""


class Mistake(NamedTuple):
    """A mistake that people really made, and what the original said to it."""

    title: str
    text: str
    upstream: str


def _build(steps: str) -> bytes:
    return f"box: debian\nbuild:\n  steps:\n{steps}".encode()


def _flow(pipelines: str) -> bytes:
    head = "build: {steps: []}\ntest: {steps: []}\nworkflows:\n  - name: ci\n    pipelines:\n"
    return (head + pipelines).encode()


EXAMPLES: dict[Code, Example] = {
    Code.NOT_UTF8: Example("The file is not UTF-8 text.", b"box: caf\xe9\n", "box: caf<E9>"),
    Code.TOO_BIG: Example(
        "The file is larger than 1 MiB.", b"#" * 1_100_000, "# … 1,100,000 bytes"
    ),
    Code.SYNTAX: Example("The file is not YAML.", _build("    -script: {code: make}\n    - a\n")),
    Code.MISSING_COLON: Example(
        "A step with options has no colon behind its name.",
        _build("    - hipchat-notify\n        token: $TOKEN\n"),
    ),
    Code.TAB: Example("A line is indented with a tab.", b"build:\n\tsteps: []\n"),
    Code.TOO_DEEP: Example(
        "Lists and maps are nested more than 64 levels deep.", b"[" * 100, "[[[[… 100 of them"
    ),
    Code.TOO_MANY_NODES: Example(
        "The file has more than 50,000 values, those behind aliases counted each time.",
        b"a: [" + b"1," * 60_000 + b"]",
        "a: [1, 1, 1, … 60,000 of them",
    ),
    Code.BAD_ALIAS: Example("An alias names nothing.", b"box: *base\n"),
    Code.DUPLICATE_KEY: Example("A key stands twice; the last one counts.", b"box: a\nbox: b\n"),
    Code.BAD_KEY: Example("A key is a list or a map.", b"? [a, b]\n: c\n"),
    Code.MORE_DOCUMENTS: Example("Only the first document counts.", b"box: a\n---\nbox: b\n"),
    Code.BAD_MERGE: Example("`<<` merges something that is no map.", b"build:\n  <<: [a]\n"),
    Code.EMPTY_FILE: Example("There is nothing in the file.", b"# to do\n"),
    Code.TOO_MANY_FINDINGS: Example(
        "More than 500 findings: the rest is not shown.",
        b"".join(b"k%d: v\n" % n for n in range(600)),
        "k0: v\nk1: v\n… 600 of them",
    ),
    Code.TAG_OR_ANCHOR: Example(
        "A value begins with ! or &, which YAML takes as a tag or an anchor and drops.",
        _build("    - script:\n        code: ! grep -q TODO src\n"),
    ),
    Code.ROOT_NOT_MAP: Example("The file is a list or a text.", b"- script\n"),
    Code.PIPELINE_EMPTY: Example("A pipeline has nothing under it.", b"box: debian\nbuild:\n"),
    Code.PIPELINE_NOT_MAP: Example(
        "A pipeline is a list; its steps belong under `steps`.",
        b"box: debian\nbuild:\n  - script: {code: make}\n",
    ),
    Code.PIPELINE_KEY: Example(
        "A pipeline has no such key.", b"box: debian\nbuild:\n  env: {A: 1}\n  steps: []\n"
    ),
    Code.STEPS_NOT_LIST: Example(
        "`steps` is not a list.", b"box: debian\nbuild:\n  steps:\n    script: {code: make}\n"
    ),
    Code.UNKNOWN_KEY: Example(
        "A key is misspelt, or at the wrong margin.", b"sevices:\n  - redis\nbuild: {steps: []}\n"
    ),
    Code.WRONG_TYPE: Example(
        "A value has the wrong type.", b'build:\n  docker: "true"\n  steps: []\n'
    ),
    Code.TIMEOUT: Example("A timeout is not a number of minutes from 1 to 60.", b"command-timeout: 90\n"),
    Code.CLASSIC: Example(
        "A list that only wercker's classic format ran.",
        b"build:\n  steps: []\n  failed-steps:\n    - notify\n",
    ),
    Code.PIPELINE_UNKNOWN: Example(
        "The pipeline asked for (here `biuld`) is not in the file.", b"build: {steps: []}\n"
    ),
    Code.BASE_PATH: Example(
        "`base-path` cannot hold the source.", b"build:\n  base-path: src\n  steps: []\n"
    ),
    Code.ELSEWHERE_BROKEN: Example(
        "Another pipeline of the file has errors. A Build of this one (here `build`) runs nevertheless.",
        b"build: {steps: []}\ndeploy: {steps: none}\n",
    ),
    Code.CLASSIC_FILE: Example(
        "Several signs say that the file is in wercker's classic format.",
        b"box: wercker/nodejs@1.2.0\nservices:\n  - wercker/mongodb@1.0.1\nbuild: {steps: []}\n",
    ),
    Code.NO_BOX: Example(
        "Neither the pipeline nor the file has a box.", b"build:\n  steps: []\n"
    ),
    Code.BOX_SHAPE: Example("A box or service names no image.", b"box: {tag: 12}\n"),
    Code.BOX_KEY: Example("A box has no such key.", b"box: {id: alpine, entry-point: sh}\n"),
    Code.BOX_CLASSIC: Example(
        "A box is named as it was before Docker images.", b"box: wercker/ruby@2.1\n"
    ),
    Code.BOX_REPLACED: Example(
        "A box or service is gone, and an operator with default settings runs another image.",
        b"box: wercker/rvm\nbuild: {steps: []}\n",
    ),
    Code.IMAGE_MISSING: Example(
        "The registry has no such image. `sentinel check --images` asks.", b"box: debian:buzz\nbuild: {steps: []}\n"
    ),
    Code.IMAGE_DENIED: Example(
        "The registry requires a login to pull the image, or hides that it does not exist. "
        "`sentinel check --images` asks.",
        b"box: acme/private:1\nbuild: {steps: []}\n",
    ),
    Code.IMAGE_PLATFORM: Example(
        "The image is not made for the nodes' architecture (`--architecture`). `sentinel check --images` asks.",
        b"box: acme/tools:1\nbuild: {steps: []}\n",
    ),
    Code.IMAGE_UNKNOWN: Example(
        "The registry did not answer, so that nothing is known of the image. `sentinel check --images` asks.",
        b"box: registry.example.com/tools:1\nbuild: {steps: []}\n",
    ),
    Code.SERVICES_NOT_LIST: Example("`services` is not a list.", b"services: redis\n"),
    Code.SERVICE_SHAPE: Example(
        "A service is written like a step.", b"services:\n  - redis:\n      tag: 7\n"
    ),
    Code.IMAGE_NAME: Example(
        "The text is not a valid name of an image.", b"box: debian 12\nbuild: {steps: []}\n"
    ),
    Code.SERVICE_TWICE: Example(
        "Two services have the same name.",
        b"box: debian\nservices:\n  - redis:6\n  - redis:7\nbuild: {steps: []}\n",
    ),
    Code.STEP_SHAPE: Example("The entry is not a step.", _build("    - script: make\n")),
    Code.STEP_NO_PROPERTIES: Example(
        "A step has a colon and no options.", _build("    - npm-install:\n")
    ),
    Code.STEP_REPAIRED: Example(
        "A step is understood although its lines are in disorder.",
        _build("    - name: compile\n      script: {code: make}\n"),
    ),
    Code.STEP_VALUE: Example(
        "Something behind the step's name is ignored.",
        _build("    - script: make\n      code: make check\n"),
    ),
    Code.STEP_IDENTIFIER: Example("A step's name is not valid.", _build("    - make all install\n")),
    Code.SCRIPT_EMPTY: Example("A script has no code.", _build("    - script: {name: later}\n")),
    Code.STEP_OPTION_TYPE: Example(
        "An option is a list or a map, and steps get texts only.",
        _build("    - internal/docker-push: {repository: a/b, ports: ['80']}\n"),
    ),
    Code.STEP_OPTION: Example(
        "A step that we know has no such option.",
        _build("    - internal/docker-push: {repository: a/b, tags: latest}\n"),
    ),
    Code.STEP_UNKNOWN: Example("A step's name is nearly one of ours.", _build("    - scirpt: {code: make}\n")),
    Code.STEP_OPTION_MISSING: Example(
        "A step wants an option that is not given. `sentinel check` knows it of internal steps; a Build, which has the "
        "manifests, of all.",
        _build("    - s3sync: {key-id: $KEY}\n"),
    ),
    Code.STEP_MANIFEST: Example(
        "Something is wrong with a step itself, which runs nevertheless. Only a Build reports this, because it has the step.",
        _build("    - s3sync: {bucket-url: s3://x}\n"),
    ),
    Code.NEEDS_ENGINE: Example(
        "A step, or `docker: true` of a pipeline, needs an engine that an operator with default settings does not have: it "
        "refuses the pipeline before anything runs.",
        _build("    - internal/docker-build: {image-name: app}\n"),
    ),
    Code.WORKFLOW_SHAPE: Example("A part of a workflow is missing or of the wrong type.", b"workflows:\n  - name: ci\n"),
    Code.WORKFLOW_KEY: Example("A workflow has no such key.", _flow("      - {name: build, require: [test]}\n")),
    Code.WORKFLOW_DUPLICATE: Example("A name is used twice.", _flow("      - name: build\n      - {name: build, requires: [build]}\n")),
    Code.WORKFLOW_UNDEFINED: Example("A workflow runs a pipeline that is not in the file.", _flow("      - name: biuld\n")),
    Code.WORKFLOW_MISSING: Example("A requirement is not in the workflow.", _flow("      - name: build\n      - {name: test, requires: [deploy]}\n")),
    Code.WORKFLOW_NO_ROOT: Example("No pipeline of the workflow can run first.", _flow("      - {name: build, requires: [test]}\n      - {name: test, requires: [build]}\n")),
    Code.WORKFLOW_ROOTS: Example("Several pipelines of the workflow would run first.", _flow("      - name: build\n      - name: test\n")),
    Code.WORKFLOW_CYCLE: Example("Pipelines require each other in a circle.", _flow("      - name: build\n      - {name: test, requires: [again]}\n      - {name: again, pipelineName: test, requires: [test]}\n")),
}  # fmt: skip

ANSWERS = {
    Code.IMAGE_MISSING: Answer(
        reason=Reason.IMAGE_NOT_FOUND,
        message="image docker.io/library/debian:buzz not found: MANIFEST_UNKNOWN: manifest unknown. Check name and tag",
    ),
    Code.IMAGE_DENIED: Answer(
        reason=Reason.IMAGE_AUTH_FAILED,
        message="registry denied pull of docker.io/acme/private:1: UNAUTHORIZED: authentication required. Either it does not "
        "exist, or it needs a login: name a Secret of type kubernetes.io/dockerconfigjson (spec.image.pullSecretRefs) and "
        "check its contents",
    ),
    Code.IMAGE_PLATFORM: Answer(digest="sha256:" + "0" * 64, platforms=("linux/arm64",)),
    Code.IMAGE_UNKNOWN: Answer(
        reason=Reason.REGISTRY_UNAVAILABLE,
        message="the registry of registry.example.com/tools:1 did not answer within 30 s",
    ),
}
"""What a registry answered, for the examples that need one."""

_GONE = "No pipeline named build"
MISTAKES = (
    Mistake(
        "A step with options lacks its colon (the original design's own example)",
        "box: debian\nbuild:\n  after-steps:\n    - hipchat-notify\n        token: $TOKEN\n        room_id: id\n",
        "Error parsing your wercker.yml: yaml: line 4: mapping values are not allowed in this context",
    ),
    Mistake("The steps stand right under the pipeline", "box: debian\nbuild:\n  - script: {code: make}\n", _GONE),
    Mistake("`steps` without dashes", "box: debian\nbuild:\n  steps:\n    script:\n      code: make\n", _GONE),
    Mistake("Variables in the pipeline", "box: debian\nbuild:\n  env:\n    CC: clang\n  steps: []\n", _GONE),
    Mistake("A timeout in the pipeline", "box: debian\nbuild:\n  command-timeout: 10\n  steps: []\n", _GONE),
    Mistake("A pipeline with nothing under it", "box: debian\nbuild:\n", "(a crash: nil pointer dereference)"),
    Mistake("The script beside its step", "box: debian\nbuild:\n  steps:\n    - script: echo hi\n", "Error parsing your wercker.yml: Step script is empty"),
    Mistake("Options as a list", "box: debian\nbuild:\n  steps:\n    - heroku-deploy:\n        - key-name: K\n", "Error parsing your wercker.yml: Step heroku-deploy is empty"),
    Mistake("`tags` for `tag`", "box: debian\nbuild:\n  steps:\n    - internal/docker-push:\n        repository: me/app\n        tags: v1\n", "(nothing: the image is pushed under another tag)"),
    Mistake("A box from before Docker images", "box: wercker/nodejs@1.1.2\nbuild:\n  steps: []\n", "@ is not allowed"),
)  # fmt: skip


def diagnostics_page() -> str:
    """docs/reference/diagnostics.md."""
    out = [
        "# Diagnostics of `sentinel check`",
        "",
        "<!-- Generated by tools/reference.py; do not edit. -->",
        "",
        "Each finding has a stable code. *Errors* keep a pipeline, or the whole file, from running; *warnings* are",
        "probably not what was meant. Below each code: a file that has it, and what is printed.",
        "",
    ]
    for code in Code:
        example = EXAMPLES[code]
        text = example.shown or example.text.decode()
        out += [f"## {code}", "", example.about, "", "```yaml", text.rstrip(), "```", ""]
        out += ["```text", said(code, example.text, short=bool(example.shown)), "```", ""]
    return "\n".join(out).rstrip() + "\n"


def said(code: Code, data: bytes, *, short: bool = False) -> str:
    """What is printed for `code` in this file; without the source line where `short`. Raises LookupError for none."""
    loaded = load(data)
    found = list(loaded.diagnostics)
    if code is Code.PIPELINE_UNKNOWN:
        try:
            pipeline_of(loaded, "biuld")
        except ConfigError as error:
            found += error.diagnostics
    checked = (Code.NO_BOX, Code.IMAGE_NAME, Code.SERVICE_TWICE, Code.BOX_REPLACED)
    if code in checked and loaded.config is not None:
        found += lacks(loaded.config)
        found += about_gone(loaded.config)
    if code is Code.NEEDS_ENGINE and loaded.config is not None:
        found += about_engines(loaded.config)
    if code in ANSWERS and loaded.config is not None:
        wanted = images_of(loaded.config)
        answers = {each.image: ANSWERS[code] for each in wanted}
        found += about_answers(wanted, answers, platform="linux/amd64")
    if code in (Code.STEP_OPTION_MISSING, Code.STEP_MANIFEST):
        steps = pipeline_of(loaded, "build").steps
        manifest = StepFacts(
            version="1",
            digest="",
            defaults=(("bucket-url", ""),),
            required=frozenset({"bucket-url"}),
            warnings=("step.yml:3: a property without a name is left out",),
        )
        found += check_options(steps, {"s3sync": manifest}, pipeline="build")
    if code is Code.ELSEWHERE_BROKEN:
        found += relevant(loaded, "build")
    each = next((d for d in found if d.code == code), None)
    if each is None:
        raise LookupError(f"the example of {code} has no such finding")
    return render(each, path="wercker.yml", text="" if short else loaded.text)


def mistakes_page() -> str:
    """docs/reference/mistakes.md."""
    out = [
        "# Ten common mistakes",
        "",
        "<!-- Generated by tools/reference.py; do not edit. -->",
        "",
        "They come from real projects, issues and old documentation. The message of the original is the one that wercker's own program printed.",
        "",
        "| | mistake | message of wercker | message of Sentinel |",
        "| --- | --- | --- | --- |",
    ]
    details: list[str] = []
    for number, mistake in enumerate(MISTAKES, start=1):
        first, *_ = load(mistake.text.encode()).diagnostics
        hint = f" Hint: {first.hint}." if first.hint else ""
        ours = f"line {first.line}: {first.message}.{hint}".replace("|", "\\|")
        out.append(f"| {number} | {mistake.title} | {mistake.upstream} | {ours} |")
        printed = render(first, path="wercker.yml", text=mistake.text)
        details += [
            f"## {number}. {mistake.title}",
            "",
            "```yaml",
            mistake.text.rstrip(),
            "```",
            "",
        ]
        details += ["```text", printed, "```", ""]
    return "\n".join([*out, "", *details]).rstrip() + "\n"


FAULT = {
    Blame.NOBODY: "",
    Blame.USER: "the project's",
    Blame.PLATFORM: "the cluster's or ours",
    Blame.CANCEL: "",
}


def reasons_page() -> str:
    """docs/reference/reasons.md."""
    out = [
        "# Reasons",
        "",
        "<!-- Generated by tools/reference.py; do not edit. -->",
        "",
        "Conditions, steps and events use these words. The list is fixed, so alerts and scripts may rely on it. The reason",
        "decides the phase: `Failed` is a fault of the project, `Errored` one of the cluster or of Sentinel.",
        "",
        "| reason | fault | what it means, and what to do |",
        "| --- | --- | --- |",
    ]
    out += [
        f"| `{each}` | {FAULT[each.blame]} | {f'{each.meaning} {each.remedy}'.strip()} |"
        for each in Reason
    ]
    return "\n".join(out) + "\n"


INSTALL = Path(__file__).parent.parent / "manifests/install.yaml"
ACCOUNTS = {
    "sentinel-operator": "The operator",
    "sentinel-agent": "The agent",
}
"""Service accounts of a release, and what they are called."""


class Right(NamedTuple):
    """One rule of a Role, with the comment above it: its reason."""

    role: str
    groups: str
    resources: str
    verbs: str
    why: str


def rights() -> list[Right]:
    """Every rule that operator and agent get, from manifests/install.yaml. Raises LookupError for one without a reason.

    Helm keeps the comments of its templates, so a rule and its reason stand in one place.
    """
    found: list[Right] = []
    for text in INSTALL.read_text().split("\n---\n"):
        role = yaml.safe_load(text) or {}
        if role.get("kind") not in ("Role", "ClusterRole"):
            continue
        name = role["metadata"]["name"]
        if not name.startswith(tuple(ACCOUNTS)):
            continue
        for rule, why in zip(role["rules"], reasons_of_rules(text), strict=True):
            if not why:
                raise LookupError(
                    f"a rule of {name} for {rule['resources']} has no comment in the chart"
                )
            groups, resources, verbs = (
                ", ".join(f"`{each}`" if each else "core" for each in rule[key])
                for key in ("apiGroups", "resources", "verbs")
            )
            if names := rule.get("resourceNames"):
                resources += f" named `{'`, `'.join(names)}`"
            found.append(Right(name, groups, resources, verbs, why))
    return found


def reasons_of_rules(text: str) -> list[str]:
    """The comment above each rule of a Role, as one line; empty where there is none."""
    reasons: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# ") and not stripped.startswith("# Source:"):
            comment.append(stripped[2:])
            continue
        if stripped.startswith("- apiGroups:"):
            reasons.append(" ".join(comment))
        comment = []
    return reasons


def rbac_page() -> str:
    """docs/reference/rbac.md."""
    out = [
        "# Rights",
        "",
        "<!-- Generated by tools/reference.py from manifests/install.yaml; do not edit. -->",
        "",
        "What operator and agent may do in the cluster, and why. With `namespaces` set in the chart's values these are Roles in",
        "those namespaces, but for nodes and kube-system's uid. A test compares them with the API server's audit log: nothing is",
        "granted that is not used.",
        "",
    ]
    for account, title in ACCOUNTS.items():
        out += [
            f"## {title} (`{account}`)",
            "",
            "| API group | resources | verbs | why |",
            "| --- | --- | --- | --- |",
        ]
        out += [
            f"| {each.groups} | {each.resources} | {each.verbs} | {each.why} |"
            for each in sorted(rights())
            if each.role.startswith(account)
        ]
        out.append("")
    return "\n".join(out).rstrip() + "\n"


def boxes_page() -> str:
    """docs/reference/boxes.md."""
    services = [rule for rule in DEFAULTS if rule.exports]
    boxes = [rule for rule in DEFAULTS if not rule.exports]
    out = [
        "# Boxes that are gone",
        "",
        "<!-- Generated by tools/reference.py from sentinel/plan/rewrite.py; do not edit. -->",
        "",
        "What runs instead of wercker's classic boxes and services, and of images that cannot be used any more, unless a rule",
        "of `images.rewrite` matches first. `images.rewriteDefaults: false` switches this table off. How patterns match:",
        "[Boxes that are gone](../howto/boxes.md#rules-of-your-own).",
        "",
        "## Boxes",
        "",
        "| in wercker.yml | runs instead | variables in the box |",
        "| --- | --- | --- |",
    ]
    out += [
        f"| `{rule.pattern}` | {_replacement(rule)} | {_variables(rule.env)} |" for rule in boxes
    ]
    out += [
        "",
        "## Services",
        "",
        "| in wercker.yml | runs instead | variables in the service | variables in the box |",
        "| --- | --- | --- | --- |",
    ]
    out += [
        f"| `{rule.pattern}` | {_replacement(rule)} | {_variables(rule.env)} | {_variables(rule.exports)} |"
        for rule in services
    ]
    return "\n".join(out) + "\n"


def _replacement(rule: Rule) -> str:
    otherwise = f"; without a version `{rule.otherwise}`" if rule.otherwise else ""
    ruby = "; with a step `rvm-use`, its version" if rule.pattern == RVM else ""
    return f"`{rule.image}`{otherwise}{ruby}"


def _variables(pairs: Pairs) -> str:
    return "<br>".join(f"`{name}={value}`" for name, value in pairs)


EXITS = {
    Exit.SUCCEEDED: "The build succeeded.",
    Exit.FAILED: "The build failed: the project's fault.",
    Exit.ERRORED: "The build errored: the cluster's fault or ours. Also wrong usage, no such Build, no access to it, and a Build "
    "that is deleted while it is waited for.",
    Exit.CANCELLED: "The build was cancelled.",
    Exit.TIMED_OUT: "The build had not finished after `--timeout`.",
    Exit.INTERRUPTED: "Interrupted with Ctrl-C.",
}
NEEDED = {
    "list": "`list` on builds",
    "describe": "`get` on builds; for more, `get` on builds/log of results.sentinel.wercker.com or on pods/log, and `list` on events",
    "logs": "`get` on builds, and on builds/log of results.sentinel.wercker.com; while it runs, `create` on pods/exec, else `get` on pods/log",
    "output": "`get` on builds, and on builds/output of results.sentinel.wercker.com",
    "diff": "`get` on builds; to pull from their registry",
    "shell": "`get` on builds, `create` on pods/exec",
    "top": "`list` on builds; for CPU and memory, `list` on pods of metrics.k8s.io",
    "wait": "`get` on builds",
    "cancel": "`get` and `patch` on builds",
    "retry": "`get` and `create` on builds",
    "completion": "`list` on builds, for their names",
    "prune": "`list` on builds; `--builds`: also `list` on workflowruns and `delete` on both; `--objects`: `get` on the "
    "namespace kube-system; `--images`: `list` on pods. Without SENTINEL_NAMESPACES in all namespaces",
    "version": "`get` on customresourcedefinitions, for the server's",
}
"""Rights that a verb needs, in the Builds' namespace."""


def cli_page() -> str:
    """docs/reference/cli.md."""
    out = [
        "# Command line",
        "",
        "<!-- Generated by tools/reference.py from the commands themselves; do not edit. -->",
        "",
        "`pip install .` installs `sentinel`, and the kubectl plug-in `kubectl-sentinel`: `kubectl sentinel list` is",
        "`sentinel list`. Verbs about Builds use the cluster, user and namespace of the kubeconfig's current context ($KUBECONFIG,",
        "else ~/.kube/config). `sentinel completion SHELL` prints a script that completes verbs, options and names of Builds.",
        "",
        "## Rights",
        "",
        "| verb | rights in the Builds' namespace |",
        "| --- | --- |",
        *(f"| `{verb}` | {rights} |" for verb, rights in NEEDED.items()),
        "",
        "## Exit codes",
        "",
        "`sentinel run`, `sentinel wait` and `sentinel retry --watch`:",
        "",
        "| code | meaning |",
        "| --- | --- |",
        *(f"| {int(code)} | {EXITS[code]} |" for code in Exit),
        "",
        "Other verbs: 0 done, 1 not done (`check`: the file has errors), 2 wrong usage (`check`: no file to read), 130 interrupted.",
        "",
    ]
    ctx = click.Context(sentinel, info_name="sentinel")
    for verb in sorted(VERBS):
        command = sentinel.get_command(ctx, verb)
        out += _verb(command, click.Context(command, info_name=verb, parent=ctx), "##")
    return "\n".join(out).rstrip() + "\n"


def _verb(command: click.Command, ctx: click.Context, level: str) -> list[str]:
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    out = [f"{level} {ctx.command_path}", "", f"    {usage}", ""]
    if command.help:
        text = inspect.cleandoc(command.help)
        # Lines below \b are printed as they are.
        plain, mark, exact = text.partition("\b\n")
        out += [plain.strip(), ""]
        out += [*(f"    {line.strip()}" for line in exact.splitlines()), ""] if mark else []
    options = [each for each in command.params if isinstance(each, click.Option)]
    records = [each.get_help_record(ctx) for each in options]
    out += [
        f"* `{each[0]}`: {each[1]}".replace("  [", " [") for each in records if each is not None
    ]
    out += [""] if any(records) else []
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            out += _verb(inner, click.Context(inner, info_name=name, parent=ctx), level + "#")
    return out


def pages() -> dict[str, str]:
    """All pages, by file name."""
    return {
        "diagnostics.md": diagnostics_page(),
        "mistakes.md": mistakes_page(),
        "reasons.md": reasons_page(),
        "rbac.md": rbac_page(),
        "boxes.md": boxes_page(),
        "cli.md": cli_page(),
    }


def main(arguments: list[str]) -> int:
    """Write the pages to the folder named on the command line, or to docs/reference."""
    folder = Path(arguments[0] if arguments else "docs/reference")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
