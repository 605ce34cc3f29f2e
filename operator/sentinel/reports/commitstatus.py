"""Commit statuses of GitHub, GitLab and Gitea: the mark beside a commit that says how its build went.

Two for a build: that it runs, and how it ended. A later status of the same context replaces the earlier one, so a
repeated delivery changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import quote

from sentinel.api.conditions import Phase
from sentinel.reports.event import Event, Kind, Origin
from sentinel.reports.post import Post, to_json
from sentinel.settings.reports import CommitStatusHost
from sentinel.source.address import parse_address

DESCRIPTION_LIMIT = 140
"""GitHub's, in characters; the others take more."""

_STATES = {
    "github": ("pending", "success", "failure", "error", "error"),
    "gitea": ("pending", "success", "failure", "error", "error"),
    "gitlab": ("running", "success", "failed", "failed", "canceled"),
}
_PHASES = (None, Phase.SUCCEEDED, Phase.FAILED, Phase.ERRORED, Phase.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository on a git host: `path` is owner/name, on GitLab perhaps with more parts."""

    host: str
    path: str


def repository_of(url: str) -> Repository | None:
    """The repository of a git URL; None where it has none that a git host could know."""
    try:
        address = parse_address(url)
    except ValueError:
        return None
    _, scheme, rest = address.url.partition("://")
    # Without a scheme it is user@host:path.
    path = rest.partition("/")[2] if scheme else url.partition(":")[2]
    path = path.partition("?")[0].partition("#")[0]
    path = path.strip("/").removesuffix(".git").strip("/")
    parts = path.split("/")
    if len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
        return None
    # An ssh server's port is not the git host's.
    port = f":{address.port}" if address.port and address.is_http else ""
    return Repository(host=f"{address.hostname}{port}", path=path)


def host_for(
    repository: Repository, hosts: list[CommitStatusHost], *, namespace: str
) -> CommitStatusHost | None:
    """The settings of the repository's host, where Builds of that namespace may set statuses there."""
    for host in hosts:
        if host.host.lower() != repository.host:
            continue
        patterns = [each.replace("{namespace}", namespace) for each in host.repositories]
        if any(fnmatchcase(repository.path.lower(), each.lower()) for each in patterns):
            return host
    return None


def commitstatus_post(
    event: Event,
    origin: Origin,
    *,
    host: CommitStatusHost,
    repository: Repository,
    commit: str,
    token: str,
) -> Post | None:
    """The request for an event, None for one that sets no status."""
    if event.kind is Kind.SOURCE_FETCHED and event.data.get("commit"):
        position, description = 0, f"pipeline {origin.pipeline} runs"
    elif event.kind is Kind.FINISHED and commit:
        position = _PHASES.index(Phase(event.data["phase"]))
        description = f"{event.data['reason']}: {event.data['message']}"
    else:
        return None
    state = _STATES[host.kind][position]
    context = _fill(host.context, origin)
    target = _fill(host.target_url, origin) if host.target_url else origin.url
    description = " ".join(description.split())[:DESCRIPTION_LIMIT]
    if host.kind == "gitlab":
        url = f"{host.api_url}/projects/{quote(repository.path, safe='')}/statuses/{commit}"
        login = {"PRIVATE-TOKEN": token}
        name = "name"
    else:
        url = f"{host.api_url}/repos/{quote(repository.path)}/statuses/{commit}"
        login = {"Authorization": f"{'Bearer' if host.kind == 'github' else 'token'} {token}"}
        name = "context"
    body = {"state": state, name: context, "description": description}
    if target:
        body["target_url"] = target
    return Post(
        url=url,
        body=to_json(body),
        headers={
            "Content-Type": "application/json",
            "Accept": "application/json",
            **(login if token else {}),
        },
    )


def _fill(template: str, origin: Origin) -> str:
    """`template` with {namespace}, {build}, {uid}, {pipeline} and {url} replaced; anything else stays."""
    for name, value in {
        "namespace": origin.namespace,
        "build": origin.name,
        "uid": origin.uid,
        "pipeline": origin.pipeline,
        "url": origin.url,
    }.items():
        template = template.replace(f"{{{name}}}", value)
    return template
