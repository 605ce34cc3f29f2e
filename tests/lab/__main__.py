"""The command line: `python -m tests.lab up|down|env|status|load IMAGE|push IMAGE REF|staticcheck`."""

from __future__ import annotations

import argparse
import shlex
import sys

from tests.lab import gobuild, lab
from tests.lab.shell import LabError
from tests.lab.state import Lab, locked


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.lab", description="A kind cluster to test on.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="bring the lab up; does nothing when it is up")
    verbs.add_parser("down", help="take it away without a trace; the cache stays")
    verbs.add_parser("env", help="print NAME=value words for `env $(…) command`")
    verbs.add_parser("status", help="say whether it is up; exit status 1 when it is not")
    load = verbs.add_parser("load", help="load an image of the engine into every node")
    load.add_argument("image")
    push = verbs.add_parser("push", help="push an image of the engine to the lab's registry")
    push.add_argument("image")
    push.add_argument("reference")
    verbs.add_parser("staticcheck", help="print the path of the linter for Go, built if need be")
    options = parser.parse_args()
    try:
        return _do(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _do(options: argparse.Namespace) -> int:
    match options.verb:
        case "up":
            with locked():
                lab.up()
        case "down":
            with locked():
                lab.down()
        case "env":
            words = Lab.load().environ().items()
            print(" ".join(f"{name}={shlex.quote(value)}" for name, value in words))
        case "status":
            up = lab.find() is not None
            print("the lab is up" if up else "the lab is not up")
            return 0 if up else 1
        case "load":
            # Two processes of one test run may load the same image: the second finds it there.
            with locked():
                lab.load_image(options.image)
        case "push":
            lab.push_image(options.image, options.reference)
        case "staticcheck":
            print(gobuild.build(gobuild.STATICCHECK))
    return 0


if __name__ == "__main__":
    sys.exit(main())
