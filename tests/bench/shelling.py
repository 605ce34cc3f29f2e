"""What the shell by itself takes for a step: the reference for what boxkit adds.

A step of the build sources a copy of its own driver file, whose script is now `true`, and answers as boxkit has it
answer (`$?`, `$-`, `export -p`), but into a file: the same shell, in the same box, with the same variables. Its files
are in /dev/shm, so that the disk has no part in it: to truncate a file and write it again takes ext4 milliseconds.
"""

from __future__ import annotations

from sentinel.layout import PIPELINE_DIR, SESSION_DIR

ROUNDS = 20
_CODE = r"""
[ -n "${BASH_VERSION-}" ] || { echo "bash is needed: it has a clock of its own"; exit 1; }
at=$(mktemp -d -p /dev/shm)
printf 'set -e\ntrue\n' >"$at/run.sh"
sed -e "s|@SESSION@/status|$at/begun|" -e "s|@SESSION@/drivers/begun|$at/mark|" \
    -e "s|@PIPELINE@/[^/ ]*/run.sh|$at/run.sh|" \
    @SESSION@/drivers/[0-9]* >"$at/driver"
grep -q "$at/run.sh" "$at/driver" || { echo "the driver does not source run.sh"; exit 1; }
for round in {1..@ROUNDS@}; do
    began=$EPOCHREALTIME
    \command . "$at/driver" </dev/null
    { \command echo "S $round $? $-"; \command set +xv; \command export -p; \command echo "E $round"; } \
        2>/dev/null >|"$at/answer"
    ended=$EPOCHREALTIME
    echo "microseconds $((${ended/[.,]/} - ${began/[.,]/}))"
done
rm -r "$at"
"""


def code(*, session: str = SESSION_DIR, pipeline: str = PIPELINE_DIR) -> str:
    """A step that prints how long each of `ROUNDS` rounds took, for boxes whose shell is bash. Paths are the box's."""
    given = {"SESSION": session, "PIPELINE": pipeline, "ROUNDS": str(ROUNDS)}
    text = _CODE
    for name, value in given.items():
        text = text.replace(f"@{name}@", value)
    return text


def milliseconds(log: str) -> list[float]:
    """The rounds in such a step's log. Raises ValueError if one is missing."""
    found = [int(line.split()[1]) / 1000 for line in log.splitlines() if line.startswith("micros")]
    if len(found) != ROUNDS:
        raise ValueError(f"{len(found)} of {ROUNDS} rounds were measured: {log}")
    return found
