"""pip-install and virtualenv."""

from __future__ import annotations

import pytest

from tests.standard.conftest import Bench


async def test_pip_install_of_a_file_and_a_list(bench: Bench) -> None:
    bench.fake("pip")
    (bench.source / "requirements.txt").write_text("six\n")

    ran = await bench.run("pip-install", packages_list="a b==1", extra_args="--upgrade -q")

    assert (ran.exit, ran.exports) == (0, {})
    assert ran.argvs == [
        ("pip", "install", "--upgrade", "-q", "-r", "requirements.txt", "a", "b==1")
    ]


async def test_pip_install_with_another_pip_and_no_file(bench: Bench) -> None:
    bench.fake("pip3")

    ran = await bench.run(
        "pip-install", pip_command="pip3", requirements_file="", packages_list="a"
    )

    assert ran.argvs == [("pip3", "install", "a")]


async def test_pip_install_builds_wheels_where_virtualenv_prepared_for_them(bench: Bench) -> None:
    bench.fake("pip")
    (bench.source / "requirements.txt").write_text("six\n")
    wheels = bench.cache / "pip-wheels"
    wheels.mkdir()
    (wheels / "old.whl").write_text("x")
    bench.env |= {"PIP_USE_WHEEL": "true", "PIP_WHEEL_DIR": str(wheels)}

    ran = await bench.run("pip-install", clean_wheel_dir="true", extra_wheel_args="--no-deps")

    assert [argv[1:3] for argv in ran.argvs] == [("wheel", "--no-deps"), ("install", "-r")]
    assert list(wheels.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "requirements.txt does not exist in "),
        ({"requirements_file": ""}, "nothing to install: set requirements_file or packages_list"),
        ({"pip_command": "pip9"}, "this box has no pip9. Use a box with Python and pip"),
    ],
)
async def test_pip_install_that_cannot_begin(
    bench: Bench, options: dict[str, str], message: str
) -> None:
    bench.fake("pip")

    ran = await bench.run("pip-install", **options)

    assert (ran.exit, ran.calls) == (1, ())
    assert ran.message.startswith(message)


async def test_pip_install_fails_with_pip(bench: Bench) -> None:
    bench.fake("pip", status=2)
    (bench.source / "requirements.txt").write_text("six\n")

    ran = await bench.run("pip-install")

    assert (ran.exit, ran.message) == (1, "pip install failed")


async def test_virtualenv_is_active_in_later_steps(bench: Bench) -> None:
    ran = await bench.run(
        "virtualenv",
        install_wheel="false",
        after='python -c "import sys; print(sys.prefix)" > "$HOME/prefix"',
    )

    place = bench.box.root / "home/venv"
    assert ran.exit == 0, ran.log
    assert (bench.box.root / "home/prefix").read_text().strip() == str(place)
    downloads = f"{bench.cache}/pip-download-cache"
    shown = {
        name: text
        for name, text in ran.exports.items()
        if name not in ("PS1", "VIRTUAL_ENV_PROMPT")
    }
    assert shown == {
        "PATH": f"{place}/bin:{bench.fakes}:{bench.path}",
        "PIP_DOWNLOAD_CACHE": downloads,
        "PIP_FIND_LINKS": downloads,
        "VIRTUAL_ENV": str(place),
    }


async def test_virtualenv_uses_an_existing_one_again_and_keeps_wheels(bench: Bench) -> None:
    place = bench.box.root / "made"
    (place / "bin").mkdir(parents=True)
    (place / "bin/activate").write_text("")
    (place / "bin/pip").write_text("#!/bin/sh\nexit 0\n")
    (place / "bin/pip").chmod(0o755)

    ran = await bench.run("virtualenv", virtualenv_location=str(place))

    assert ran.exit == 0, ran.log
    assert "again" in ran.log
    assert ran.exports["PIP_USE_WHEEL"] == "true"
    assert (
        ran.exports["PIP_WHEEL_DIR"] == ran.exports["PIP_FIND_LINKS"] == f"{bench.cache}/pip-wheels"
    )


async def test_virtualenv_that_cannot_be_made_fails_and_activates_nothing(bench: Bench) -> None:
    bench.fake("virtualenv", status=1)

    ran = await bench.run("virtualenv")

    assert (ran.exit, ran.message, ran.exports) == (1, "virtualenv failed", {})


async def test_virtualenv_in_a_box_without_python(bench: Bench) -> None:
    bench.only_fakes()

    ran = await bench.run("virtualenv")

    assert ran.message.startswith("this box has no Python. Use a box that has it")
