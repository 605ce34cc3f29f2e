"""install-packages, with fakes of the distributions' package managers."""

from __future__ import annotations

import pytest

from tests.standard.conftest import Bench


def lists(bench: Bench) -> str:
    (cache,) = (bench.cache / "wercker/apt").iterdir()
    return f"{cache}/lists"


async def test_apt_updates_once_a_day_and_installs(bench: Bench) -> None:
    bench.fake("apt-get")

    ran = await bench.run("install-packages", packages="git  curl=7.1", times=2)

    directory = f"Dir::State::Lists={lists(bench)}"
    install = ("apt-get", "-o", directory, "install", "-y", "git", "curl=7.1")
    assert ran.exit == 0, ran.log
    assert ran.argvs == [("apt-get", "-o", directory, "update"), install, install]
    assert {call.env["DEBIAN_FRONTEND"] for call in ran.calls} == {"noninteractive"}
    assert ran.exports == {}


async def test_apt_lists_of_another_day_are_fetched_again(bench: Bench) -> None:
    bench.fake("apt-get")
    aged = 'touch -t 202001010000 "$WERCKER_CACHE_DIR"/wercker/apt/*/updated'

    ran = await bench.run("install-packages", packages="git", between=aged, times=2)

    assert [argv[3] for argv in ran.argvs] == ["update", "install", "update", "install"]


async def test_apt_lists_are_fetched_again_where_the_step_asks_for_it(bench: Bench) -> None:
    bench.fake("apt-get")

    ran = await bench.run("install-packages", packages="git", clear_cache="true", times=2)

    assert [argv[3] for argv in ran.argvs] == ["update", "install", "update", "install"]


async def test_apt_is_tried_three_times_with_fresh_lists(bench: Bench) -> None:
    bench.fake("apt-get", fails=2)

    ran = await bench.run("install-packages", packages="git")

    assert [argv[3] for argv in ran.argvs] == ["update", "update", "update", "install"]
    assert ran.exit == 0


async def test_apt_that_never_installs_fails(bench: Bench) -> None:
    bench.fake("apt-get", code='case "$*" in *install*) exit 100 ;; esac')

    ran = await bench.run("install-packages", packages="nothing")

    assert (ran.exit, ran.message) == (1, "apt-get cannot install: nothing")


@pytest.mark.parametrize(
    ("manager", "argv"),
    [
        ("apk", ("apk", "add", "--no-cache", "git")),
        ("dnf", ("dnf", "install", "-y", "git")),
        ("yum", ("yum", "install", "-y", "git")),
    ],
)
async def test_other_distributions(bench: Bench, manager: str, argv: tuple[str, ...]) -> None:
    bench.only_fakes()
    bench.fake(manager)

    ran = await bench.run("install-packages", packages="git")

    assert (ran.exit, ran.argvs) == (0, [argv])
    assert "names of packages may differ" in ran.log


async def test_a_box_without_a_package_manager(bench: Bench) -> None:
    bench.only_fakes()

    ran = await bench.run("install-packages", packages="git")

    assert ran.message == (
        "this box has none of apt-get, apk, dnf and yum. Use a box that has the packages: git"
    )


async def test_no_packages(bench: Bench) -> None:
    ran = await bench.run("install-packages")

    assert ran.message.startswith("packages is missing")
