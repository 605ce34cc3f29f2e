"""Steps that remove what boxkit needs, leave odd files, or print secrets: in a box as the cluster makes it."""

from __future__ import annotations

import io
import tarfile

from tests.cluster.conftest import Builds, eventually, steps
from tests.kubectl import condition

AFTER = """\
  after-steps:
    - script: {name: tell, code: 'echo "told: $WERCKER_RESULT"'}
"""


def build_of(builds: Builds, code: str, *, box: str = "busybox:1", top: str = "") -> str:
    step = "  steps:\n    - script:\n        name: one\n        code: |\n"
    text = f"box: {builds.lab.registry}/box/{box}\n{top}build:\n{step}"
    return builds.project(
        text + "".join(f"          {line}\n" for line in code.splitlines()) + AFTER
    )


def test_steps_that_remove_run_or_the_pipeline_s_directory(builds: Builds) -> None:
    wiped = {
        "run": ("rm -rf /run/* 2>/dev/null || true\necho cleaned", "busybox:1"),
        "run-bash": ("rm -rf /run/* 2>/dev/null || true\necho cleaned", "debian:12"),
        "pipeline": ('rm -rf "$WERCKER_PIPELINE_DIR"/*\necho cleaned', "busybox:1"),
    }
    for name, (code, box) in wiped.items():
        builds.apply(name, url=build_of(builds, code, box=box, top="no-response-timeout: 1\n"))
    for name in wiped:
        raw = builds.finish(name)
        assert raw["status"]["phase"] == "Succeeded", raw["status"]
        assert builds.log(raw, "one") == "cleaned\n"
        assert builds.log(raw, "tell").endswith("told: passed\n")


def test_a_source_dir_that_does_not_exist_is_named(builds: Builds) -> None:
    text = "box: {box}\nsource-dir: no/such\nbuild:\n  steps:\n    - script: {{name: one, code: 'true'}}\n"
    url = builds.project(text.format(box=f"{builds.lab.registry}/box/busybox:1"))
    end = condition(builds.run(url=url), "Succeeded")
    assert end["reason"] == "ExitCode"
    assert "there is no directory /pipeline/source/no/such, where steps begin" in end["message"]


def test_output_that_may_not_be_read_is_the_project_s_fault(builds: Builds) -> None:
    code = 'echo x >"$WERCKER_OUTPUT_DIR/s"; chmod 000 "$WERCKER_OUTPUT_DIR/s"'
    pod = {"box": {"securityContext": {"runAsUser": 1000}}}
    raw = builds.run(url=build_of(builds, code), pod=pod)
    end = condition(raw, "Succeeded")
    assert (raw["status"]["phase"], end["reason"]) == ("Failed", "OutputUnreadable")
    assert "output/s: permission denied" in end["message"]
    assert builds.log(raw, "tell") == "told: failed\n"


def test_output_that_is_still_written_is_stored(builds: Builds) -> None:
    code = """\
serve() {
  cd "$WERCKER_OUTPUT_DIR/log"; n=0
  while :; do
    n=$((n+1)); echo "line $n" >>grows
    echo x >"spool.$n"; mv "spool.$n" "ready.$((n % 7))"; rm -f "ready.$(((n + 3) % 7))"
    [ $((n % 5)) = 0 ] && : >shrinks || head -c 65536 /dev/zero >>shrinks
  done
}
mkdir -p "$WERCKER_OUTPUT_DIR/stable" "$WERCKER_OUTPUT_DIR/log"
i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo $i >"$WERCKER_OUTPUT_DIR/stable/$i"; done
serve >/dev/null 2>&1 &
sleep 1"""
    raw = builds.run(url=build_of(builds, code))
    assert raw["status"]["phase"] == "Succeeded", raw["status"]
    with tarfile.open(fileobj=io.BytesIO(builds.stored(raw, "output.tar"))) as archive:
        assert sum(m.name.startswith("output/stable/") for m in archive) == 1000


def test_a_message_file_that_is_a_fifo_outlives_no_timeout(builds: Builds) -> None:
    code = 'rm -f "$WERCKER_REPORT_MESSAGE_FILE"; mkfifo "$WERCKER_REPORT_MESSAGE_FILE"; exit 3'
    raw = builds.run(url=build_of(builds, code))
    assert steps(raw) == [("one", "Failed", "ExitCode"), ("tell", "Passed", "Passed")]


def test_secrets_of_lines_are_masked_and_indentation_is_not(builds: Builds) -> None:
    config = '{\n    "a": {\n    "password": "s3cret-77"\n    },\n    \n}\n'
    builds.secret("odd", config=config, blanks="    ")
    plain = "def f():\n    return 1\n    },\n        eight\n"
    code = (
        "cat <<'EOF'\n"
        + plain
        + 'EOF\necho $CONFIG\necho "$CONFIG" | while read line; do echo "> $line"; done'
    )
    env = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": "odd", "key": name.lower()}}}
        for name in ("CONFIG", "BLANKS")
    ]
    raw = builds.run(url=build_of(builds, code), env=env)
    log = builds.log(raw, "one")
    assert log.startswith(plain) and "****" in log and "s3cret" not in log, log
    notice = "BLANKS is not masked in logs: its value has no letter or digit"
    eventually(lambda: any(notice in each["note"] for each in builds.events()))
