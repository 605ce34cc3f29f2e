"""Plan → the pod that runs it (docs/explanation/architecture.md, "The pod").

A pure function of the Plan, the Build's pod settings and the operator's settings; compared whole in the tests. No
secret value and no presigned URL may ever stand in what it returns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sentinel.api import API_VERSION
from sentinel.api.build import Build, PodContainer
from sentinel.layout import (
    BOXKIT,
    CACHE_SECRET_DIR,
    FETCHED_CACHE,
    FETCHED_SOURCE,
    GIT_SECRET_DIR,
    KIT_DIR,
    PIPELINE_DIR,
    PYTHON,
    REPORT_DIR,
    SESSION_DIR,
    STEPS_DIR,
    TMP_DIR,
    TOOLS_DIR,
    WERCKER_DIR,
)
from sentinel.plan.cache import CACHE_ENTRIES
from sentinel.plan.codec import encode
from sentinel.plan.containers import container_aliases, container_secrets
from sentinel.plan.links import ADDRESS
from sentinel.plan.model import Plan, PlanService, PlanStep
from sentinel.plan.names import (
    BOX,
    FETCH_VARIABLE,
    PLAN_ANNOTATION,
    SOURCE,
    is_dns_name,
)
from sentinel.plan.seal import PlanKeys, pod_imprint, seal_plan
from sentinel.plan.users import is_read_only, is_root, security_context
from sentinel.settings import Settings

CACHE_URL = "url"
"""The key in the Secret of the cache."""

CACHE_RESTORED_WITHIN = 300.0
"""Seconds for restoring a cache, beside the fetching of the source."""

NET_SECONDS = 30 * 60
"""Added to the build's own timeouts: the kubelet is only the last net."""

Object = dict[str, Any]


def make_pod(plan: Plan, *, build: Build, settings: Settings, defaults: bool = True) -> Object:
    """The pod of the plan's attempt, owned by `build`, still without the plan.

    Without `defaults` only the resources that the Build states are in it, for namespaces whose LimitRange has defaults
    that ours do not fit.
    """
    asked, ours = build.spec.pod, settings.pods.defaults
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": plan.id.pod,
            "namespace": plan.namespace,
            "labels": {**ours.labels, **asked.labels, **plan.id.labels},
            "annotations": {**ours.annotations, **asked.annotations},
            "ownerReferences": [owner_reference(build)],
        },
        "spec": _Spec(plan=plan, build=build, settings=settings).make(defaults=defaults),
    }


def sign_pod(pod: Object, plan: Plan, *, keys: PlanKeys) -> Object:
    """`pod` with its plan and the digest of its spec in an annotation, signed.

    Raises UserError where the plan is too large for one.
    """
    imprint = pod_imprint(pod["spec"], plan)
    text = seal_plan(encode(plan), pod=imprint, identity=plan.id, keys=keys)
    annotations = {**pod["metadata"]["annotations"], PLAN_ANNOTATION: text}
    return {**pod, "metadata": {**pod["metadata"], "annotations": annotations}}


