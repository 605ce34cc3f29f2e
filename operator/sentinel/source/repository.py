"""One git repository of ours, empty at first: git is run in it for one source, under bounds, with checked routes.

The operator resolves refs in one (`git.py`), the init container checks commits out in one (`checkout.py`), steps are
fetched into one (`sentinel.steps`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from sentinel import network
from sentinel.api.reasons import Reason
from sentinel.errors import SentinelError
from sentinel.source.access import Access
from sentinel.source.address import Address, parse_web_address
from sentinel.source.complaint import Kind, diagnose, explain, quote
from sentinel.source.failure import Deadline, failed
from sentinel.source.process import Ended, ProcessLimits, TooMuch, run

FETCH = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance")
_SERVICE = "/info/refs?service=git-upload-pack"


class Repository:
    """Runs git in the directory `cwd`, with GIT_DIR `git_dir` unless that is "". Disk is counted below `root`."""

    def __init__(
        self,
        address: Address,
        access: Access,
        *,
        cwd: str,
        git_dir: str = "",
        limits: ProcessLimits,
        deadline: Deadline,
        policy: network.Policy | None = None,
    ) -> None:
        self.address = address
        self.access = access
        self.cwd = self.root = cwd
        self.git_dir = git_dir
        self.limits = limits
        self.deadline = deadline
        self._policy = policy
        self._moved: Address | None = None

    def beside(self, address: Address, *, cwd: str) -> Repository:
        """The same for another address, with the same root and bounds: a submodule."""
        other = copy.copy(self)
        other.address, other.cwd, other._moved = address, cwd, None
        return other

    def run(self, *arguments: str, ref: str = "") -> str:
        """git's standard output. Raises what `error` gives where git fails."""
        ended = self.attempt(*arguments)
        if ended.code != 0:
            raise self.error(ended, ref)
        return ended.out.decode("utf-8", "surrogateescape")

    def attempt(self, *arguments: str) -> Ended:
        """How git ended, whatever its exit code is. A redirect is followed once; each hop's address is checked."""
        ended = self._once(arguments)
        redirected = ended.code != 0 and diagnose(ended.err) == Kind.REDIRECT
        if redirected and self._moved is None and self.access.follows_redirects(self.address):
            self._moved = self._locate()
            if self._moved is not None:
                ended = self._once(arguments)
        return ended

    @property
    def environment(self) -> dict[str, str]:
        """git's environment, secrets included. Raises SourceNotFound for a refused address."""
        try:
            env = self.access.environment(self.address, moved=self._moved)
        except network.Denied as error:
            raise self.denied(error) from None
        except network.Unresolved as error:
            raise self.unavailable(str(error)) from None
        if self.git_dir:
            env["GIT_DIR"] = self.git_dir
        return env

    def _once(self, arguments: Sequence[str]) -> Ended:
        try:
            return run(
                ("git", *arguments),
                cwd=self.cwd,
                env=self.environment,
                deadline=self.deadline,
                root=self.root,
                limits=self.limits,
            )
        except TimeoutError:
            raise self.unavailable(
                f"it did not answer within {self.deadline.seconds:g} seconds"
            ) from None
        except TooMuch as error:
            raise self.too_much(str(error)) from None

    def _locate(self) -> Address | None:
        """Where a redirect leads, if that is a repository by http too. Credentials are not sent."""
        from sentinel.source import http  # noqa: PLC0415 - slow to import, and rare

        url = self.address.url.rstrip("/")
        client = http.Client(policy=self._policy, tls=http.tls_context(ca_file=self.access.ca_file))
        try:
            answer = client.get(f"{url}{_SERVICE}", None, deadline=self.deadline)
        except http.HttpError as error:
            if error.kind == "denied":
                raise self.denied(error) from None
            if error.kind == "unavailable":
                raise self.unavailable(error.message) from None
            return None
        base, found, rest = answer.url.partition(_SERVICE)
        if not found or rest or base == url:
            return None
        return parse_web_address(base)

    # Failures are reported in the terms of a Build's source; steps have others.

    def error(self, ended: Ended, ref: str) -> SentinelError:
        """Whose fault git's failure is. `ref` is what was asked for."""
        reason, message = explain(
            address=self.address,
            kind=diagnose(ended.err),
            said=quote(ended.err, self.access.hidden),
            ref=ref,
            has_credentials=self.access.offers(self.address),
        )
        return failed(reason, message)

    def denied(self, why: Exception) -> SentinelError:
        """An address that builds may not reach."""
        return failed(
            Reason.SOURCE_NOT_FOUND,
            f"spec.source.git.url: {self.address.url} is not allowed as a source: {why}",
        )

    def unavailable(self, why: str) -> SentinelError:
        """A server that does not answer."""
        return failed(Reason.SOURCE_UNAVAILABLE, f"cannot fetch from {self.address.url}: {why}")

    def too_much(self, why: str) -> SentinelError:
        """More than the limits allow."""
        return failed(
            Reason.SOURCE_INVALID,
            f"{self.address.url} sends more than {why} for a single commit. Its server does not support partial "
            "clones (uploadpack.allowFilter)",
        )
