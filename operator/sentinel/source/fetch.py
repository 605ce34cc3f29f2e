"""The fetcher: a build pod's init container has exactly one commit, or archive, on the read-only volume.

Run as `python3 -I -m sentinel.source.fetch`. Its task is the JSON in $SENTINEL_FETCH; it also lets boxkit install
itself, at the same time. It stands on every build's critical path, so it imports the standard library only, and of
that only what starts fast (a test asserts it).

Ends with 0; with 1 where the user can mend it, 2 where the network or server failed after three tries, 3 where we are
wrong ourselves. Then the termination log holds {"reason", "message"} and stderr has one line with the same message.
Credentials come from mounted files, and leave no trace in the checkout: people run git in it.
"""

# pathlib costs 5 ms of the start:
# ruff: noqa: PTH102, PTH103, PTH108, PTH110, PTH112, PTH114, PTH120, PTH123, PTH208

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

from sentinel.source.address import is_commit, parse_address, valid_ref
from sentinel.source.complaint import (
    INTERNAL,
    SOURCE_INVALID,
    SOURCE_NOT_FOUND,
    SOURCE_UNAVAILABLE,
    Kind,
    diagnose,
    explain,
    quote,
)
from sentinel.source.gitcommand import environment, write_ref, write_repository, write_ssh_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "SENTINEL_FETCH"
TRIES = 3
TIMEOUT = 600.0
"""Seconds for everything together."""

_EXIT = {SOURCE_UNAVAILABLE: 2, INTERNAL: 3}
_MAX_MESSAGE = 2000