def owner_reference(build: Build) -> Object:
    """What makes an object go when its Build goes."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Build",
        "name": build.name,
        "uid": build.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


@dataclass(frozen=True, kw_only=True)
class _Spec:
    """The spec of an attempt's pod, part by part."""

    plan: Plan
    build: Build
    settings: Settings

    def make(self, *, defaults: bool) -> Object:
        said = self.build.spec.pod
        deadline = self.plan.pending_timeout + self.plan.build_timeout + NET_SECONDS
        spec: Object = {
            "restartPolicy": "Never",
            "enableServiceLinks": False,
            "automountServiceAccountToken": said.automount_service_account_token,
            "nodeSelector": {
                **self.settings.pods.defaults.node_selector,
                **said.node_selector,
                "kubernetes.io/os": "linux",
            },
            "activeDeadlineSeconds": max(1, int(deadline)),
            "terminationGracePeriodSeconds": 30,
            "volumes": self._volumes(),
            "initContainers": [self._source()],
            "containers": [
                self._box(),
                *(
                    _service(
                        each,
                        said.services.get(each.alias, PodContainer()),
                        resources=self.settings.pods.defaults.service_resources,
                    )
                    for each in self.plan.services
                ),
            ],
        }
        if not defaults:
            self._leave_out_defaults(spec)
        spec |= self._optional()
        return spec

    def _leave_out_defaults(self, spec: Object) -> None:
        said = self.build.spec.pod
        stated = {BOX: said.box} | {
            each.container: said.services.get(each.alias, PodContainer())
            for each in self.plan.services
        }
        for container in (*spec["initContainers"], *spec["containers"]):
            own = stated.get(container["name"])
            container["resources"] = own.resources if own is not None else {}

    def _volumes(self) -> list[Object]:
        volumes: list[Object] = [
            {"name": "wercker", "emptyDir": {}},
            {"name": "kit", "emptyDir": {}},
            {"name": "session", "emptyDir": {}},
        ]
        volumes += [{"name": name, "emptyDir": {}} for name, _ in self._writable()]
        for name, _, holds in self.plan.source.volumes(self.plan.id):
            volumes.append({"name": name, **holds})
        if self.plan.archived_steps:
            volumes.append({"name": "steps", "configMap": {"name": self.plan.id.steps}})
        if self.plan.cache.size:
            # A cache never stops a pod: without its Secret it starts empty.
            secret = {"secretName": self.plan.id.cache, "defaultMode": 0o444, "optional": True}
            volumes.append({"name": "cache", "secret": secret})
        if provides_tools(self.plan.steps, self.settings):
            volumes.append({"name": "tools", **_tools(self.settings)})
        return volumes

    def _writable(self) -> list[tuple[str, str]]:
        """Volumes of the box, with their places, where it could not make directories: its user is not root, or its root
        file system is read-only; then /tmp is one too."""
        said = self.build.spec.pod.box
        read_only = is_read_only(said)
        if is_root(self.plan.box_user(said)) and not read_only:
            return []
        places = [("pipeline", PIPELINE_DIR), ("report", REPORT_DIR)]
        if read_only:
            places.append(("tmp", TMP_DIR))
        if not self.plan.base_path.startswith(f"{PIPELINE_DIR}/"):
            places.append(("base", self.plan.base_path))
        return places

    def _source(self) -> Object:
        fetch: Object = {
            "url": self.plan.source.url,
            "dest": FETCHED_SOURCE,
            "kit": KIT_DIR,
            "secretDir": GIT_SECRET_DIR if self.plan.source.fetch_secret else "",
            "ignoreFile": self.plan.ignore_file,
            "maxBytes": self.settings.source.max_gib * 1024**3,
            "network": self.settings.network.policy().to_json(),
        }
        if self.settings.source.ca:
            fetch["ca"] = self.settings.source.ca  # public, so it may stand in the pod
        steps = [{"id": step.id, "digest": step.digest} for step in self.plan.archived_steps]
        if steps:
            fetch |= {"steps": steps, "stepsDir": STEPS_DIR}
        standard = [{"id": step.id, "name": step.name} for step in self.plan.steps if step.standard]
        if standard:
            fetch["standardSteps"] = standard
        if self.plan.cache.size:
            fetch["cache"] = {
                "urlFile": f"{CACHE_SECRET_DIR}/{CACHE_URL}",
                "dest": FETCHED_CACHE,
                "state": KIT_DIR,
                "bytes": self.plan.cache.limit,
                "entries": CACHE_ENTRIES,
                "seconds": CACHE_RESTORED_WITHIN,
            }
            if proxy := self.settings.store_proxy():
                fetch["cache"]["proxy"] = proxy
        if self.settings.store.ca and (steps or self.plan.cache.size or self.plan.source.outputs):
            fetch["storeCa"] = self.settings.store.ca  # public as well
        fetch |= self.plan.source.fetched
        mounts: list[Object] = [
            {"name": "wercker", "mountPath": WERCKER_DIR},
            {"name": "kit", "mountPath": KIT_DIR},
        ]
        for name, place, _ in self.plan.source.volumes(self.plan.id):
            mounts.append({"name": name, "mountPath": place, "readOnly": True})
        if self.plan.cache.size:
            mounts.append({"name": "cache", "mountPath": CACHE_SECRET_DIR, "readOnly": True})
        if steps:
            mounts.append({"name": "steps", "mountPath": STEPS_DIR, "readOnly": True})
        return {
            "name": SOURCE,
            "image": self.settings.image,
            "imagePullPolicy": self.settings.image_pull_policy,
            "command": [PYTHON, "-I", "-m", "sentinel.source.fetch"],
            # The kubelet expands $(NAME) in values: a branch may be called that.
            "env": [
                {"name": FETCH_VARIABLE, "value": exact(json.dumps(fetch, sort_keys=True))},
                *proxies(self.settings),
            ],
            "volumeMounts": mounts,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "resources": self.settings.source.resources,
            "securityContext": self.settings.source.security_context,
        }

    def _box(self) -> Object:
        said = self.build.spec.pod.box
        mounts: list[Object] = [
            {"name": "wercker", "mountPath": WERCKER_DIR, "readOnly": True},
            {"name": "kit", "mountPath": KIT_DIR, "readOnly": True},
            {"name": "session", "mountPath": SESSION_DIR},
        ]
        if provides_tools(self.plan.steps, self.settings):
            mounts.append({"name": "tools", "mountPath": TOOLS_DIR, "readOnly": True})
        mounts += [{"name": name, "mountPath": path} for name, path in self._writable()]
        box: Object = {
            "name": BOX,
            "image": self.plan.box.reference,
            "imagePullPolicy": "IfNotPresent",
            "command": [BOXKIT, "init"],
            "volumeMounts": mounts,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "resources": said.resources or self.settings.pods.defaults.box_resources,
        }
        if context := {**security_context(self.plan.user, self.plan.box), **said.security_context}:
            box["securityContext"] = context
        return box

    def _optional(self) -> Object:
        """The fields that are left out where they are empty."""
        said, ours = self.build.spec.pod, self.settings.pods.defaults
        aliases = [service.alias for service in self.plan.services if is_dns_name(service.alias)]
        aliases += [name for name in container_aliases(self.plan) if name not in aliases]
        secrets = dict.fromkeys(
            (
                *self.settings.image_pull_secrets,
                *self.plan.image.pull_secrets,
                *(ref.name for ref in said.image_pull_secrets),
                *container_secrets(self.plan, self.build),
            )
        )
        fields: Object = {
            "hostAliases": [{"ip": ADDRESS, "hostnames": aliases}] if aliases else [],
            "imagePullSecrets": [{"name": name} for name in secrets],
            "serviceAccountName": said.service_account_name,
            "tolerations": [*ours.tolerations, *said.tolerations],
            "affinity": said.affinity or ours.affinity,
            "priorityClassName": said.priority_class_name or ours.priority_class_name,
            "runtimeClassName": said.runtime_class_name or ours.runtime_class_name,
        }
        return {name: value for name, value in fields.items() if value}


