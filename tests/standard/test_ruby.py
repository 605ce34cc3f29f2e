"""bundle-install, rvm-use and rails-database-yml."""

from __future__ import annotations

import textwrap

import pytest
import yaml

from tests.standard.conftest import Bench


async def test_bundle_install_with_the_projects_settings(bench: Bench) -> None:
    bench.fake("bundle")
    (bench.source / "Gemfile").write_text("")

    ran = await bench.run("bundle-install", without="development test", jobs="4", binstubs="bin")

    assert (ran.exit, ran.exports) == (0, {})
    assert ran.argvs == [
        ("bundle", "config", "set", "--local", "path", f"{bench.cache}/bundle-install"),
        ("bundle", "config", "set", "--local", "without", "development test"),
        ("bundle", "config", "set", "--local", "bin", "bin"),
        ("bundle", "install", "--retry", "3", "--jobs", "4"),
    ]


async def test_bundle_install_of_another_gemfile_path_and_flags(bench: Bench) -> None:
    bench.fake("bundle")
    (bench.source / "gems").mkdir()
    (bench.source / "gems/Gemfile.ci").write_text("")

    ran = await bench.run(
        "bundle-install",
        gemfile="gems/Gemfile.ci",
        path="vendor/bundle",
        deployment="true",
        local="true",
        full_index="true",
        standalone="true",
        jobs="0",
    )

    assert ran.argvs[0][-2:] == ("path", "vendor/bundle")
    assert ran.argvs[1][-2:] == ("deployment", "true")
    assert ran.argvs[2][1:] == (
        "install",
        "--retry",
        "3",
        "--full-index",
        "--local",
        "--standalone",
    )
    assert {call.env["BUNDLE_GEMFILE"] for call in ran.calls} == {f"{bench.source}/gems/Gemfile.ci"}


async def test_bundle_install_without_a_gemfile_passes_with_a_warning(bench: Bench) -> None:
    bench.fake("bundle")

    ran = await bench.run("bundle-install")

    assert (ran.exit, ran.calls) == (0, ())
    assert "there is no Gemfile in" in ran.log


@pytest.mark.parametrize(("clear", "kept"), [("true", False), ("false", True)])
async def test_bundle_install_deletes_the_gems_between_tries(
    bench: Bench, clear: str, kept: bool
) -> None:
    bench.fake("bundle", code='if [ "$1" = install ]; then exit 5; fi')
    (bench.source / "Gemfile").write_text("")
    (bench.cache / "bundle-install").mkdir()

    ran = await bench.run("bundle-install", clear_path=clear)

    assert (ran.exit, ran.message) == (1, "bundle install failed three times")
    assert len([argv for argv in ran.argvs if argv[1] == "install"]) == 3
    assert (bench.cache / "bundle-install").exists() == kept


@pytest.mark.parametrize(
    ("ruby", "lock", "version"),
    [
        ("2.1.5", "", "~> 1.17"),
        ("2.7.8", "", "< 2.5"),
        ("3.3.0", "", ">= 0"),
        ("3.3.0", "GEM\n\nBUNDLED WITH\n   2.4.22\n", "2.4.22"),
    ],
)
async def test_bundle_install_chooses_a_bundler_that_the_ruby_takes(
    bench: Bench, ruby: str, lock: str, version: str
) -> None:
    bench.only_fakes("awk", "sh")
    bench.fake("ruby", out=ruby)
    bench.fake("gem", code=f"/bin/cp '{bench.fakes}/ruby' '{bench.fakes}/bundle'")
    (bench.source / "Gemfile").write_text("")
    if lock:
        (bench.source / "Gemfile.lock").write_text(lock)

    ran = await bench.run("bundle-install")

    assert ran.exit == 0, ran.log
    assert [argv for argv in ran.argvs if argv[0] == "gem"] == [
        ("gem", "install", "bundler", "--no-document", "-v", version)
    ]


async def test_rvm_use_calls_the_sessions_rvm(bench: Bench) -> None:
    ran = await bench.run(
        "rvm-use",
        version="2.1",
        create="true",
        before='rvm() { printf "%s " "$@" > "$HOME/rvm"; RUBY=here; export RUBY; }',
    )

    assert ran.exit == 0, ran.log
    assert (bench.box.root / "home/rvm").read_text() == "use 2.1 --install --create "
    assert ran.exports == {"RUBY": "here"}


