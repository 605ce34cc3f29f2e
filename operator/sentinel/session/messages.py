"""What the operator says to boxkit: frozen values and the JSON messages made of them.

The wire is described in `operator/boxkit/README.md`. Durations are in seconds. What boxkit says is in `records`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from sentinel.errors import ProtocolError
from sentinel.layout import BASE_PATH, PIPELINE_DIR, REPORT_DIR

PROTOCOLS = (1, 1)
"""The lowest and highest version of the protocol that this operator speaks, both included."""

Message: TypeAlias = dict[str, Any]
Phase: TypeAlias = Literal["main", "after"]


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A presigned PUT: `headers` are sent with it exactly."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A `cp -r` inside the box: modes and symlinks stay, owner and times do not; a missing source is skipped."""

    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service to wait for before the first step: it is ready when any of its TCP ports on 127.0.0.1 accepts.

    `hosts` asks boxkit to add the alias to /etc/hosts: for aliases that are no DNS names.
    """

    alias: str
    ports: tuple[int, ...]
    hosts: bool = False


@dataclass(frozen=True, kw_only=True)
class AttemptLimits:
    """Of one attempt. `log` in bytes per step; `build` for the main phase, 0 is none; `grace` between TERM and KILL;
    `close` for the uploads that are still to be done when the session closes."""

    log: int = 100 * 1024 * 1024
    build: float = 0.0
    grace: float = 10.0
    close: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A cache that the init container restored to `source`, or "" for none: it is copied to `target`, which is emptied
    before, since the box's image may have one."""

    source: str
    target: str
    entries: int


@dataclass(frozen=True, kw_only=True)
class Open:
    """The first request of an attempt; sent again it refreshes masks, uploads, `ca` and `proxy`.

    `env` is literal and laid over the image's environment in order. `masks` are protected values, as bytes.
    `shell` is an argv, empty for bash or else sh. `source_dir` is where every step begins. What is in the directories
    `clear` is removed, `dirs` are made, then `copies` done. `uploads` maps "log/<ordinal>" to where that log goes; with
    `store` each log gets its URL later (`upload`), and the box waits for it before it ends.
    """

    build: str
    attempt: int
    plan: str = ""
    env: Sequence[tuple[str, str]] = ()
    masks: Sequence[bytes] = ()
    shell: Sequence[str] = ()
    entrypoint: Sequence[str] = ()
    source_dir: str = BASE_PATH
    pipeline_dir: str = PIPELINE_DIR
    report_dir: str = REPORT_DIR
    clear: Sequence[str] = ()
    dirs: Sequence[str] = ()
    copies: Sequence[Copy] = ()
    limits: AttemptLimits = AttemptLimits()
    services: Sequence[Service] = ()
    uploads: Mapping[str, Upload] = field(default_factory=dict)
    cache: Cache | None = None
    store: bool = False
    ca: str = ""
    proxy: str = ""

    def message(self) -> Message:
        """The JSON message, without its `id`."""
        cache = self.cache
        message: Message = {
            "type": "open",
            "build": self.build,
            "attempt": self.attempt,
            "plan": self.plan,
            "env": [list(pair) for pair in self.env],
            "masks": [b64encode(mask).decode("ascii") for mask in self.masks],
            "shell": list(self.shell),
            "entrypoint": list(self.entrypoint),
            "sourceDir": self.source_dir,
            "pipelineDir": self.pipeline_dir,
            "reportDir": self.report_dir,
            "prepare": {
                "clear": list(self.clear),
                "dirs": list(self.dirs),
                "copies": [{"from": copy.source, "to": copy.target} for copy in self.copies],
            },
            "limits": asdict(self.limits),
            "services": [
                {"alias": each.alias, "ports": list(each.ports), "hosts": each.hosts}
                for each in self.services
            ],
            "uploads": {
                what: {"url": upload.url, "headers": dict(upload.headers)}
                for what, upload in self.uploads.items()
            },
            "store": self.store,
            "ca": self.ca,
            "proxy": self.proxy,
        }
        if cache is not None:
            message["cache"] = {"from": cache.source, "to": cache.target, "entries": cache.entries}
        return message


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """One step of a `start`. `ordinal` counts from 1, unique over both phases.

    kind "script" runs `code`; kind "step" copies `dir` to <pipeline_dir>/<id> and runs its init.sh and run.sh; kind
    "operator" waits for a `verdict`.
    `exports` are (name, text) and `cwd` is text: a $ in them is the box's shell's. Timeouts: 0 is none.
    """

    ordinal: int
    id: str
    name: str
    phase: Phase = "main"
    display_name: str = ""
    owner: str = "wercker"
    kind: Literal["script", "step", "operator"] = "script"
    code: str = ""
    dir: str = ""
    exports: Sequence[tuple[str, str]] = ()
    cwd: str = ""
    command_timeout: float = 0.0
    no_response_timeout: float = 0.0

    def message(self) -> Message:
        """The step as an item of `start`."""
        return {
            "phase": self.phase,
            "ordinal": self.ordinal,
            "id": self.id,
            "name": self.name,
            "displayName": self.display_name or self.name,
            "owner": self.owner,
            "kind": self.kind,
            "code": self.code,
            "dir": self.dir,
            "exports": [list(pair) for pair in self.exports],
            "cwd": self.cwd,
            "timeouts": {"command": self.command_timeout, "noResponse": self.no_response_timeout},
        }


