"""How much of the real files is planned and run, and that each step gives its tools what it should."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.corpus import REAL
from tests.corpus.run import run_corpus, table, totals

NOT_PLANNED = {
    "079 deploy": "there is no step cng/cf-deploy",
    "108 deploy:ecs": "there is no step releasequeue/run-terraform",
}
"""Steps of others that nobody has any more; all else is planned, or refused only because a Docker daemon is missing."""

NOT_RUN = {
    "016 alpine": "repository is missing",
    "106 promote-image": "no earlier step built acme/hello:image-tag-operator",
}
"""internal/docker-push without a repository, and of an image that another run built, fail as they always did."""

ENGINE = {"049 store", "115 integration-tests"}
"""docker: true."""


@pytest.fixture
def real() -> None:
    """The real files. Without them the test is skipped, and fails in CI, where it must not go unseen."""
    if not REAL.is_dir():
        missing = "the corpus of real files, ../shared/corpus/real, is not here"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("real")
async def test_real_files_are_planned_and_run(
    boxkit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = await run_corpus(boxkit, tmp_path)

    with capsys.disabled():
        print(f"\n{table(files)}")
    missing = [(kind, f"{f.number} {name}", why) for f in files for kind, name, why in f.missing()]
    unexpected = [each for each in missing if not _is_known(*each)]
    assert unexpected == []
    sums = totals(files)
    assert (sums.files, sums.pipelines) == (66, 141)
    assert sums.planned_files >= 64 and sums.planned >= 139
    assert sums.run_files >= 60 and sums.run >= 135


def _is_known(kind: str, name: str, why: str) -> bool:
    match kind:
        case "plan":
            return name in NOT_PLANNED and NOT_PLANNED[name] in why
        case "engine":
            return name in ENGINE
        case _:
            return name in NOT_RUN and NOT_RUN[name] in why
