"""Steps that run one tool of a language: shellcheck, maven, yarn, gradle, grunt and others."""

from __future__ import annotations

import pytest

from tests.standard.conftest import Bench, HttpStub


async def test_shellcheck(bench: Bench) -> None:
    bench.fake("shellcheck")
    for name in ("a.sh", "b.sh", "c.bash"):
        (bench.source / name).write_text("")

    ran = await bench.run(
        "shellcheck",
        files="*.sh,c.bash",
        separator=",",
        exclude="SC1,SC2",
        format="gcc",
        shell="sh",
    )

    assert (ran.exit, ran.exports) == (0, {})
    assert ran.argvs == [
        ("shellcheck", "--exclude=SC1,SC2", "--format=gcc", "--shell=sh", "a.sh", "b.sh", "c.bash")
    ]


async def test_shellcheck_fails_with_its_findings(bench: Bench) -> None:
    bench.fake("shellcheck", out="a.sh:1: wrong\n", status=1)
    (bench.source / "a.sh").write_text("")

    assert (await bench.run("shellcheck")).exit == 1


async def test_shellcheck_without_files(bench: Bench) -> None:
    bench.fake("shellcheck")

    ran = await bench.run("shellcheck")

    assert ran.message.startswith("no file matches *.sh in ")


async def test_maven(bench: Bench) -> None:
    bench.fake("mvn")
    bench.env["JAVA_HOME"] = "/java"

    ran = await bench.run(
        "maven",
        goals="clean package -DskipTests",
        settings="s.xml",
        profiles="ci",
        pom="app/pom.xml",
        cache_repo="true",
        maven_opts="-Xmx1g",
        debug="true",
    )

    assert (ran.exit, ran.exports) == (0, {"MAVEN_OPTS": "-Xmx1g"})
    assert ran.argvs == [
        (
            *("mvn", "--batch-mode", "-X", "--settings=s.xml", "-Pci", "--file=app/pom.xml"),
            *(f"-Dmaven.repo.local={bench.cache}/.m2", "clean", "package", "-DskipTests"),
        )
    ]
    assert ran.calls[0].env["MAVEN_OPTS"] == "-Xmx1g"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "goals is missing"),
        ({"goals": "test", "version": "3.9"}, "mvn 3.9 is missing: this box has none"),
    ],
)
async def test_maven_that_cannot_begin(bench: Bench, options: dict[str, str], message: str) -> None:
    bench.only_fakes()
    bench.env["JAVA_HOME"] = "/java"

    ran = await bench.run("maven", **options)

    assert ran.exit == 1
    assert ran.message.startswith(message)


@pytest.mark.parametrize(
    ("step", "option", "folder"),
    [("yarn-install", "opts", "bashaus/yarn-install"), ("yarn", "options", "wercker/yarn")],
)
async def test_yarn(bench: Bench, step: str, option: str, folder: str) -> None:
    bench.fake("yarn", fails=2)

    ran = await bench.run(step, production="true", **{option: "--silent"})

    assert ran.exit == 0, ran.log
    assert [argv[1:] for argv in ran.argvs] == [("install", "--production", "--silent")] * 3
    assert ran.calls[0].env["YARN_CACHE_FOLDER"] == f"{bench.cache}/{folder}"


async def test_yarn_that_never_installs_fails(bench: Bench) -> None:
    bench.fake("yarn", status=1)

    ran = await bench.run("yarn", cache="false", pure_lockfile="true")

    assert (ran.exit, ran.message) == (1, "yarn install failed three times")
    assert ran.argvs[0] == ("yarn", "install", "--pure-lockfile")


async def test_glide_install_and_dep(bench: Bench) -> None:
    bench.fake("glide")
    ran = await bench.run("glide-install")
    assert (ran.exit, ran.argvs) == (0, [("glide", "install")])
    assert "not maintained any more" in ran.log


async def test_dep(bench: Bench) -> None:
    bench.fake("dep", status=1)
    ran = await bench.run("dep", update="true", verbose="true", opt="-vendor-only")
    assert (ran.exit, ran.argvs) == (1, [("dep", "ensure", "-update", "-v", "-vendor-only")])


async def test_gradle(bench: Bench) -> None:
    bench.fake("gradle")

    ran = await bench.run(
        "gradle", task="clean build", build_file="x.gradle", system_props="a=b -Dc=d"
    )

    assert ran.argvs == [
        ("gradle", "--no-daemon", "--build-file=x.gradle", "-Da=b", "-Dc=d", "clean", "build")
    ]
    assert ran.calls[0].env["GRADLE_USER_HOME"] == f"{bench.cache}/gradle"


