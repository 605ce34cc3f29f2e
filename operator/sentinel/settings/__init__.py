"""Every knob of operator and agent, field by field: default, unit, consequence.

Read from environment variables with the prefix SENTINEL_, which the chart sets from its values. Nested fields are
joined by two underscores: SENTINEL_STORE__ENDPOINT.
"""

from __future__ import annotations

from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sentinel.network import Policy
from sentinel.settings.engine import EngineSettings
from sentinel.settings.images import ImageSettings
from sentinel.settings.pods import PodPolicy
from sentinel.settings.proxy import ProxySettings
from sentinel.settings.reports import ReportSettings
from sentinel.settings.results import ResultsSettings
from sentinel.settings.retention import RetentionSettings
from sentinel.settings.source import SourceSettings
from sentinel.settings.store import CacheSettings, StoreSettings
from sentinel.trust import check_authorities


class NetworkSettings(BaseModel):
    """Where connections on a build's behalf may go: git, archives, step registries, images.

    Loopback, link-local, multicast and metadata addresses and the API server are always refused.
    """

    cluster_ranges: Annotated[
        list[str],
        Field(
            description="CIDRs of the cluster's Services and pods, and what else builds may not reach through the "
            "operator. The default is what kubeadm and kind use."
        ),
    ] = ["10.96.0.0/12", "10.244.0.0/16"]
    allowed: Annotated[
        list[str],
        Field(
            description="Exceptions: a host, host:port, or a CIDR. Loopback, link-local and metadata addresses need a "
            "CIDR. Registries that `images` names may be in the cluster's ranges without being listed here."
        ),
    ] = []
    plain_http: Annotated[
        list[str],
        Field(
            description="host or host:port of servers that credentials of a source are sent to by plain http. `*`: all."
        ),
    ] = []

    @field_validator("cluster_ranges")
    @classmethod
    def _are_networks(cls, texts: list[str]) -> list[str]:
        try:
            Policy.make(denied=texts)
        except ValueError as error:
            raise ValueError(f"network.cluster_ranges: {error}") from error
        return texts

    def policy(self) -> Policy:
        """What these settings come to."""
        return Policy.make(
            denied=self.cluster_ranges, allowed=self.allowed, plain_http=self.plain_http
        )


class StepSettings(BaseModel):
    """Where steps come from, and how large they may be."""

    registry: Annotated[
        str,
        Field(
            description="Where steps are looked for: http(s)://… is a server with wercker's API or an index.json; "
            "file:///… or a path a directory owner/name; git+https://host/{owner}/step-{name}.git one repository a "
            "step. Empty: nowhere, so builds have script steps, those of their own source, and the standard steps."
        ),
    ] = ""
    standard: Annotated[
        bool,
        Field(
            description="Use Sentinel's standard steps (`sentinel steps list`) for those of wercker's public registry, "
            "where the registry does not have a step."
        ),
    ] = True
    tools: Annotated[
        dict[str, Any],
        Field(
            description="A volume source, as in a pod's spec.volumes, with tools for standard steps: tools.json lists "
            "name, version, path and sha256 of each. It is mounted read-only into every box."
        ),
    ] = {}
    token: Annotated[
        SecretStr,
        Field(
            description="Bearer token for the registry, or git's password. Sent to its host only."
        ),
    ] = SecretStr("")
    allow_local: Annotated[
        bool,
        Field(
            description="Let wercker.yml use steps by file:///path from the operator's own file system."
        ),
    ] = False
    allow_url: Annotated[
        bool,
        Field(
            description="Let wercker.yml take steps by http(s) URL. We then fetch whatever address a build names, "
            "inside the cluster too."
        ),
    ] = False
    packed_bytes: Annotated[
        int, Field(ge=1, description="Largest archive of a step, in bytes.")
    ] = 20 * 1024 * 1024
    unpacked_bytes: Annotated[
        int, Field(ge=1, description="Most that a step's files may have together, in bytes.")
    ] = 100 * 1024 * 1024
    entries: Annotated[int, Field(ge=1, description="Most files a step may have.")] = 5000
    cache_bytes: Annotated[
        int,
        Field(
            ge=1,
            description="Most that archives in the cache may have together, in bytes; the longest unused goes first.",
        ),
    ] = 1024 * 1024 * 1024


