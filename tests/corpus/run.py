"""How many real wercker.yml files a default install can plan, and how many it runs: `python -m tests.corpus.run`.

Prints a line for each file, and then each pipeline that is not planned or not run, with the reason. Arguments are
numbers of files. `--write` replaces the golden tables by what was done: read the difference before you commit it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.boxkit.conftest import ROOT
from tests.corpus.chamber import Ran, run_plan
from tests.corpus.shapes import Shape, accepted, shapes_of
from tests.corpus.tools import make_tools

GOLDEN = Path(__file__).with_name("golden")
"""NNN.json: what the steps of each pipeline of that file did, checked against `docs/reference/steps.md`."""

AT_ONCE = 4


@dataclass
class File:
    """A file's pipelines, and what became of those that were run, by name."""

    number: str
    shapes: list[Shape]
    ran: dict[str, Ran] = field(default_factory=dict)

    def pipelines(self) -> dict[str, list[Shape]]:
        """Each pipeline with its shapes: more than one where it has deploy targets."""
        found: dict[str, list[Shape]] = {}
        for shape in self.shapes:
            found.setdefault(shape.pipeline, []).append(shape)
        return found

    def planned(self) -> list[str]:
        return [
            name for name, each in self.pipelines().items() if all(shape.planned for shape in each)
        ]

    def passed(self) -> list[str]:
        """Pipelines of which every target has run to its end, each step as the golden table has it."""
        return [
            name
            for name, each in self.pipelines().items()
            if all(shape.plan is not None and not self.why_not_run(shape) for shape in each)
        ]

    def golden(self) -> dict[str, Any]:
        path = GOLDEN / f"{self.number}.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def why_not_run(self, shape: Shape) -> str:
        """Why a planned shape does not count as run."""
        ran = self.ran.get(shape.name)
        if ran is None:
            return "was not run"
        if ran.failed:
            step, message = next(iter(ran.failed.items()))
            return f"step {step} failed: {message}; its log ends with {ran.log[-400:]!r}"
        wanted = self.golden().get(shape.name, [])
        if ran.does == wanted:
            return ""
        differs = next(
            (
                f"{one} instead of {other}"
                for one, other in zip(ran.does, wanted, strict=False)
                if one != other
            ),
            f"{len(ran.does)} entries instead of {len(wanted)}",
        )
        return f"differs from golden/{self.number}.json: {differs}"

    def missing(self) -> Iterator[tuple[str, str, str]]:
        """What is missing: "plan" or "run", the pipeline, and why."""
        for shape in self.shapes:
            if shape.plan is None:
                yield "engine" if shape.engine else "plan", shape.name, shape.why.splitlines()[0]
            elif why := self.why_not_run(shape):
                yield "run", shape.name, why


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Files and pipelines: how many there are, how many are planned, how many ran. A file counts whole or not.

    `private` are pipelines that are planned because a rule for their private box was given.
    """

    files: int
    pipelines: int
    planned_files: int
    planned: int
    run_files: int
    run: int
    private: int


async def run_corpus(
    boxkit: Path, work: Path, *, only: Collection[str] = (), run: bool = True
) -> list[File]:
    """Plan every file, and run what has a plan with this boxkit, in the directory `work`."""
    files = [
        File(number, shapes_of(number, loaded))
        for number, loaded in accepted()
        if not only or number in only
    ]
    if not run:
        return files
    kit, tools = work / "kit", work / "tools"
    kit.mkdir()
    shutil.copy(boxkit, kit / "boxkit")
    make_tools(tools)
    places = asyncio.Semaphore(AT_ONCE)

    async def one(file: File, shape: Shape, number: int) -> None:
        assert shape.plan is not None
        async with places:
            at = work / str(number)
            file.ran[shape.name] = await run_plan(shape.plan, work=at, kit=kit, tools=tools)
            shutil.rmtree(at)

    todo = [(file, shape) for file in files for shape in file.shapes if shape.plan is not None]
    await asyncio.gather(*(one(*each, number) for number, each in enumerate(todo)))
    return files


def totals(files: list[File]) -> Totals:
    """The sums."""
    return Totals(
        files=len(files),
        pipelines=sum(len(each.pipelines()) for each in files),
        planned_files=sum(len(each.planned()) == len(each.pipelines()) for each in files),
        planned=sum(len(each.planned()) for each in files),
        run_files=sum(len(each.passed()) == len(each.pipelines()) for each in files),
        run=sum(len(each.passed()) for each in files),
        private=sum(shape.private for each in files for shape in each.shapes),
    )


def table(files: list[File]) -> str:
    """A line for each file, what is missing, and the sums."""
    lines = ["file  pipelines  planned  run  first thing missing"]
    for file in files:
        first = next((f"{name}: {why}" for _, name, why in file.missing()), "")
        counts = (len(file.pipelines()), len(file.planned()), len(file.passed()))
        lines.append("{:>4}  {:>9}  {:>7}  {:>3}  {}".format(file.number, *counts, first[:90]))
    what = {"plan": "not planned", "engine": "needs a Docker daemon", "run": "not run"}
    for kind, shown in what.items():
        for file in files:
            lines += [
                f"{shown}: {file.number} {name}: {why}"
                for each, name, why in file.missing()
                if each == kind
            ]
    lines += [
        f"private box, replaced by a rule: {file.number} {shape.name}"
        for file in files
        for shape in file.shapes
        if shape.private
    ]
    sums = totals(files)
    lines.append(
        f"planned: {sums.planned_files} of {sums.files} files, {sums.planned} of {sums.pipelines} pipelines; "
        f"run: {sums.run_files} files, {sums.run} pipelines"
    )
    return "\n".join(lines)


def write_golden(files: list[File]) -> None:
    """Replace the golden tables by what was done."""
    GOLDEN.mkdir(exist_ok=True)
    for file in files:
        done = {name: ran.does for name, ran in sorted(file.ran.items()) if ran.does}
        path = GOLDEN / f"{file.number}.json"
        path.unlink(missing_ok=True)
        if done:
            path.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n")


def build_boxkit(target: Path) -> Path:
    """The binary, built from the tree."""
    subprocess.run(
        ["go", "build", "-trimpath", "-o", target, "."],
        cwd=ROOT / "operator" / "boxkit",
        check=True,
    )
    return target


def main(argv: list[str]) -> None:
    """The command."""
    only = [each for each in argv if not each.startswith("-")]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        files = asyncio.run(run_corpus(build_boxkit(work / "boxkit"), work, only=only))
    if "--write" in argv:
        write_golden(files)
    print(table(files))


if __name__ == "__main__":
    main(sys.argv[1:])
