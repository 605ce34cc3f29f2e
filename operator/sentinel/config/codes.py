"""The stable codes of diagnostics; `docs/reference/diagnostics.md` has an example of each.

A code keeps its number for ever; one that is no longer given is left out of the enum and never reused.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """What is wrong with a wercker.yml. WY0xx: the document; WY1xx: sections; WY2xx: boxes; WY3xx: steps;
    WY4xx: workflows.
    """

    NOT_UTF8 = "WY001"
    TOO_BIG = "WY002"
    SYNTAX = "WY003"
    MISSING_COLON = "WY004"
    TAB = "WY005"
    TOO_DEEP = "WY006"
    TOO_MANY_NODES = "WY007"
    BAD_ALIAS = "WY008"
    DUPLICATE_KEY = "WY009"
    BAD_KEY = "WY010"
    MORE_DOCUMENTS = "WY011"
    BAD_MERGE = "WY012"
    EMPTY_FILE = "WY013"
    TOO_MANY_FINDINGS = "WY014"
    TAG_OR_ANCHOR = "WY015"

    ROOT_NOT_MAP = "WY101"
    PIPELINE_EMPTY = "WY102"
    PIPELINE_NOT_MAP = "WY103"
    PIPELINE_KEY = "WY104"
    STEPS_NOT_LIST = "WY105"
    UNKNOWN_KEY = "WY106"
    WRONG_TYPE = "WY107"
    TIMEOUT = "WY108"
    CLASSIC = "WY109"
    PIPELINE_UNKNOWN = "WY110"
    BASE_PATH = "WY111"
    ELSEWHERE_BROKEN = "WY112"
    CLASSIC_FILE = "WY113"
    NO_BOX = "WY114"

    BOX_SHAPE = "WY201"
    BOX_KEY = "WY202"
    BOX_CLASSIC = "WY203"
    SERVICES_NOT_LIST = "WY204"
    SERVICE_SHAPE = "WY205"
    IMAGE_NAME = "WY206"
    SERVICE_TWICE = "WY207"
    BOX_REPLACED = "WY208"
    IMAGE_MISSING = "WY209"
    IMAGE_DENIED = "WY210"
    IMAGE_PLATFORM = "WY211"
    IMAGE_UNKNOWN = "WY212"

    STEP_SHAPE = "WY301"
    STEP_NO_PROPERTIES = "WY302"
    STEP_REPAIRED = "WY303"
    STEP_VALUE = "WY304"
    STEP_IDENTIFIER = "WY305"
    SCRIPT_EMPTY = "WY306"
    STEP_OPTION_TYPE = "WY307"
    STEP_OPTION = "WY308"
    STEP_UNKNOWN = "WY309"
    STEP_OPTION_MISSING = "WY310"
    STEP_MANIFEST = "WY311"
    NEEDS_ENGINE = "WY312"

    WORKFLOW_SHAPE = "WY401"
    WORKFLOW_KEY = "WY402"
    WORKFLOW_DUPLICATE = "WY403"
    WORKFLOW_UNDEFINED = "WY404"
    WORKFLOW_MISSING = "WY405"
    WORKFLOW_NO_ROOT = "WY406"
    WORKFLOW_ROOTS = "WY407"
    WORKFLOW_CYCLE = "WY408"