class ResolverSettings(BaseModel):
    """The resolver, which works on tenants' bytes, and what one Build may take of it."""

    socket: Annotated[
        str,
        Field(
            description="Unix socket of the resolver. Empty: the operator starts a resolver of its own, with its own "
            "user and file system; in a pod the chart sets it."
        ),
    ] = ""
    scratch: Annotated[
        str, Field(description="Directory for what is being worked on. Empty: the system's own.")
    ] = ""
    at_once: Annotated[
        int, Field(ge=1, le=256, description="Builds that are resolved at once; others wait.")
    ] = 16
    per_namespace: Annotated[
        int, Field(ge=1, description="Builds of one namespace that are resolved at once.")
    ] = 4
    memory_mib: Annotated[
        int, Field(ge=32, description="Memory that resolving one Build may take, in MiB.")
    ] = 256
    cpu_seconds: Annotated[
        int, Field(ge=1, description="CPU time that resolving one Build may take, in seconds.")
    ] = 60
    wall_seconds: Annotated[
        int, Field(ge=1, description="How long resolving one Build may take, in seconds.")
    ] = 600
    disk_mib: Annotated[
        int, Field(ge=1, description="Scratch disk that resolving one Build may take, in MiB.")
    ] = 2048
    scratch_mib: Annotated[
        int,
        Field(
            ge=1,
            description="Scratch disk that all Builds together may take, in MiB; the largest is ended when it is "
            "passed. Stay below the emptyDir's sizeLimit: the kubelet evicts a pod that passes it.",
        ),
    ] = 8192
    files: Annotated[
        int, Field(ge=64, description="Files that each process of a Build may have open.")
    ] = 512
    processes: Annotated[
        int, Field(ge=8, description="Processes that resolving one Build may take.")
    ] = 64
    answer_kib: Annotated[
        int,
        Field(
            ge=64,
            description="Largest configuration and image data of one Build that the operator takes over, in KiB.",
        ),
    ] = 4096


