"""Who we are to the API server: in-cluster service account or kubeconfig, and their renewal.

`kubernetes.aio.config` does the reading: kubeconfig merging, exec plug-ins, OIDC, token files. Importing it costs
about 20 MiB, so it is imported only when there is a server to talk to. Not here: requests.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any

from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import (
    SERVICE_CERT_FILENAME,
    SERVICE_TOKEN_FILENAME,
    InClusterConfigLoader,
)
from kubernetes.aio.config.kube_config import load_kube_config

from sentinel.clock import Clock
from sentinel.errors import UserError

RENEW_EVERY = 60.0
"""Seconds between looks at a kubeconfig's token sources, as the library does for the in-cluster token."""


class ApiCredentials:
    """Address, TLS and the Authorization header of the moment."""

    def __init__(self, configuration: Any, loader: Any, *, clock: Clock) -> None:
        self._configuration = configuration
        self._loader = loader
        self._clock = clock
        self._renewing = asyncio.Lock()
        self._renewed = clock.monotonic()
        if not isinstance(loader, InClusterConfigLoader):
            configuration.refresh_api_key_hook = self._refresh

    @property
    def server(self) -> str:
        """`https://host:port`, perhaps with a path, without a slash at the end."""
        return str(self._configuration.host).rstrip("/")

    @property
    def proxy(self) -> str | None:
        """The kubeconfig's proxy-url."""
        return self._configuration.proxy or None

    @property
    def server_name(self) -> str | None:
        """The name in the server's certificate, where it is not the host of `server`."""
        return self._configuration.tls_server_name or None

    @property
    def namespace(self) -> str:
        """The namespace of the kubeconfig's current context; in a pod, the pod's own. `default` where there is none."""
        if isinstance(self._loader, InClusterConfigLoader):
            try:
                return Path(SERVICE_TOKEN_FILENAME).with_name("namespace").read_text().strip()
            except OSError:
                return "default"
        return str(self._loader.current_context["context"].get("namespace") or "default")

    def tls(self) -> ssl.SSLContext:
        """A new context with the cluster's CA and our certificate, if we have one."""
        configuration = self._configuration
        context = ssl.create_default_context(
            cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data
        )
        # Clusters' own CAs often lack the extensions that Python 3.13 began to insist on.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def authorization(self) -> str | None:
        """The Authorization header, renewed if it was due; None where the certificate says who we are."""
        setting = (await self._configuration.auth_settings()).get("BearerToken")
        return str(setting["value"]).strip() if setting and setting["value"] else None

    async def renew(self) -> None:
        """Read every source again: the server did not take what we sent (401)."""
        async with self._renewing:
            self._renewed = self._clock.monotonic()
            loaded = self._loader.load_and_set(self._configuration)
            if asyncio.iscoroutine(loaded):
                await loaded

    async def _refresh(self, _: Any) -> None:
        if self._clock.monotonic() - self._renewed >= RENEW_EVERY and not self._renewing.locked():
            await self.renew()


async def load(*, kubeconfig: str | None, clock: Clock) -> ApiCredentials:
    """In-cluster where KUBERNETES_SERVICE_HOST is set and no kubeconfig is named, else the kubeconfig.

    Without a name: $KUBECONFIG (may list several files), then ~/.kube/config. Raises UserError.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
            account = InClusterConfigLoader(SERVICE_TOKEN_FILENAME, SERVICE_CERT_FILENAME)  # type: ignore[no-untyped-call]
            account.load_and_set(configuration)  # type: ignore[no-untyped-call]
            return ApiCredentials(configuration, account, clock=clock)
        files = _kubeconfig(kubeconfig)
        loader = await load_kube_config(  # type: ignore[no-untyped-call]
            config_file=files, client_configuration=configuration, persist_config=False
        )
    except (ConfigException, OSError, ValueError) as error:
        source = kubeconfig or os.environ.get("KUBECONFIG") or "the service account"
        raise UserError(f"cannot read credentials from {source}: {error}") from error
    return ApiCredentials(configuration, loader, clock=clock)


def _kubeconfig(named: str | None) -> str:
    """The files to read; the library would go on with none and fail on an attribute of None."""
    files = named or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    if not any(Path(file).expanduser().is_file() for file in files.split(os.pathsep) if file):
        raise UserError(f"no kubeconfig at {files}: set KUBECONFIG to its path, or run in a pod")
    return files