def provides_tools(steps: Iterable[PlanStep], settings: Settings) -> bool:
    """Whether the box gets the tools of the operator's owner: only standard steps look for them."""
    return bool(settings.steps.tools) and any(step.standard for step in steps)


def _tools(settings: Settings) -> Object:
    """The volume source of the tools. A namespace may lack its ConfigMap or Secret: most steps need no tool of it."""
    return {
        kind: {"optional": True, **source} if kind in ("configMap", "secret") else source
        for kind, source in settings.steps.tools.items()
    }


def proxies(settings: Settings) -> list[Object]:
    """The proxies of the fetcher, as variables: those of the settings, whatever the Build sets for its steps."""
    proxy = settings.proxy
    values = {"http_proxy": proxy.http, "https_proxy": proxy.https}
    if any(values.values()):
        # A directory store is in the cluster.
        store = urlsplit(settings.store.url).hostname
        values["no_proxy"] = ",".join((*proxy.no_proxy, *([store] if store else [])))
    return [{"name": name, "value": exact(value)} for name, value in values.items() if value]


def _service(service: PlanService, said: PodContainer, *, resources: Object) -> Object:
    container: Object = {
        "name": service.container,
        "image": service.image.reference,
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": said.resources or resources,
    }
    if service.entrypoint:
        container["command"] = [exact(word) for word in service.entrypoint]
    if service.cmd:
        container["args"] = [exact(word) for word in service.cmd]
    if service.env:
        container["env"] = [{"name": name, "value": exact(text)} for name, text in service.env]
    if context := {**security_context(service.user, service.image), **said.security_context}:
        container["securityContext"] = context
    return container


def exact(text: str) -> str:
    """`text` so written that the kubelet's own expansion gives it back unchanged."""
    return text.replace("$", "$$")
