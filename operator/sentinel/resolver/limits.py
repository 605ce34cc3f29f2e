"""The limits of one child process: which there are, how a child ends that meets one, and what the user reads then.

A child ends by itself with the exit code of the limit it met, or is killed by the kernel (processor time, size of a
file) or by the server (everything that only the whole process tree shows).
"""

from __future__ import annotations

import signal
from enum import StrEnum

from sentinel.egress import VARIABLES
from sentinel.settings import ResolverSettings


class Limit(StrEnum):
    """What a Build may take of the resolver."""

    MEMORY = "memory"
    CPU = "cpu"
    WALL = "wall"
    DISK = "disk"
    FILES = "files"
    PROCESSES = "processes"
    ANSWER = "answer"


EXIT_CODES = {Limit.MEMORY: 81, Limit.DISK: 82, Limit.FILES: 83, Limit.ANSWER: 84}
"""How a child ends that notices by itself."""

KEPT = (
    *("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH"),
    *VARIABLES,
    *(name.upper() for name in VARIABLES),
)
"""What a child keeps of the environment: where programs and certificates are, and proxies."""

_OF_CODE = {code: limit for limit, code in EXIT_CODES.items()}
_OF_SIGNAL = {signal.SIGXCPU: Limit.CPU, signal.SIGXFSZ: Limit.DISK}


def limit_of(code: int) -> Limit | None:
    """The limit that a child met, by its exit code (negative: a signal), None for another end."""
    return _OF_SIGNAL.get(signal.Signals(-code)) if code < 0 else _OF_CODE.get(code)


def described(limit: Limit, settings: ResolverSettings) -> str:
    """The limit with its value and its setting: `256 MiB of memory (setting resolver.memoryMiB)`."""
    return {
        Limit.MEMORY: f"{settings.memory_mib} MiB of memory (setting resolver.memoryMiB)",
        Limit.CPU: f"{settings.cpu_seconds} s of CPU time (setting resolver.cpuSeconds)",
        Limit.WALL: f"{settings.wall_seconds} s (setting resolver.wallSeconds)",
        Limit.DISK: f"{settings.disk_mib} MiB of scratch disk (setting resolver.diskMiB)",
        Limit.FILES: f"{settings.files} open files (setting resolver.files)",
        Limit.PROCESSES: f"{settings.processes} processes (setting resolver.processes)",
        Limit.ANSWER: f"{settings.answer_kib} KiB of configuration and image data (setting resolver.answerKiB)",
    }[limit]
