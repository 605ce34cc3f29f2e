"""One git repository for each step: a template of URLs, tags as versions.

`git+https://host/{owner}/step-{name}.git`: a tag `1.2.3` or `v1.2.3` is that version, `*` the highest of them; a
repository without such tags gives what its HEAD is, whose manifest may say which version. Only the one commit is
fetched, and packed as git archives it, `export-ignore` honoured, without `.git`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sentinel import network
from sentinel.config.findings import visible
from sentinel.source.access import GitCredentials
from sentinel.source.address import Address, parse_address
from sentinel.source.failure import BACKOFF, Deadline, retry_until
from sentinel.steps.folder import manifest_of
from sentinel.steps.gittree import Host, fetch_tree, opened
from sentinel.steps.pack import StepLimits
from sentinel.steps.registry import Release
from sentinel.steps.versions import LATEST, bare, choose, ordered
from sentinel.steps.wanted import WantedStep, no_such_step, not_found

_TAGS = "refs/tags/"
_LISTING = 16 * 1024 * 1024


class RepositoryTemplate:
    """A registry of repositories. `template` is a URL with {owner} and {name} in it; `scratch` a directory to work in.

    `token` is the password that git offers to the template's host, and to no other; `ca` holds certificates (PEM) that
    are trusted besides the system's.
    """

    def __init__(
        self,
        template: str,
        *,
        scratch: Path,
        token: str = "",
        ca: str = "",
        pause: float = 0.3,
        policy: network.Policy | None = None,
    ) -> None:
        self._template = template
        self._host = Host(credentials=GitCredentials(password=token), ca=ca, policy=policy)
        self._scratch = scratch
        self._pause = pause
        self.title = f"git+{self._address('{owner}', '{name}').url}"

    def look_up(self, wanted: WantedStep, deadline: Deadline) -> Release:
        address = self._address(wanted.owner, wanted.name)
        listing = retry_until(
            deadline,
            lambda: self._list(address, wanted, deadline),
            backoff=replace(BACKOFF, first=self._pause),
        )
        rows = [line.split("\t", 1) for line in listing.splitlines() if "\t" in line]
        # The line with ^{} behind is the commit that an annotated tag is of; it comes after the tag's own.
        tags = {
            name.removeprefix(_TAGS).removesuffix("^{}"): commit
            for commit, name in rows
            if name.startswith(_TAGS)
        }
        head = next((commit for commit, name in rows if name == "HEAD"), "")
        version = choose(wanted.version, tags)
        if version is None and not head:
            raise not_found(f"step {wanted}: the repository {address.url} is empty")
        if version is None and wanted.version != LATEST:
            if tagged := ordered(tags):
                raise no_such_step(wanted, where=address.url, versions=tagged)
            # Nobody tags here: whether HEAD is that version is seen when it is fetched.
            return self._release(
                wanted, address, version=bare(wanted.version), ref="HEAD", commit=head
            )
        if version is None:
            return self._release(wanted, address, version="", ref="HEAD", commit=head)
        return self._release(
            wanted, address, version=bare(version), ref=f"{_TAGS}{version}", commit=tags[version]
        )

    def _release(
        self, wanted: WantedStep, address: Address, *, version: str, ref: str, commit: str
    ) -> Release:
        at = commit[:12] if ref == "HEAD" else ref.removeprefix(_TAGS)
        return Release(
            owner=wanted.owner,
            name=wanted.name,
            version=version,
            place=ref,
            origin=f"{address.url} at {at}",
            mark=commit,
            settled=True,
        )

    def fetch(
        self, release: Release, workdir: Path, *, limits: StepLimits, deadline: Deadline
    ) -> Path:
        address = self._address(release.owner, release.name)
        tree = retry_until(
            deadline,
            lambda: fetch_tree(
                address,
                self._host,
                refs=(release.place,),
                commit=release.mark,
                path="",
                what=f"step {release.owner}/{release.name}",
                workdir=workdir,
                limits=limits,
                deadline=deadline,
            ),
            backoff=replace(BACKOFF, first=self._pause),
        )
        if release.place == "HEAD" and release.version:
            stated = manifest_of(tree).version
            if bare(stated) != release.version:
                raise not_found(
                    f"step {release.owner}/{release.name}@{release.version}: {address.url} has no tag that is a "
                    f"version, and its newest commit is {visible(stated) or 'of no version'}"
                )
        return tree

    def _list(self, address: Address, wanted: WantedStep, deadline: Deadline) -> str:
        with opened(
            address,
            self._host,
            what=f"step {wanted}",
            scratch=self._scratch,
            most=_LISTING,
            deadline=deadline,
        ) as repository:
            return repository.run("ls-remote", "origin", "HEAD", f"{_TAGS}*")

    def _address(self, owner: str, name: str) -> Address:
        return parse_address(self._template.replace("{owner}", owner).replace("{name}", name))
