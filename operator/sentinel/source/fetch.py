"""The fetcher: a build pod's init container checks out exactly one commit onto the read-only volume.

Run as `python3 -I -m sentinel.source.fetch`. Its task is the JSON in $SENTINEL_FETCH; it also lets boxkit install
itself, at the same time. It stands on every build's critical path, so it imports the standard library only, and of
that only what starts fast (a test asserts it).

Ends with 0; with 1 where the user can mend it, 2 where the network or server failed after three tries, 3 where we are
wrong ourselves. Then the termination log holds {"reason", "message"} and stderr has one line with the same message.
Credentials come from mounted files, and leave no trace in the checkout: people run git in it.
"""

# pathlib costs 5 ms of the start:
# ruff: noqa: PTH102, PTH103, PTH108, PTH112, PTH114, PTH120, PTH123, PTH208

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time

from sentinel.source import child
from sentinel.source.access import KEYS, Access
from sentinel.source.address import clean, is_commit, parse_address, valid_ref
from sentinel.source.complaint import (
    INTERNAL,
    SOURCE_AUTH_FAILED,
    SOURCE_NOT_FOUND,
    SOURCE_UNAVAILABLE,
    FetchError,
    Kind,
    diagnose,
    explain,
    quote,
)
from sentinel.source.gitcommand import (
    write_ca_file,
    write_ref,
    write_repository,
    write_submodule,
)
from sentinel.source.ignore import leave_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sentinel.source.submodules import Submodule

VARIABLE = "SENTINEL_FETCH"
TRIES = 3
TIMEOUT = 600.0
"""Seconds for everything together."""
MAX_BYTES = 10 * 1024**3
"""Disk that a checkout may take, its .git included, where the task says nothing."""
MAX_SUBMODULES = 500
"""Of a checkout, all levels together."""
MAX_DEPTH = 10
"""Levels of submodules in submodules."""
MAX_MEMORY = 2 * 1024**3
"""Memory of each process in bytes: what a tree with very many files would take without a bound."""

_EXIT = {SOURCE_UNAVAILABLE: 2, INTERNAL: 3}
_MAX_MESSAGE = 2000


class Task:
    """What to fetch and where to, from the JSON that `plan` wrote.

    url, commit: 40 hexadecimal digits; ref, branch, tag: what the commit was found as, "" if it was not; dest: an
    existing or missing directory; kit: where boxkit installs itself, "" for nowhere; secretDir: mounted Secret or "";
    ignoreFile: what is not copied, "" for nothing.
    ca: certificates in PEM to trust besides the system's; maxBytes: of disk. With sha256, 64 hexadecimal digits, url
    is an archive's, and there is no commit. steps: (id, digest) of those whose archives are in stepsDir.
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
            self.ignore_file = str(data.get("ignoreFile") or "")
            self.termination_log = str(data.get("terminationLog") or "/dev/termination-log")
            self.allow_file = bool(data.get("allowFile"))
            self.ca = str(data.get("ca") or "")
            self.max_bytes = int(data.get("maxBytes") or MAX_BYTES)
            self.steps = [(str(each["id"]), str(each["digest"])) for each in data.get("steps", ())]
            self.steps_dir = str(data.get("stepsDir") or "")
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
    """Runs git in one checkout, with what the task gives it for that checkout's server."""

    def __init__(self, task: Task) -> None:
        try:
            self.address = parse_address(task.url, allow_file=task.allow_file)
        except ValueError as error:
            raise FetchError(SOURCE_NOT_FOUND, str(error)) from error
        self.root = self.dest = task.dest
        self.submodule = ""
        self.max_bytes = task.max_bytes
        self.deadline = time.monotonic() + TIMEOUT
        # Ours alone: a fresh directory with mode 0700.
        self.scratch = f"{os.environ.get('TMPDIR') or '/tmp'}/sentinel-git-{os.getpid()}"  # noqa: S108
        os.mkdir(self.scratch, 0o700)
        try:
            self.access = Access(
                self.address,
                {name: _read(task.secret_dir, name) for name in KEYS},
                scratch=self.scratch,
                ca=task.ca,
                allow_file=task.allow_file,
            )
        except ValueError as error:
            self.close()
            raise FetchError(SOURCE_AUTH_FAILED, str(error)) from error

    def inside(self, submodule: Submodule) -> Git:
        """The same for a submodule of this checkout: another address, below the same root, under the same bounds."""
        other = object.__new__(Git)
        other.__dict__.update(self.__dict__)
        other.address = submodule.address
        other.dest = f"{self.dest}/{submodule.path}"
        other.submodule = f"{self.submodule}/{submodule.path}".lstrip("/")
        return other

    def run(self, *arguments: str, ref: str) -> str:
        """git's standard output. FetchError in git's own words, which name `ref` where it was not found."""
        try:
            code, out, err = child.run(
                ("git", *arguments),
                cwd=self.dest,
                env=self.access.environment(self.address),
                deadline=self.deadline,
                root=self.root,
                max_bytes=self.max_bytes,
            )
        except TimeoutError:
            raise FetchError(
                SOURCE_UNAVAILABLE,
                f"{self.address.url} did not deliver within {TIMEOUT:.0f} seconds",
            ) from None
        except child.TooMuch as error:
            raise FetchError(
                SOURCE_NOT_FOUND,
                f"{self.address.url}: the checkout takes more than {error}",
            ) from None
        if code == 0:
            return out.decode("utf-8", "surrogateescape")
        text = err.decode("utf-8", "replace")
        kind = diagnose(text)
        reason, message = explain(
            address=self.address,
            kind=kind,
            said=quote(text, self.access.hidden),
            ref=ref,
            has_credentials=self.access.offers(self.address),
            submodule=self.submodule,
        )
        raise FetchError(reason, message, kind=kind)

    def close(self) -> None:
        """Remove the key file."""
        shutil.rmtree(self.scratch, ignore_errors=True)


