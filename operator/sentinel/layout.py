"""Every path in a build's containers, and what is there.

Only names. Not here: which of them are volumes (`plan/pod.py`), which wercker.yml may not take (`config/pipelines.py`).
"""

from __future__ import annotations

PIPELINE_DIR = "/pipeline"
"""What steps work in. A part of the box's image, so it is committed."""

BASE_PATH = f"{PIPELINE_DIR}/source"
"""The project, where wercker.yml has no base-path."""

OUTPUT_DIR = f"{PIPELINE_DIR}/output"
CACHE_DIR = f"{PIPELINE_DIR}/cache"
REPORT_DIR = "/report"

WERCKER_DIR = "/mnt/wercker"
"""The volume that the init container fills, read-only in the box: source, cache, and a directory for each step."""

FETCHED_SOURCE = f"{WERCKER_DIR}/source"
FETCHED_CACHE = f"{WERCKER_DIR}/cache"

RUN_DIR = "/run/sentinel"
"""Ours, in every container of a build."""

KIT_DIR = f"{RUN_DIR}/kit"
BOXKIT = f"{KIT_DIR}/boxkit"
SESSION_DIR = f"{RUN_DIR}/session"
GIT_SECRET_DIR = f"{RUN_DIR}/git"
CACHE_SECRET_DIR = f"{RUN_DIR}/cache"
STEPS_DIR = f"{RUN_DIR}/steps"
OUTPUTS_DIR = f"{RUN_DIR}/outputs"
TOOLS_DIR = f"{RUN_DIR}/tools"
TLS_DIR = f"{RUN_DIR}/tls"
LOGIN_DIR = f"{RUN_DIR}/login"

TMP_DIR = "/tmp"  # noqa: S108 - of a container, not ours

PYTHON = "/opt/sentinel/bin/python3"
"""The interpreter in our own image."""


def step_dir(step_id: str) -> str:
    """Where the files of a step are."""
    return f"{WERCKER_DIR}/{step_id}"


def report_artifacts(step_id: str) -> str:
    """Where a step leaves the artifacts of its report."""
    return f"{REPORT_DIR}/{step_id}/artifacts"