class Settings(BaseSettings):
    """Settings of operator and agent."""

    # What is wrong is printed at the start, and a value may be a secret.
    model_config = SettingsConfigDict(
        env_prefix="SENTINEL_", env_nested_delimiter="__", hide_input_in_errors=True
    )

    image: Annotated[
        str, Field(description="The operator's own image, for the init containers of pods.")
    ] = "sentinel:dev"
    image_pull_policy: Annotated[str, Field(description="Pull policy of that image.")] = (
        "IfNotPresent"
    )
    image_pull_secrets: Annotated[
        list[str],
        Field(
            description="Secrets that build pods pull that image with. Each namespace of Builds has to have them; the "
            "kubelet goes on without one that is missing."
        ),
    ] = []
    namespaces: Annotated[
        list[str], Field(description="Namespaces to watch; empty: all of them.")
    ] = []
    instance: Annotated[
        str,
        Field(
            max_length=63,
            pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$",
            description="Name of this installation. With one, it drives Builds and WorkflowRuns with the label "
            "sentinel.wercker.com/instance of that value and no others. Empty: all.",
        ),
    ] = ""
    pod_name: Annotated[
        str, Field(description="Name of the operator's own pod: the identity in the Lease.")
    ] = ""
    pod_namespace: Annotated[
        str, Field(description="Namespace of the operator's own pod, for the Lease.")
    ] = "default"
    node_name: Annotated[str, Field(description="The agent's node.")] = ""
    plan_key_secret: Annotated[
        str,
        Field(
            description="Secret of that namespace with the key that plans are signed with; created when it is missing."
        ),
    ] = "sentinel-plan-key"  # noqa: S105 - its name
    agent_service_account: Annotated[
        str, Field(description="The agents' account, which may read the Secrets builds push with.")
    ] = "sentinel-agent"
    agent_enabled: Annotated[
        bool,
        Field(
            description="Whether there are agents. Without them a Build that is to be committed is refused."
        ),
    ] = True
    agent_daemon_sets: Annotated[
        list[str],
        Field(
            description="The agents' DaemonSets, in the operator's own namespace. While one is rolled out, commits "
            "wait for their node's agent."
        ),
    ] = []
    max_builds: Annotated[
        int,
        Field(
            ge=1,
            description="Builds that run at once; others stay Queued. Those that only wait for a node or a quota do "
            "not count.",
        ),
    ] = 200
    namespace_share: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Part of max_builds that the Builds of one namespace may hold, so that others always find a "
            "slot. Without effect where only one namespace is watched.",
        ),
    ] = 0.5
    prepare_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="Seconds for everything before a Build's pod: resolving its source, its images and its steps.",
        ),
    ] = 600.0
    health_port: Annotated[
        int, Field(description="Port of /healthz, /readyz and /metrics; 0: none.")
    ] = 8080
    metrics_namespaces: Annotated[
        bool,
        Field(
            description="Count builds at /metrics by namespace as well: as many series more as there are namespaces."
        ),
    ] = False
    detect_config: Annotated[
        bool,
        Field(
            description="Build a project without wercker.yml by one made from the names in its root directory."
        ),
    ] = False
    base_url: Annotated[
        str, Field(description="Web address that WERCKER_RUN_URL and the like begin with.")
    ] = "https://app.wercker.com"
    resync_seconds: Annotated[
        float, Field(description="How often all Builds are listed again, in seconds.")
    ] = 180.0
    keep_pods: Annotated[
        str,
        Field(
            pattern="^(never|failed|always)$",
            description="Which builds' pods stay when logs are safe.",
        ),
    ] = "never"
    leader_election: Annotated[
        bool, Field(description="Hold the Lease before acting. Off only with a single process.")
    ] = True
    store: Annotated[StoreSettings, Field(description="Object store.")] = StoreSettings()
    cache: Annotated[CacheSettings, Field(description="Caches.")] = CacheSettings()
    images: Annotated[ImageSettings, Field(description="Images.")] = ImageSettings()
    engine: Annotated[
        EngineSettings, Field(description="What builds and runs images for internal steps.")
    ] = EngineSettings()
    pods: Annotated[PodPolicy, Field(description="What Builds may ask for their pods.")] = (
        PodPolicy()
    )
    proxy: Annotated[ProxySettings, Field(description="Proxies for builds.")] = ProxySettings()
    network: Annotated[NetworkSettings, Field(description="Where builds may connect.")] = (
        NetworkSettings()
    )
    ca: Annotated[
        str,
        Field(
            max_length=32768,
            description="Certificates (PEM) of authorities that all servers' certificates are checked against, besides "
            "the system's: git, archives, steps, registries, the store, receivers of reports. They are in every build "
            "pod. source.ca and store.ca count besides.",
        ),
    ] = ""
    source: Annotated[SourceSettings, Field(description="Sources.")] = SourceSettings()
    steps: Annotated[StepSettings, Field(description="Steps.")] = StepSettings()
    resolver: Annotated[ResolverSettings, Field(description="The resolver.")] = ResolverSettings()
    reports: Annotated[ReportSettings, Field(description="Reports.")] = ReportSettings()
    retention: Annotated[
        RetentionSettings, Field(description="How much of what builds leave behind is kept.")
    ] = RetentionSettings()
    results: Annotated[ResultsSettings, Field(description="The results API.")] = ResultsSettings()
    agent_runtime: Annotated[
        str,
        Field(
            pattern="^(containerd|docker)$",
            description="The container runtime of the agent's node: containerd or docker.",
        ),
    ] = "containerd"
    docker_socket: Annotated[
        str, Field(description="The node's Docker Engine, for the agent of a node that has one.")
    ] = "/run/docker.sock"
    docker_state: Annotated[
        str,
        Field(
            description="Docker Engine's data root, as the engine itself names the place; the agent sees its directory "
            "overlay2 there too, read-only."
        ),
    ] = "/var/lib/docker"
    containerd_socket: Annotated[
        str, Field(description="The node's containerd, for the agent.")
    ] = "/run/containerd/containerd.sock"
    containerd_state: Annotated[
        str,
        Field(
            description="Where containerd keeps its snapshots, as containerd itself names the place; the agent sees "
            "it there too, read-only."
        ),
    ] = "/var/lib/containerd"
    runtime_root: Annotated[
        str,
        Field(
            description="Put before the paths above, where the agent runs outside the node's file system."
        ),
    ] = ""
    freeze_seconds: Annotated[
        float, Field(description="How long a box may be paused while its changes are read.")
    ] = 300.0
    spool: Annotated[
        str, Field(description="Where the agent writes a layer before pushing it.")
    ] = "/var/spool/sentinel"
    spool_bytes: Annotated[
        int,
        Field(
            description="Most that may lie in the spool, in bytes; 0: what the disk has. Stay below the emptyDir's "
            "sizeLimit: the kubelet evicts an agent that passes it."
        ),
    ] = 0
    log_level: Annotated[str, Field(description="debug, info, warning or error.")] = "info"
    log_format: Annotated[str, Field(pattern="^(text|json)$", description="text or json.")] = "text"

    @field_validator("ca")
    @classmethod
    def _holds_certificates(cls, text: str) -> str:
        try:
            check_authorities(text)
        except ValueError as error:
            raise ValueError(f"ca {error}") from error
        return text

    @model_validator(mode="after")
    def _ca_is_for_all(self) -> Self:
        """`ca` is part of `source.ca` and `store.ca` from here on. Both stand in one variable of build pods."""
        if self.ca.strip():
            self.source = _with_authorities(self.source, self.ca)
            self.store = _with_authorities(self.store, self.ca)
        if len(self.source.ca) + len(self.store.ca) > _MOST_AUTHORITIES:
            raise ValueError(
                f"ca (twice), source.ca and store.ca have more than {_MOST_AUTHORITIES} characters together: give "
                "authorities of your own only, not a copy of the system's"
            )
        return self

    def store_proxy(self) -> str:
        """The proxy by which build pods reach the store, "" for none: the server of a directory is in the cluster."""
        return self.proxy.of(self.store.endpoint_url) if self.store.bucket else ""

    def registry_policy(self) -> Policy:
        """Where registry clients may connect: `network`, and the registries that the settings of `images` name."""
        images = self.images
        named = [images.prefix, *images.insecure_registries, *images.allowed_registries]
        named += images.mirrors.values()
        hosts = [name.partition("/")[0] for name in (*named, *images.allowed_repositories)]
        allowed = [host for host in hosts if host and not set("*?[{") & set(host)]
        return Policy.make(
            denied=self.network.cluster_ranges, allowed=[*self.network.allowed, *allowed]
        )


_MOST_AUTHORITIES = 98304
"""The kernel takes 128 KiB as one variable of a process."""

_S = TypeVar("_S", SourceSettings, StoreSettings)


def _with_authorities(settings: _S, ca: str) -> _S:
    """The same with `ca` in its own; a validator may be called again."""
    if ca.strip() in settings.ca:
        return settings
    joined = "\n".join(text.strip() for text in (settings.ca, ca) if text.strip())
    return settings.model_copy(update={"ca": f"{joined}\n"})
