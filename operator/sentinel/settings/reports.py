"""Settings of reports: what of a build is sent where (`sentinel reporter`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

_PUBLIC = {
    "github": "https://api.github.com",
    "gitlab": "https://{host}/api/v4",
    "gitea": "https://{host}/api/v1",
}

Url = Annotated[str, Field(max_length=2048, pattern=r"^(https?://[^\s?#]+)?$")]


class WerckerAPISettings(BaseModel):
    """wercker-api, as wercker's own scheduler spoke to it."""

    url: Annotated[
        Url,
        Field(
            description="URL that `/runstepstarted` and the like are added to. Empty: no reports."
        ),
    ] = ""
    extended: Annotated[
        bool,
        Field(
            description="Also send what wercker's protocol does not have: source, configuration, environment, the end."
        ),
    ] = True


class CloudEventsSettings(BaseModel):
    """A receiver of CloudEvents."""

    url: Annotated[Url, Field(description="URL that events are POSTed to. Empty: none.")] = ""
    mode: Annotated[
        Literal["binary", "structured"], Field(description="HTTP content mode of the events.")
    ] = "binary"


class CommitStatusHost(BaseModel):
    """One git host that learns how a commit's build went."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    host: Annotated[
        str,
        Field(min_length=1, description="Host of the Build's source, with its port if it has one."),
    ]
    kind: Annotated[Literal["github", "gitlab", "gitea"], Field(description="Which API it has.")]
    api: Annotated[
        Url, Field(description="URL of its API. Default: that of the kind on the host.")
    ] = ""
    repositories: Annotated[
        list[str],
        Field(
            description="Patterns of repositories (owner/name) that Builds may set statuses in; {namespace} is the "
            "Build's, * matches slashes too. Empty: none. Whoever may create Builds in a namespace can mark commits of "
            "these as green."
        ),
    ] = []
    token_key: Annotated[
        str,
        Field(
            description="Key of the token in the reports' Secret. Default: the host without its port."
        ),
    ] = ""
    context: Annotated[
        str,
        Field(
            max_length=255,
            description="Name of the status. {pipeline}, {namespace}, {build} and {uid} are replaced.",
        ),
    ] = "wercker/{pipeline}"
    target_url: Annotated[
        str,
        Field(
            max_length=2048,
            description="Link of the status, with the same names and {url}, the run's page. Default: that page.",
        ),
    ] = ""

    @property
    def api_url(self) -> str:
        """Where the API is, without a slash at the end."""
        if self.api:
            return self.api.rstrip("/")
        if self.kind == "github" and self.host != "github.com":
            return f"https://{self.host}/api/v3"
        return _PUBLIC[self.kind].replace("{host}", self.host)

    @property
    def key(self) -> str:
        """The key of its token in the Secret."""
        return self.token_key or self.host.partition(":")[0]


class ReportSettings(BaseModel):
    """What is reported where, and how much may be spent on it."""

    wercker_api: Annotated[WerckerAPISettings, Field(description="wercker-api.")] = (
        WerckerAPISettings()
    )
    cloud_events: Annotated[CloudEventsSettings, Field(description="CloudEvents.")] = (
        CloudEventsSettings()
    )
    commit_statuses: Annotated[
        list[CommitStatusHost], Field(max_length=64, description="Git hosts.")
    ] = []
    namespace_secrets: Annotated[
        bool,
        Field(
            description="Also report to what the Secret `sentinel-reports` of a Build's namespace names. The address "
            "rules of `network` hold for such receivers."
        ),
    ] = False
    tokens: Annotated[
        str,
        Field(
            description="Directory with the tokens, one a file: `werckerAPI`, `cloudEvents`, and one a git host. "
            "They are read again and again, so that a token can be changed while the reporter runs."
        ),
    ] = "/run/sentinel/reports"
    concurrency: Annotated[
        int,
        Field(ge=1, le=64, description="Builds whose reports are sent to one receiver at once."),
    ] = 8
    timeout_seconds: Annotated[
        float, Field(gt=0, le=60, description="How long a receiver may take for one report.")
    ] = 10.0
    log_kib: Annotated[
        int,
        Field(
            ge=0,
            le=65536,
            description="Most of one step's log that is sent, in KiB: its beginning and its end. 0: no logs.",
        ),
    ] = 1024
    give_up_seconds: Annotated[
        float,
        Field(
            ge=60,
            description="How long after a build's end its reports are tried, in seconds. Then they are given up, with "
            "an event of the Build.",
        ),
    ] = 86400.0
    most_builds: Annotated[
        int,
        Field(
            ge=10,
            description="Builds whose reports may wait at once. Beyond, those of the oldest Build of the namespace "
            "that has most are given up.",
        ),
    ] = 5000

    @property
    def enabled(self) -> bool:
        """Whether anything is reported anywhere."""
        return bool(
            self.wercker_api.url
            or self.cloud_events.url
            or self.commit_statuses
            or self.namespace_secrets
        )