async def test_rvm_use_that_fails_fails_the_step(bench: Bench) -> None:
    ran = await bench.run("rvm-use", version="9", before="rvm() { return 3; }")

    assert (ran.exit, ran.message) == (1, "rvm cannot use 9")


@pytest.mark.parametrize("version", ["2.1", "ruby-2.1.5", "2"])
async def test_rvm_use_without_rvm_takes_the_boxs_ruby(bench: Bench, version: str) -> None:
    bench.fake("ruby", out="2.1.5")

    ran = await bench.run("rvm-use", version=version)

    assert (ran.exit, ran.exports) == (0, {})
    assert "this box has no rvm; its Ruby 2.1.5 is used" in ran.log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"version": "2.1"},
            "this box has no rvm, and its Ruby is 2.10.0, not 2.1. Use the box ruby:2.1",
        ),
        ({}, "version is missing: write the Ruby to use, for example version: 2.1"),
    ],
)
async def test_rvm_use_of_a_ruby_that_does_not_exist(
    bench: Bench, options: dict[str, str], message: str
) -> None:
    bench.fake("ruby", out="2.10.0")

    ran = await bench.run("rvm-use", **options)

    assert (ran.exit, ran.message) == (1, message)


LINKED = """\
    test:
      adapter: postgresql
      encoding: utf8
      database: <%= ENV['POSTGRES_ENV_POSTGRES_DB'] || ENV['POSTGRES_ENV_POSTGRES_USER'] || 'postgres' %><%= ENV['TEST_ENV_NUMBER'] %>
      username: <%= ENV['POSTGRES_ENV_POSTGRES_USER'] || 'postgres' %>
      password: <%= ENV['POSTGRES_ENV_POSTGRES_PASSWORD'] %>
      host: <%= ENV['POSTGRES_PORT_5432_TCP_ADDR'] %>
      port: <%= ENV['POSTGRES_PORT_5432_TCP_PORT'] %>
      min_messages: warning
"""  # noqa: E501


async def test_rails_database_yml_of_a_linked_postgres(bench: Bench) -> None:
    bench.env["POSTGRES_PORT_5432_TCP_ADDR"] = "127.0.0.1"

    ran = await bench.run("rails-database-yml")

    assert ran.exit == 0, ran.log
    assert (bench.source / "config/database.yml").read_text() == textwrap.dedent(LINKED)
    assert ran.exports == {}


@pytest.mark.parametrize(
    ("env", "options", "adapter", "host"),
    [
        ({"MYSQL_PORT_3306_TCP_ADDR": "1"}, {}, "mysql2", "MYSQL_PORT_3306_TCP_ADDR"),
        ({"MARIA_DB_PORT_3306_TCP_ADDR": "1"}, {}, "mysql2", "MARIA_DB_PORT_3306_TCP_ADDR"),
        ({"MY_PG_PORT_5432_TCP_ADDR": "1"}, {}, "postgresql", "MY_PG_PORT_5432_TCP_ADDR"),
        ({"WERCKER_MYSQL_HOST": "h"}, {}, "mysql2", "WERCKER_MYSQL_HOST"),
        (
            {"WERCKER_POSTGRESQL_HOST": "h"},
            {},
            "<%= ENV['WERCKER_POSTGRESQL_ADAPTER'] || 'postgresql' %>",
            "WERCKER_POSTGRESQL_HOST",
        ),
        (
            {"POSTGRES_PORT_5432_TCP_ADDR": "1"},
            {"service": "mysql-legacy"},
            "mysql2",
            "WERCKER_MYSQL_HOST",
        ),
    ],
)
async def test_rails_database_yml_of_other_databases(
    bench: Bench, env: dict[str, str], options: dict[str, str], adapter: str, host: str
) -> None:
    bench.env |= env

    ran = await bench.run("rails-database-yml", **options)

    assert ran.exit == 0, ran.log
    written = yaml.safe_load((bench.source / "config/database.yml").read_text())["test"]
    assert (written["adapter"], written["host"]) == (adapter, f"<%= ENV['{host}'] %>")


async def test_rails_database_yml_without_a_database(bench: Bench) -> None:
    ran = await bench.run("rails-database-yml")

    assert ran.exit == 1
    assert ran.message.startswith("there is no database to connect to. Add postgres or mysql")
    assert not (bench.source / "config/database.yml").exists()