def _read(directory: str, name: str) -> str:
    if not directory:
        return ""
    try:
        with open(f"{directory}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _make_empty(directory: str) -> None:
    """An init container that is restarted finds its own half-done work."""
    os.makedirs(directory, exist_ok=True)
    for entry in os.listdir(directory):
        path = f"{directory}/{entry}"
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def check_out(task: Task, git: Git) -> None:
    """Have exactly `task.commit` in `task.dest`, with a .git that people can use: branch, tag and remote are set."""
    _check_out(git, task.commit, ref=task.ref, branch=task.branch, tag=task.tag)
    if task.submodules:
        _submodules(task, git, task.commit, depth=1, left=MAX_SUBMODULES)


def _check_out(git: Git, commit: str, *, ref: str = "", branch: str = "", tag: str = "") -> None:
    git_dir = f"{git.dest}/.git"
    write_repository(
        git_dir, url=git.address.url, bare=False, partial=False, branch=branch, fetch=True
    )
    _fetch(git, commit, f"refs/heads/{branch}" if branch else ref)
    if branch:
        write_ref(git_dir, f"refs/heads/{branch}", commit)
        write_ref(git_dir, f"refs/remotes/origin/{branch}", commit)
    else:
        with open(f"{git_dir}/HEAD", "w", encoding="utf-8") as file:
            file.write(commit + "\n")
    if tag:
        write_ref(git_dir, f"refs/tags/{tag}", commit)
    git.run("read-tree", "-u", "--reset", commit, ref=commit)


def _submodules(task: Task, git: Git, commit: str, *, depth: int, left: int) -> int:
    """Check out the submodules of what is in `git.dest`, and theirs. How many more there may be."""
    if not os.path.lexists(f"{git.dest}/.gitmodules"):
        return left
    from sentinel.source import submodules  # noqa: PLC0415 - most projects have none

    at = f"submodule {clean(git.submodule)!r}" if git.submodule else git.address.url
    tree = git.run("ls-tree", "-r", "-z", "--full-tree", commit, ref=commit)
    try:
        # The commit's own file, never the one on the disk, which may be a link.
        modules = git.run("config", "--blob", f"{commit}:.gitmodules", "--list", "-z", ref=commit)
    except FetchError as error:
        raise FetchError(
            SOURCE_NOT_FOUND,
            f"{at}: git cannot read .gitmodules of commit {commit[:12]}: correct it",
        ) from error
    try:
        found = submodules.find(
            modules=modules, tree=tree, parent=git.address.url, allow_file=task.allow_file
        )
    except ValueError as error:
        raise FetchError(SOURCE_NOT_FOUND, f"{at}: {error}") from error
    left -= len(found)
    if found and (depth > MAX_DEPTH or left < 0):
        raise FetchError(
            SOURCE_NOT_FOUND,
            f"{at}: more than {MAX_SUBMODULES} submodules, or more than {MAX_DEPTH} levels of them: "
            "a build fetches no more. Set spec.source.git.submodules to false and fetch those you need in a step",
        )
    for each in found:
        inner = git.inside(each)
        _expect_directory(git.dest, each.path)
        write_submodule(f"{git.dest}/.git", name=each.name, url=each.address.url)
        _check_out(inner, each.commit)
        left = _submodules(task, inner, each.commit, depth=depth + 1, left=left)
    return left


def _expect_directory(root: str, path: str) -> None:
    """git made it, empty, when it checked the parent out; what is anything else would lead our writing elsewhere."""
    place = root
    for part in path.split("/"):
        place = f"{place}/{part}"
        if os.path.islink(place) or not os.path.isdir(place):
            raise FetchError(
                SOURCE_NOT_FOUND, f"submodule {clean(path)!r}: its path is not a directory"
            )
    if os.listdir(place):
        raise FetchError(SOURCE_NOT_FOUND, f"submodule {clean(path)!r}: its directory is not empty")


def _fetch(git: Git, commit: str, ref: str) -> None:
    fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
    try:
        _patiently(lambda: git.run(*fetch, "--depth=1", "origin", commit, ref=commit))
        return
    except FetchError as error:
        if error.kind != Kind.UNADVERTISED:
            raise
    # Servers may refuse a commit that no ref points at. It is in the ref's history unless that was rewritten; without a
    # ref (a submodule, a bare commit id) it can be in any.
    known = bool(ref) and not is_commit(ref)
    refs = (ref,) if known else ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
    _patiently(lambda: git.run(*fetch, "origin", *refs, ref=ref or commit))
    try:
        git.run("cat-file", "-e", f"{commit}^{{commit}}", ref=commit)
    except FetchError as error:
        if not known:
            reason, message = explain(
                address=git.address,
                kind=Kind.UNADVERTISED,
                said="",
                ref=commit,
                has_credentials=False,
                submodule=git.submodule,
            )
            raise FetchError(reason, message) from error
        raise FetchError(
            SOURCE_NOT_FOUND,
            f"{git.address.url} does not have commit {commit} any more: {ref.removeprefix('refs/heads/')!r} was "
            "rewritten meanwhile. Submit the Build again",
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


def _unpack(task: Task) -> None:
    # Slow to import, and most projects are repositories.
    from sentinel.source.delivery import unpack_source  # noqa: PLC0415
    from sentinel.source.download import Login  # noqa: PLC0415

    beside = os.path.dirname(task.dest)
    try:
        ca_file = write_ca_file(beside, task.ca, _read(task.secret_dir, "ca.crt"))
    except ValueError as error:
        raise FetchError(SOURCE_AUTH_FAILED, f"`ca.crt` of the Secret holds {error}") from error
    login = Login(
        username=_read(task.secret_dir, "username"),
        password=_read(task.secret_dir, "password"),
        token=_read(task.secret_dir, "token"),
        ca_file=ca_file,
    )
    try:
        unpack_source(
            task.url,
            task.dest,
            sha256=task.sha256,
            login=login,
            timeout=TIMEOUT,
            allow_file=task.allow_file,
        )
    finally:
        if ca_file:
            os.unlink(ca_file)


def _place_steps(task: Task) -> None:
    from sentinel.source.delivery import place_steps  # noqa: PLC0415

    beside = os.path.dirname(task.dest)
    for step, _ in task.steps:
        _make_empty(f"{beside}/{step}")
    place_steps(task.steps, archives=task.steps_dir, dest=beside, timeout=TIMEOUT)


def fetch(task: Task) -> None:
    """Source and boxkit onto their volumes; FetchError if not."""
    # Whatever user the box runs as must be able to read it.
    os.umask(0o022)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = MAX_MEMORY if hard == resource.RLIM_INFINITY else min(hard, MAX_MEMORY)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    installing = _install(task.kit)
    try:
        cache = f"{os.path.dirname(task.dest)}/cache"
        os.makedirs(cache, exist_ok=True)
        _make_empty(task.dest)
        if task.sha256:
            _unpack(task)
        else:
            git = Git(task)
            try:
                check_out(task, git)
            finally:
                git.close()
        if task.steps:
            _place_steps(task)
        if left_out := leave_out(task.dest, task.ignore_file):
            print(f"{task.ignore_file}: {left_out} files left out", flush=True)
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