async def test_gradle_prefers_the_projects_own(bench: Bench) -> None:
    bench.fake("gradle", status=9)
    (bench.source / "gradlew").write_text("#!/bin/sh\necho wrapped\n")
    (bench.source / "gradlew").chmod(0o755)

    ran = await bench.run("gradle", task="build")

    assert (ran.exit, ran.log) == (0, "wrapped\n")


@pytest.mark.parametrize(("strict", "status"), [("false", 0), ("true", 6)])
async def test_grunt_with_warnings(bench: Bench, strict: str, status: int) -> None:
    bench.fake("grunt", status=6)

    ran = await bench.run("grunt", tasks="build test", gruntfile="G.js", fail_on_warnings=strict)

    assert (ran.exit, ran.argvs) == (status, [("grunt", "build", "test", "--gruntfile", "G.js")])


async def test_grunt_that_fails(bench: Bench) -> None:
    bench.fake("grunt", status=3)

    assert (await bench.run("grunt")).exit == 3


async def test_jshint_into_the_artifacts(bench: Bench) -> None:
    bench.fake("jshint", out="<jslint/>")

    ran = await bench.run("jshint", type="artifact", files="src")

    assert (ran.exit, ran.argvs) == (0, [("jshint", "--reporter=jslint", "src")])
    report = bench.box.root / "report/jshint-2/artifacts/jshint.xml"
    assert report.read_text() == "<jslint/>"


async def test_jshint_fails_with_its_findings(bench: Bench) -> None:
    bench.fake("jshint", status=2)

    assert (await bench.run("jshint")).exit == 2


@pytest.mark.parametrize(("status", "exit_code", "calls"), [(0, 0, 1), (6, 0, 1), (1, 1, 3)])
async def test_bower_install(bench: Bench, status: int, exit_code: int, calls: int) -> None:
    bench.fake("bower", status=status)

    ran = await bench.run("bower-install", options="-p")

    assert (ran.exit, len(ran.calls)) == (exit_code, calls)
    cache = f"--config.storage.packages={bench.cache}/wercker/bower"
    assert ran.argvs[0] == ("bower", "install", "--allow-root", cache, "-p")


async def test_composer_install(bench: Bench) -> None:
    bench.fake("composer", fails=1)

    ran = await bench.run("composer-install", opts="--prefer-dist")

    assert ran.exit == 0, ran.log
    assert ran.argvs[1] == ("composer", "install", "--no-interaction", "--no-dev", "--prefer-dist")


async def test_npm_run_and_cap(bench: Bench) -> None:
    bench.fake("npm")
    ran = await bench.run("npm-run", script="build")
    assert (ran.exit, ran.argvs) == (0, [("npm", "run", "build")])


async def test_cap(bench: Bench) -> None:
    bench.fake("bundle", status=4)
    ran = await bench.run("cap", stage="production")
    assert (ran.exit, ran.argvs) == (4, [("bundle", "exec", "cap", "production", "deploy")])


async def test_copy_to_output(bench: Bench) -> None:
    for name in ("a", ".hidden", "node_modules"):
        (bench.source / name).mkdir()
        (bench.source / name / "x").write_text(name)

    ran = await bench.run("copy-to-output", exclude="node_modules/ other")

    assert ran.exit == 0, ran.log
    assert sorted(each.name for each in bench.output.iterdir()) == [".hidden", "a"]


async def test_rsync_deploy(bench: Bench) -> None:
    bench.fake("rsync", status=12)

    ran = await bench.run(
        "rsync-deploy",
        host="h.example.com",
        directory="/srv",
        sshkey="key",
        sshport="2222",
        exclude=".git",
    )

    assert ran.exit == 12
    assert ran.argvs == [
        (
            "rsync",
            "-az",
            "--delete",
            "-e",
            "ssh -o BatchMode=yes -p 2222 -i key",
            "--exclude=.git",
            "./",
            "ubuntu@h.example.com:/srv",
        )
    ]


async def test_rails_mongoid_yml(bench: Bench) -> None:
    bench.env["MONGO_PORT_27017_TCP_ADDR"] = "127.0.0.1"

    ran = await bench.run("rails-mongoid-yml", db_name="mine")

    assert (ran.exit, ran.exports) == (0, {"MONGOID_ENV": "test"})
    assert "database: mine" in (bench.source / "config/mongoid.yml").read_text()
    assert "- 127.0.0.1:27017" in (bench.source / "config/mongoid.yml").read_text()


async def test_elasticsearch_rails_env_var(bench: Bench) -> None:
    bench.env["ELASTICSEARCH_PORT_9200_TCP_ADDR"] = "127.0.0.1"

    ran = await bench.run("elasticsearch-rails-env-var")

    assert ran.exports == {"ELASTICSEARCH_URL": "http://127.0.0.1:9200"}


