"""npm-install and npm-test, with a fake npm."""

from __future__ import annotations

import pytest

from tests.standard.conftest import Bench


async def test_npm_install_with_a_cache_and_options(bench: Bench) -> None:
    bench.fake("npm", out="added 3 packages\n")

    ran = await bench.run("npm-install", options="--no-audit  --loglevel=warn")

    assert (ran.exit, ran.reason, ran.message) == (0, "Passed", "")
    assert ran.argvs == [("npm", "install", "--no-audit", "--loglevel=warn")]
    assert ran.calls[0].env["npm_config_cache"] == f"{bench.cache}/wercker/npm"
    assert (bench.cache / "wercker/npm").is_dir()
    assert ran.exports == {}
    assert ran.log == "added 3 packages\n"


async def test_npm_install_tries_three_times_and_empties_the_cache_between(bench: Bench) -> None:
    bench.fake("npm", fails=2)
    (bench.cache / "wercker/npm").mkdir(parents=True)
    (bench.cache / "wercker/npm/broken").write_text("x")

    ran = await bench.run("npm-install")

    assert (ran.exit, len(ran.calls)) == (0, 3)
    assert [each.name for each in (bench.cache / "wercker/npm").iterdir()] == [".keep"]


async def test_npm_install_that_never_passes_fails_the_step(bench: Bench) -> None:
    bench.fake("npm", fails=9)
    (bench.cache / "wercker/npm").mkdir(parents=True)
    (bench.cache / "wercker/npm/kept").write_text("x")

    ran = await bench.run("npm-install", clear_cache_on_failed="false")

    assert (ran.exit, len(ran.calls)) == (1, 3)
    assert ran.message == "npm install failed three times"
    assert (bench.cache / "wercker/npm/kept").exists()


async def test_npm_install_without_the_cache(bench: Bench) -> None:
    bench.fake("npm")

    ran = await bench.run("npm-install", use_cache="false", command="ci")

    assert ran.argvs == [("npm", "ci")]
    assert "npm_config_cache" not in ran.calls[0].env
    assert not (bench.cache / "wercker").exists()


async def test_npm_install_in_production_says_what_is_left_out(bench: Bench) -> None:
    bench.fake("npm")
    bench.env["NODE_ENV"] = "production"

    ran = await bench.run("npm-install")

    assert "NODE_ENV is production, so npm leaves out devDependencies" in ran.log


@pytest.mark.parametrize("step", ["npm-install", "npm-test"])
async def test_a_box_without_npm(bench: Bench, step: str) -> None:
    bench.only_fakes()

    ran = await bench.run(step)

    assert ran.exit == 1
    assert ran.message == "this box has no npm. Use a box with Node.js, for example node:22"


async def test_npm_test_ends_with_npms_code(bench: Bench) -> None:
    bench.fake("npm", status=7)

    ran = await bench.run("npm-test")

    assert (ran.exit, ran.reason, ran.argvs) == (7, "ExitCode", [("npm", "test")])
