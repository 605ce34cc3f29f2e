"""Pipelines of our own, each with the features of one real wercker.yml (its number in the shared corpus), and what must
come of them (wercker.md). Nothing of those files is copied.

`{box}`, `{redis}` and `{registry}` are the lab's. Real braces are doubled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """`like`: the corpus file; `spec` beside the source; `says`: (step's display name, what its log is exactly)."""

    like: str
    about: str
    text: str
    spec: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    phase: str = "Succeeded"
    states: tuple[str, ...] = ()
    says: tuple[tuple[str, str], ...] = ()
    message: str = ""


PIPELINES = (
    Pipeline(
        like="005",
        about="steps by their bare names",
        text="box: {box}\nbuild:\n  steps:\n    - lab/setup-workspace\n    - lab/greet\n",
        says=(("greet", "hello world!\n"),),
    ),
    Pipeline(
        like="014",
        about="steps whose options are indented like themselves, blank lines between",
        text="box: {box}\nbuild:\n  steps:\n    - lab/setup-workspace\n\n    - script:\n      name: copy\n"
        '      code: |\n        cp -R ./README.md "$WERCKER_OUTPUT_DIR"\n        ls "$WERCKER_OUTPUT_DIR"\n',
        says=(("copy", "README.md\n"),),
    ),
    Pipeline(
        like="016",
        about="several pipelines, each with a box of its own, and none above them",
        text="py2:\n  box: {registry}/box/nowhere:1\n  steps: []\npy3:\n  box: {box}\n  steps:\n"
        "    - script:\n        name: where\n        code: |\n          cd /tmp\n          pwd\n"
        "    - script: {{name: back, code: pwd}}\n",
        spec={"pipeline": "py3"},
        says=(("where", "/tmp\n"), ("back", "/pipeline/source\n")),
    ),
    Pipeline(
        like="025",
        about="unexported variables, BASH_SOURCE, a longer silence",
        text="box: {box}\nno-response-timeout: 10\nbuild:\n  steps:\n    - script:\n        name: set\n"
        '        code: |\n          HERE="$( cd "$( dirname "${{BASH_SOURCE[0]}}" )" && pwd )"\n'
        '          test "$HERE" = "$WERCKER_STEP_ROOT"\n          MODULES="${{WERCKER_ROOT}}/../modules"\n'
        '    - script: {{name: use, code: \'mkdir -p "$MODULES"; cd "$MODULES"; pwd\'}}\n',
        says=(("use", "/pipeline/modules\n"),),
    ),
    Pipeline(
        like="029",
        about="a loop folded over several lines of a plain scalar",
        text="box: {box}\nbuild:\n  steps:\n    - script:\n      name: loop\n      code: for D in a b; do\n"
        '              if [ -n "${{D}}" ]; then\n                echo "dir ${{D}}";\n              fi\n'
        "            done\n",
        says=(("loop", "dir a\ndir b\n"),),
    ),
    Pipeline(
        like="030",
        about="a root that is indented below ---, versions and quoted numbers",
        text='---\n  box: {box}\n  build:\n    steps:\n      - lab/make-temp@1.1.0:\n          envvar: "T"\n'
        "          type: directory\n      - script: {{name: there, code: 'test -d \"$T\" && echo yes'}}\n",
        says=(("there", "yes\n"),),
    ),
    Pipeline(
        like="032",
        about="a timeout with a comment behind it, two pipelines of equal shape",
        text="box: {box}\n\ncommand-timeout: 60 # minutes\n\ntest1:\n  steps:\n    - script:\n        name: one\n"
        "        code: bash ./test.sh wercker\n\ntest2:\n  steps:\n    - script:\n        name: two\n"
        "        code: bash ./test.sh wercker\n",
        files={"test.sh": 'echo "$1 $0"\n'},
        spec={"pipeline": "test2"},
        says=(("two", "wercker ./test.sh\n"),),
    ),
    Pipeline(
        like="053",
        about="an after-step with options indented like itself, from the Build's variables",
        text="box: {box}\nbuild:\n  steps:\n    - script: {{name: work, code: 'true'}}\n  after-steps:\n"
        "    - lab/notify:\n      room: $ROOM_URL\n      notify_on: always\n"
        "    - script: {{name: room, code: 'grep -c passed $ROOM_URL'}}\n",
        spec={"env": [{"name": "ROOM_URL", "value": "/tmp/room"}]},
        says=(("room", "1\n"),),
    ),
    Pipeline(
        like="054",
        about="code that begins with a command substitution; a notifier that only tells failures",
        text="box: {box}\nbuild:\n  steps:\n    - script:\n        name: lint\n        code: $(echo echo) linted src\n"
        "  after-steps:\n    - lab/notify:\n      room: /tmp/room\n      notify_on: failed\n"
        "    - script: {{name: quiet, code: 'test ! -e /tmp/room && echo nothing was told'}}\n",
        says=(("lint", "linted src\n"), ("quiet", "nothing was told\n")),
    ),
    Pipeline(
        like="056",
        about="a service by its name, reached by it and by its link variables",
        text="box: {box}\nservices:\n    - {redis}\nbuild:\n  steps:\n    - script:\n        name: link\n        code: |\n"
        '          echo "$REDIS_PORT_6379_TCP_ADDR $REDIS_PORT_6379_TCP_PORT"\n'
        "          exec 3<>/dev/tcp/redis/6379; printf 'PING\\r\\n' >&3; read -r line <&3; echo \"${{line%?}}\"\n",
        says=(("link", "127.0.0.1 6379\n+PONG\n"),),
    ),
    Pipeline(
        like="060",
        about="a cache directory from the environment; most of the file in comments",
        text="# x\nbox:\n    id: {box}\nbuild:\n  steps:\n#    - script:\n#      name: gone\n"
        "    - script:\n      name: set cache\n      code: |\n        export TOOL_CACHE=$WERCKER_CACHE_DIR/tool\n"
        '    - script:\n      name: use cache\n      code: |\n        HOME=$TOOL_CACHE; mkdir -p "$HOME"; echo "$HOME"\n',
        says=(("use cache", "/pipeline/cache/tool\n"),),
    ),
    Pipeline(
        like="061",
        about="services with names, cmd; cwd below the source with variables; a quoted argument with a space",
        text='box:\n  id: {box}\n  ports:\n    - "3000:3000"\nbuild:\n    services:\n      - name: store\n        id: {redis}\n'
        "        cmd: redis-server --port 7000\n        ports: [7000]\n    steps:\n        - script:\n            name: inside\n"
        '            cwd: $WERCKER_SOURCE_DIR/lib/support/\n            code: sh ./here.sh "/ lib x1"\n'
        '        - script:\n            name: env\n            code: echo "$STORE_PORT_7000_TCP"\n',
        files={"lib/support/here.sh": 'printf "%s\\n" "$1" "${PWD##*/}"\n'},
        says=(("inside", "/ lib x1\nsupport\n"), ("env", "tcp://127.0.0.1:7000\n")),
    ),
    Pipeline(
        like="076",
        about="an entrypoint of several words before the shell, cmd that names it, a tag beside the id",
        text="build:\n  box:\n    id: {registry}/box/debian\n    tag: 12\n"
        "    entrypoint: /usr/bin/env --ignore-signal=HUP FROM_ENTRYPOINT=yes\n    cmd: /bin/bash\n"
        "  steps:\n    - script:\n        name: inside\n        code: |\n          set -ex\n"
        '          test "$FROM_ENTRYPOINT" = yes\n          { set +x; } 2>/dev/null\n          echo "${{BASH_VERSION%%.*}}"\n'.replace(
            "{ set +x; }", "{{ set +x; }}"
        ),
        says=(("inside", "+++ test yes = yes\n5\n"),),
    ),
    Pipeline(
        like="095",
        about="a step that changes what later steps find, by a file in the home directory",
        text="box: {box}\nbuild:\n  steps:\n    - script:\n        name: set\n        code: |\n          echo production=false > ~/.toolrc\n"
        "    - lab/write-file:\n        filename: ~/.other\n        content: x\n"
        "    - script: {{name: get, code: 'cat ~/.toolrc'}}\n",
        says=(("get", "production=false\n"),),
    ),
    Pipeline(
        like="101",
        about="exports between steps, sudo in a box without it",
        text="box: {box}\n\nbuild:\n    steps:\n        - script:\n            name: set version\n            code: |\n"
        '                export TOOL_VERSION="1.6.1"\n                echo "Installing version $TOOL_VERSION"\n'
        "        - script:\n            name: install\n            code: |\n                sudo touch /opt/tool-$TOOL_VERSION\n"
        "                ls /opt\n",
        says=(("set version", "Installing version 1.6.1\n"), ("install", "tool-1.6.1\n")),
    ),
    Pipeline(
        like="102",
        about="a pipeline's own services in place of the file's, until-loops, pipelines not called build",
        text="box: {box}\nservices: [{registry}/box/nowhere:1]\ntest:\n  services:\n    - {redis}\n  steps:\n    - script:\n        name: wait\n"
        "        code: until (exec 3<>/dev/tcp/redis/6379) 2>/dev/null; do sleep 0.1; done; echo up\n",
        spec={"pipeline": "test"},
        says=(("wait", "up\n"),),
    ),
    Pipeline(
        like="103",
        about="base-path below a Go workspace, options that look like hashes, files tested with [[ ]]",
        text="build:\n  box: {box}\n  base-path: /go/src/example.com/lab/blueprint\n  steps:\n"
        "    - lab/write-file:\n        filename: fingerprint\n        content: nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8\n"
        "    - script:\n        name: apply\n        code: |\n          [[ -e ./fingerprint ]] || exit 1\n          pwd; wc -c < fingerprint\n",
        says=(("apply", "/go/src/example.com/lab/blueprint\n44\n"),),
    ),
    Pipeline(
        like="106",
        about="a script with a shebang, where only the last command counts; backticks; substitutions of bash",
        text="box: {box}\nbuild:\n  steps:\n  - script:\n    name: Hello\n    code: |\n"
        '      export JAR="`grep -m1 "<version>" pom.xml | cut -f2 -d">" | cut -f1 -d "<"`"\n'
        '      export TAG="${{WERCKER_GIT_BRANCH//[_\\/]/-}}"\n      echo "$JAR $TAG"\n  - script:\n    name: shebang\n    code: |\n'
        "      #!/bin/bash\n      false\n      echo went on\n",
        files={"pom.xml": "<project>\n<version>2.4</version>\n</project>\n"},
        says=(("Hello", "2.4 main\n"), ("shebang", "went on\n")),
    ),
    Pipeline(
        like="108",
        about="a box whose cmd chooses sh, a tag by itself, variables of a service in exports",
        text="box:\n  id: {registry}/box/debian\n  tag: 12\n  cmd: /bin/sh\n\nbuild:\n  services:\n    - {redis}\n  steps:\n"
        "      - script:\n        name: set env vars\n        code: |\n          export MODE=test\n"
        "          export SVC=${{REDIS_PORT_6379_TCP_ADDR}}\n\n      - script:\n        name: use\n"
        '        code: echo "$MODE $SVC ${{BASH_VERSION-none}}"\n',
        says=(("use", "test 127.0.0.1 none\n"),),
    ),
    Pipeline(
        like="111",
        about="fail after ||, a brace expansion in rm, a project that is itself a step",
        text="box: {box}\n\nbuild:\n  steps:\n    - script:\n        name: test run.sh\n        code: |\n          export PORT=80\n"
        "          . $WERCKER_ROOT/run.sh\n          grep -q 'port: 80' out.yml || fail \"expansion not working\"\n"
        "          grep -q 'port: 81' out.yml || fail \"port 81 is missing\"\n    - script:\n        name: prepare output\n"
        "        code: rm -rf $WERCKER_ROOT/{{.git,out.yml}}\n",
        files={"run.sh": 'echo "port: $PORT" > out.yml\n'},
        phase="Failed",
        states=("Failed", "Skipped"),
        message="port 81 is missing",
    ),
    Pipeline(
        like="112",
        about="a step used twice with other options, stale variables of the first use included",
        text="box: {box}\nbuild:\n  steps:\n    - lab/greet:\n        whom: first\n        times: 2\n    - lab/greet:\n        name: again\n"
        "        whom: second\n    - lab/only-on:\n        text: said\n        branches: ma*\n",
        says=(
            ("greet", "hello first!\nhello first!\n"),
            ("again", "hello second!\n"),
            ("only-on", "said\n"),
        ),
    ),
    Pipeline(
        like="124",
        about="a deploy with options from the Build, in underscores; a target section is chosen by name",
        text="box: {box}\nbuild:\n    steps: []\ndeploy:\n    steps:\n        - script: {{code: exit 9}}\n    production:\n"
        "        - lab/write-file:\n            filename: $KEY_FILE\n            content: $KEY\n"
        "        - script: {{name: show, code: 'cat $KEY_FILE; echo $WERCKER_DEPLOYTARGET_NAME $DEPLOY ${{CI-unset}}'}}\n",
        spec={
            "pipeline": "deploy",
            "deployTarget": "production",
            "env": [
                {"name": "KEY_FILE", "value": "/tmp/key"},
                {"name": "KEY", "value": 'a$b`c"d'},
            ],
        },
        says=(("show", 'a$b`c"d\nproduction true unset\n'),),
    ),
)