@pytest.mark.parametrize("step", ["rails-mongoid-yml", "elasticsearch-rails-env-var"])
async def test_a_database_that_does_not_exist(bench: Bench, step: str) -> None:
    ran = await bench.run(step)

    assert (ran.exit, ran.exports) == (1, {})
    assert ran.message.startswith("there is no ")


async def test_expandenv_replaces_variables_and_nothing_else(bench: Bench) -> None:
    bench.env["NAME"] = "world"
    (bench.source / "in").write_text("$NAME ${NAME}! $(id) `id` $1 $$ ${NOT_SET}. 'x'\n")

    ran = await bench.run("expandenv", input_file="in", output_file="out")

    assert (ran.exit, ran.exports) == (0, {})
    assert (bench.source / "out").read_text() == "world world! $(id) `id` $1 $$ . 'x'\n"


async def test_expandenv_into_a_variable(bench: Bench) -> None:
    bench.env["NAME"] = "world"
    (bench.source / "in").write_text("hello $NAME\n")

    ran = await bench.run("expandenv", input_file="in")

    assert ran.exports == {"EXPANDENV_OUTPUT": "hello world"}


@pytest.mark.parametrize(
    ("step", "tool"), [("terraform-install", "terraform"), ("install-phantomjs", "phantomjs")]
)
async def test_a_tool_of_the_operators_on_the_path(bench: Bench, step: str, tool: str) -> None:
    bench.only_fakes()
    bench.provide(tool, "1.0", "#!/bin/sh\necho provided\n")

    ran = await bench.run(step, version="1.0", times=2)

    assert ran.exit == 0, ran.log
    assert ran.exports == {"PATH": f"{bench.box.root}/tools:{bench.fakes}:{bench.path}"}


async def test_install_aws_cli(bench: Bench) -> None:
    bench.fake("aws", out="aws-cli/2\n")

    ran = await bench.run("install-aws-cli", key="id", secret="s3cret")

    assert ran.exports == {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


async def test_marathon_deploy(bench: Bench, http: HttpStub) -> None:
    (bench.source / "app.json").write_text('{"id": "x"}')

    ran = await bench.run(
        "marathon-deploy", marathon_url=f"{http.url}/", app_json_file="app.json", auth_token="t"
    )

    assert ran.exit == 0, ran.log
    (request,) = http.requests
    assert (request.method, request.path, request.body) == ("PUT", "/v2/apps", b'{"id": "x"}')
    assert request.headers["Authorization"] == "token=t"


async def test_marathon_deploy_that_is_refused(bench: Bench, http: HttpStub) -> None:
    http.answer("locked", status=409)
    (bench.source / "app.json").write_text("{}")

    ran = await bench.run("marathon-deploy", marathon_url=http.url, app_json_file="app.json")

    assert ran.message == "Marathon refused: 127.0.0.1 answered with HTTP 409 Conflict: locked"


async def test_nodebrew_use_calls_the_sessions_nodebrew(bench: Bench) -> None:
    ran = await bench.run(
        "nodebrew-use",
        version="v4.2",
        create="true",
        before='nodebrew() { echo "$@" >> "$HOME/calls"; }',
    )

    assert ran.exit == 0, ran.log
    assert (bench.box.root / "home/calls").read_text() == "install-binary v4.2\nuse v4.2\n"


@pytest.mark.parametrize(("version", "status"), [("4.2", 0), ("v4", 0), ("4.20", 1)])
async def test_nodebrew_use_without_nodebrew(bench: Bench, version: str, status: int) -> None:
    bench.fake("node", out="v4.2.1\n")

    assert (await bench.run("nodebrew-use", version=version)).exit == status


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nversion: 1.0.0\n", ""),
        ('name: x\nversion: "1.0.0"  # first\n', ""),
        ("name: x\n", "step.yml has no version at the left margin"),
        ("name: x\nversion: 1\n", "version is '1' in step.yml: write three numbers, such as 1.0.0"),
    ],
)
async def test_validate_wercker_step(bench: Bench, text: str, message: str) -> None:
    (bench.source / "step.yml").write_text(text)
    (bench.source / "run.sh").write_text("")

    ran = await bench.run("validate-wercker-step")

    assert (ran.exit, ran.message) == (int(bool(message)), message)


async def test_validate_wercker_box(bench: Bench) -> None:
    (bench.source / "wercker-box.yml").write_text("name: x\nversion: 1.2.3\n")

    assert (await bench.run("validate-wercker-box")).exit == 0