@dataclass(frozen=True, kw_only=True)
class Result:
    """What after-steps see of the main phase, where the operator knows better than boxkit's journal."""

    result: Literal["passed", "failed"]
    failed_step_display_name: str = ""
    failed_step_message: str = ""

    def message(self) -> Message:
        """The `result` of a `start`."""
        return {
            "result": self.result,
            "failedStepDisplayName": self.failed_step_display_name,
            "failedStepMessage": self.failed_step_message,
        }


@dataclass(frozen=True, kw_only=True)
class Collect:
    """Pack `path` of the box as tar (gzip if asked) and PUT it. `what` names it in the journal, for ever.

    Without `upload` the box says how large it is (record `packed`) and waits for its URL (`upload`).
    `limit` is in bytes of the archive; 0 is none.

    A `cache` is packed with zstd when no process of the steps is left, which is after `close`, and only if it is not
    what was restored. `limit` is then in bytes of its files, `entries` and `seconds` bound it too.
    """

    what: str
    path: str
    upload: Upload | None = None
    limit: int = 0
    gzip: bool = False
    cache: bool = False
    entries: int = 0
    seconds: float = 0.0

    def message(self) -> Message:
        """The JSON message, without its `id`."""
        message: Message = {
            "type": "collect",
            "what": self.what,
            "path": self.path,
            "url": self.upload.url if self.upload is not None else "",
            "headers": dict(self.upload.headers) if self.upload is not None else {},
            "limit": self.limit,
            "gzip": self.gzip,
        }
        if self.cache:
            message |= {"cache": True, "entries": self.entries, "seconds": self.seconds}
        return message


def hello(*, since: int, follow: Mapping[int, int] | None) -> Message:
    """The first message of a connection. `follow` maps ordinals to log offsets; None: no log bytes at all."""
    offsets = None if follow is None else {str(ordinal): at for ordinal, at in follow.items()}
    lowest, highest = PROTOCOLS
    return {
        "type": "hello",
        # A boxkit of 0.1 knows no range and accepts only its own version, the lowest there is.
        "protocol": lowest,
        "protocols": {"min": lowest, "max": highest},
        "since": since,
        "follow": offsets,
    }


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """boxkit's answer to `hello`: the agreed `protocol`, its own `version`, and what the box knows of a build.

    `seq` is the number of the journal's last record. `build` (uid) and `attempt` are those of `open`; empty and 0
    where the box was never opened.
    """

    protocol: int
    version: str = ""
    seq: int = 0
    build: str = ""
    attempt: int = 0


def parse_welcome(message: Mapping[str, Any]) -> Welcome:
    """The `welcome` in a message. Raises ProtocolError where a field is missing or of another type."""
    try:
        return Welcome(
            protocol=int(message["protocol"]),
            version=str(message.get("version", "")),
            seq=int(message.get("seq") or 0),
            build=str(message.get("build") or ""),
            attempt=int(message.get("attempt") or 0),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"boxkit sent a welcome that cannot be decoded: {error!r}") from error


def start(steps: Sequence[StepSpec], *, result: Result | None = None) -> Message:
    """Queue `steps`. Those queued before are left alone by boxkit, so this may be sent again blindly."""
    message: Message = {"type": "start", "steps": [step.message() for step in steps]}
    if result is not None:
        message["result"] = result.message()
    return message


def cancel(reason: str, *, after: bool = False) -> Message:
    """Stop what runs, skip what is queued; `after` lets after-steps run all the same."""
    return {"type": "cancel", "reason": reason, "after": after}


def upload(what: str, to: Upload) -> Message:
    """Where a finished log ("log/<ordinal>") or a packed archive goes."""
    return {"type": "upload", "what": what, "url": to.url, "headers": dict(to.headers)}


def verdict(ordinal: int, *, exit_code: int, message: str = "") -> Message:
    """End a running step of kind "operator". Sent again it changes nothing."""
    return {"type": "verdict", "ordinal": ordinal, "exit": exit_code, "message": message}


def note(key: str, text: str) -> Message:
    """Put `text` into the log of the step that runs, or of the next one; once for each key."""
    return {"type": "note", "key": key, "text": text}


def environment() -> Message:
    """Ask for the exported environment at the last step boundary."""
    return {"type": "environment"}


def close() -> Message:
    """No more steps: boxkit ends once its queue is empty and its uploads are done."""
    return {"type": "close"}


def ping(n: int) -> Message:
    """Heartbeat; the answer is `pong` with the same n."""
    return {"type": "ping", "n": n}


def pong(n: int) -> Message:
    """The answer to boxkit's `ping`."""
    return {"type": "pong", "n": n}


def number(value: Any) -> int:
    """A number of the other side's choice; 0 for anything else."""
    return value if isinstance(value, int) and abs(value) < 2**63 else 0