class FetchError(Exception):
    """Ends the fetcher. `reason` is a word of the closed list; `git` is what git itself said, if it did."""

    def __init__(self, reason: str, message: str, *, kind: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.kind = kind


class Task:
    """What to fetch and where to, from the JSON that `plan` wrote.

    url, commit: 40 hexadecimal digits; ref, branch, tag: what the commit was found as, "" if it was not; dest: an
    existing or missing directory; kit: where boxkit installs itself, "" for nowhere; secretDir: mounted Secret or "".
    With sha256, 64 hexadecimal digits, url is an archive's, and there is no commit.
    """

    def __init__(self, text: str) -> None:
        try:
            data: dict[str, Any] = json.loads(text)
            self.url = str(data["url"])
            self.sha256 = str(data.get("sha256") or "")
            self.commit = "" if self.sha256 else str(data["commit"]).lower()
            self.ref = str(data.get("ref") or "")
            self.branch = str(data.get("branch") or "")
            self.tag = str(data.get("tag") or "")
            self.submodules = bool(data.get("submodules"))
            self.dest = str(data.get("dest") or "/mnt/wercker/source")
            self.kit = str(data.get("kit") or "")
            self.secret_dir = str(data.get("secretDir") or "")
            self.termination_log = str(data.get("terminationLog") or "/dev/termination-log")
            self.allow_file = bool(data.get("allowFile"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FetchError(INTERNAL, f"${VARIABLE} is no task: {error!r}") from error
        if self.sha256:
            if len(self.sha256) != 64 or self.sha256.strip("0123456789abcdef"):
                raise FetchError(INTERNAL, f"${VARIABLE}: {self.sha256!r} is not a sha256")
        elif not is_commit(self.commit):
            raise FetchError(INTERNAL, f"${VARIABLE}: {self.commit!r} is not a full commit id")
        if any(name and not valid_ref(name) for name in (self.ref, self.branch, self.tag)):
            raise FetchError(INTERNAL, f"${VARIABLE}: a ref in it is none git would accept")


class Git:
    """Runs git in the checkout, with the credentials of the task."""

    def __init__(self, task: Task) -> None:
        secrets = {
            name: _read(task.secret_dir, name)
            for name in ("username", "password", "ssh-privatekey")
        }
        try:
            self.address = parse_address(task.url, allow_file=task.allow_file)
        except ValueError as error:
            raise FetchError(SOURCE_NOT_FOUND, str(error)) from error
        username = secrets["username"].strip() or self.address.username
        password = secrets["password"].strip() or self.address.password
        key, known_hosts = secrets["ssh-privatekey"], _read(task.secret_dir, "known_hosts")
        self.scratch, key_file, known_hosts_file = "", "", ""
        if key or known_hosts:
            # Ours alone: a fresh directory with mode 0700.
            self.scratch = f"{os.environ.get('TMPDIR') or '/tmp'}/sentinel-git-{os.getpid()}"  # noqa: S108
            os.mkdir(self.scratch, 0o700)
            key_file, known_hosts_file = write_ssh_files(
                self.scratch, key=key, known_hosts=known_hosts
            )
        self.has_credentials = bool(username or password or key_file)
        self.hidden = (password, username if password else "")
        self.dest = task.dest
        self.deadline = time.monotonic() + TIMEOUT
        self.environment = environment(
            address=self.address,
            username=username,
            password=password,
            key_file=key_file,
            known_hosts_file=known_hosts_file,
            allow_file=task.allow_file,
        )

    def run(self, *arguments: str, ref: str) -> str:
        """git's standard output. FetchError in git's own words, which name `ref` where it was not found."""
        process = subprocess.Popen(
            ["git", *arguments],
            cwd=self.dest,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=max(self.deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise FetchError(
                SOURCE_UNAVAILABLE,
                f"{self.address.url} did not deliver within {TIMEOUT:.0f} seconds",
            ) from None
        if process.returncode == 0:
            return out.decode("utf-8", "replace")
        text = err.decode("utf-8", "replace")
        kind = diagnose(text)
        reason, message = explain(
            address=self.address,
            kind=kind,
            said=quote(text, self.hidden),
            ref=ref,
            has_credentials=self.has_credentials,
        )
        raise FetchError(reason, message, kind=kind)

    def close(self) -> None:
        """Remove the key file."""
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)


def _read(directory: str, name: str) -> str:
    if not directory:
        return ""
    try:
        with open(f"{directory}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def check_out(task: Task, git: Git) -> None:
    """Have exactly `task.commit` in `task.dest`, with a .git that people can use: branch, tag and remote are set."""
    git_dir = f"{task.dest}/.git"
    _make_empty(task.dest)
    write_repository(
        git_dir, url=git.address.url, bare=False, partial=False, branch=task.branch, fetch=True
    )
    _fetch(task, git)
    if task.branch:
        write_ref(git_dir, f"refs/heads/{task.branch}", task.commit)
        write_ref(git_dir, f"refs/remotes/origin/{task.branch}", task.commit)
    else:
        with open(f"{git_dir}/HEAD", "w", encoding="utf-8") as file:
            file.write(task.commit + "\n")
    if task.tag:
        write_ref(git_dir, f"refs/tags/{task.tag}", task.commit)
    git.run("read-tree", "-u", "--reset", task.commit, ref=task.commit)
    if task.submodules and os.path.exists(f"{task.dest}/.gitmodules"):
        _patiently(
            lambda: git.run(
                "submodule",
                "--quiet",
                "update",
                "--init",
                "--recursive",
                "--depth=1",
                ref="a submodule's commit",
            )
        )


def unpack_archive(task: Task) -> None:
    """Have in `task.dest` what the archive holds that has exactly `task.sha256`."""
    # Slow to import, and only archives need them.
    from sentinel.source.download import DownloadError, Login, download, without_query  # noqa: PLC0415
    from sentinel.source.unpack import Limits, Refused, unpack  # noqa: PLC0415

    _make_empty(task.dest)
    ca_file = f"{task.secret_dir}/ca.crt"
    login = Login(
        username=_read(task.secret_dir, "username"),
        password=_read(task.secret_dir, "password"),
        token=_read(task.secret_dir, "token"),
        ca_file=ca_file if task.secret_dir and os.path.exists(ca_file) else "",
    )
    path = f"{task.dest}.archive"
    try:
        download(
            task.url,
            path,
            login=login,
            sha256=task.sha256,
            timeout=TIMEOUT,
            allow_file=task.allow_file,
        )
        unpack(path, task.dest, limits=Limits(), readable=True)
    except DownloadError as error:
        raise FetchError(error.reason, error.message) from None
    except Refused as error:
        raise FetchError(SOURCE_INVALID, f"{without_query(task.url)}: {error.message}") from None
    finally:
        if os.path.exists(path):
            os.unlink(path)


def _make_empty(directory: str) -> None:
    """An init container that is restarted finds its own half-done work."""
    os.makedirs(directory, exist_ok=True)
    for entry in os.listdir(directory):
        path = f"{directory}/{entry}"
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _fetch(task: Task, git: Git) -> None:
    fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
    try:
        _patiently(lambda: git.run(*fetch, "--depth=1", "origin", task.commit, ref=task.commit))
        return
    except FetchError as error:
        if error.kind != Kind.UNADVERTISED or not task.ref or is_commit(task.ref):
            raise
    # Servers may refuse a commit that no ref points at any more; it is in the ref's history unless that was rewritten.
    _patiently(lambda: git.run(*fetch, "origin", task.ref, ref=task.ref))
    try:
        git.run("cat-file", "-e", f"{task.commit}^{{commit}}", ref=task.commit)
    except FetchError:
        raise FetchError(
            SOURCE_NOT_FOUND,
            f"{git.address.url} does not have commit {task.commit} any more: {task.ref!r} was rewritten meanwhile. "
            "Submit the Build again",
        ) from None


def _patiently(action: Any) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            action()
            return
        except FetchError as error:
            if error.reason != SOURCE_UNAVAILABLE or attempt == TRIES:
                raise
            # Jitter without `random`, which costs more to import than the whole checkout of a file.
            time.sleep(attempt * (0.3 + os.urandom(1)[0] / 512))


def _install(kit: str) -> subprocess.Popen[bytes] | None:
    if not kit:
        return None
    try:
        return subprocess.Popen(
            ["boxkit", "install", kit],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise FetchError(INTERNAL, f"cannot start boxkit: {error}") from error


def _installed(process: subprocess.Popen[bytes]) -> None:
    _, err = process.communicate(timeout=60)
    if process.returncode != 0:
        raise FetchError(
            INTERNAL, f"boxkit install failed: {quote(err.decode('utf-8', 'replace'))}"
        )


def fetch(task: Task) -> None:
    """Source and boxkit onto their volumes; FetchError if not."""
    # Whatever user the box runs as must be able to read it.
    os.umask(0o022)
    installing = _install(task.kit)
    try:
        cache = f"{os.path.dirname(task.dest)}/cache"
        os.makedirs(cache, exist_ok=True)
        if task.sha256:
            unpack_archive(task)
        else:
            git = Git(task)
            try:
                check_out(task, git)
            finally:
                git.close()
        if installing:
            _installed(installing)
    except BaseException:
        if installing and installing.poll() is None:
            installing.kill()
            installing.wait()
        raise


def main() -> int:
    """Entry point; the exit code."""
    started = time.monotonic()
    log = "/dev/termination-log"
    try:
        task = Task(os.environ.get(VARIABLE, ""))
        log = task.termination_log
        fetch(task)
    except FetchError as error:
        return _fail(log, error.reason, error.message)
    except (
        Exception
    ) as error:  # the operator must learn of it in words, not as a traceback's last lines
        return _fail(log, INTERNAL, f"{type(error).__name__}: {error}")
    print(f"fetched {task.commit or task.sha256} in {time.monotonic() - started:.2f} s", flush=True)
    return 0


def _fail(log: str, reason: str, message: str) -> int:
    message = message[:_MAX_MESSAGE]
    print(f"sentinel fetch: {reason}: {message}", file=sys.stderr, flush=True)
    try:
        with open(log, "w", encoding="utf-8") as file:
            json.dump({"reason": reason, "message": message}, file)
    except OSError as error:
        print(f"sentinel fetch: cannot write {log}: {error}", file=sys.stderr, flush=True)
    return _EXIT.get(reason, 1)


if __name__ == "__main__":
    sys.exit(main())
