"""Stage 4: box, services and steps exist, before anything runs, and what their images and manifests say.

The resolver looks them up. What it found for an earlier Build of the namespace is kept (`resolver.shelf`) and sent
along, so that it asks a registry only whether that still holds.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sentinel.api.build import Build, PodSettings
from sentinel.api.reasons import Reason
from sentinel.config.model import Box, Step
from sentinel.engine.run import Tools
from sentinel.engine.secrets import References
from sentinel.errors import InternalError, UserError
from sentinel.image.dockerconfig import (
    Credential,
    Keychain,
    docker_config,
    keychain_from_docker_config,
)
from sentinel.image.mirrors import mirrored
from sentinel.image.reference import Reference, parse_reference
from sentinel.plan.internal import is_shipped
from sentinel.plan.model import ImageFacts, PlanSource, StepFacts
from sentinel.resolver.client import Session
from sentinel.resolver.logins import logins_of
from sentinel.resolver.messages import (
    FactsRequest,
    ImageFound,
    ImageWanted,
    KnownStep,
    ProjectWanted,
    StepFound,
    StepRules,
    StepWanted,
)
from sentinel.steps import WantedStep
from sentinel.steps.standard import find_standard, standard_facts


@dataclass(frozen=True, kw_only=True)
class _Image:
    """An image to look up: `login` is a digest of where and with what it is looked up, and for which architecture.

    `name` is what wercker.yml or a rewrite has, `reference` where it is looked up and pulled, perhaps on a mirror.
    """

    name: str
    reference: Reference
    mirrored: bool
    login: str
    known: ImageFacts | None


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """Looks up the images and steps of one Build."""

    build: Build
    tools: Tools
    references: References

    async def find_facts(
        self,
        session: Session,
        *,
        images: Sequence[Box],
        logins: Mapping[str, Credential],
        steps: Sequence[Step],
        source: PlanSource,
    ) -> tuple[list[ImageFacts], dict[str, StepFacts]]:
        """The images of box and services in their order, and the facts of each step but scripts, by identifier.

        `logins` are those of wercker.yml, by `host/path`. Raises UserError that names everything which does not exist
        or is not allowed; InfrastructureError.
        """
        local = self.tools.settings.images.local
        references = [] if local else self.check_allowed(images)
        keys = NO_KEYS if local else await self._keychain(logins)
        wanted = [
            self._image(box.image, reference, keys)
            for box, reference in zip(images, references, strict=False)
        ]
        named = {step.identifier: _step_wanted(step) for step in steps if step.kind == "registry"}
        shipped = {
            step.identifier: _step_wanted(replace(step, url=""))
            for step in steps
            if is_shipped(step)
        }
        ours = {} if self.tools.settings.steps.registry else self._standard(named)
        ours |= _shipped(shipped)
        named = {name: each for name, each in named.items() if name not in ours}
        if not wanted and not named:
            return [local_image(box.image) for box in images], ours
        known = self._known(named.values())
        request = await self._request(list(named.values()), known=known, source=source)
        request = request.model_copy(
            update={
                "images": tuple(map(_wanted, wanted)),
                "logins": logins_of(keys),
            }
        )
        answer = await session.facts(request)
        facts = [
            self._image_facts(each, found)
            for each, found in zip(wanted, answer.images, strict=True)
        ]
        ours |= self._standard(
            {
                name: each
                for (name, each), found in zip(named.items(), answer.steps, strict=True)
                if found.standard
            },
        )
        found_steps = {
            name: ours[name] if name in ours else self._step_facts(found, known)
            for name, found in zip(named, answer.steps, strict=True)
        }
        return facts or [local_image(box.image) for box in images], ours | found_steps

    async def find_step(self, step: StepWanted, *, source: PlanSource) -> StepFacts:
        """One step again, its archive on the shelf. Raises as `find_facts` does."""
        known = self._known([step])
        request = await self._request([step], known=known, source=source)
        resolver = self.tools.resolver
        async with resolver.session(
            namespace=self.build.namespace, build=self.build.name
        ) as session:
            answer = await session.facts(request)
        return self._step_facts(answer.steps[0], known)

    async def find_image(self, name: str, *, keys: Keychain, source: PlanSource) -> ImageFacts:
        """One image, looked up with these credentials. Raises as `find_facts` does.

        Whether its registry is allowed is the caller's to ask (`check_registries`).
        """
        default = self.tools.settings.images.default_registry
        wanted = self._image(name, parse_reference(name, default_registry=default), keys)
        request = await self._request([], known={}, source=source)
        images = (_wanted(wanted),)
        request = request.model_copy(update={"images": images, "logins": logins_of(keys)})
        resolver = self.tools.resolver
        async with resolver.session(
            namespace=self.build.namespace, build=self.build.name
        ) as session:
            answer = await session.facts(request)
        return self._image_facts(wanted, answer.images[0])

    def check_allowed(self, boxes: Sequence[Box]) -> list[Reference]:
        """The references of these images. UserError that names all that are on a registry which is not allowed."""
        return self.check_registries([box.image for box in boxes])

    def check_registries(self, names: Sequence[str]) -> list[Reference]:
        """The references of these images. UserError that names all that are on a registry which is not allowed."""
        settings = self.tools.settings.images
        allowed = settings.allowed_registries
        references = [
            parse_reference(name, default_registry=settings.default_registry) for name in names
        ]
        problems = [
            f"image {name!r} is on registry {reference.registry}, which this operator does not allow; it allows "
            + ", ".join(allowed)
            for name, reference in zip(names, references, strict=True)
            if allowed and reference.registry not in allowed
        ]
        if problems:
            raise UserError("\n".join(dict.fromkeys(problems)), reason=Reason.REGISTRY_NOT_ALLOWED)
        return references

    async def _keychain(self, logins: Mapping[str, Credential]) -> Keychain:
        keys = await self.references.keychain()
        if logins:
            keys += keychain_from_docker_config(docker_config(logins), source="wercker.yml")
        return keys

    def _image(self, name: str, reference: Reference, keys: Keychain) -> _Image:
        credential, place = keys.find(reference), reference
        if credential is None:
            # With a login of its own an image may be private, and then no mirror has it.
            place = mirrored(reference, self.tools.settings.images.mirrors)
            credential = keys.find(place)
        parts = [architecture_of(self.build.spec.pod), place.name]
        if credential is not None:
            parts += [credential.username, credential.password, credential.identity_token]
        login = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        known = self.tools.known.image(self.build.namespace, name, login)
        return _Image(
            name=name, reference=place, mirrored=place != reference, login=login, known=known
        )

    def _image_facts(self, wanted: _Image, found: ImageFound) -> ImageFacts:
        if found.kept:
            if wanted.known is None or wanted.known.digest != found.digest:
                raise InternalError(
                    f"the resolver kept facts of {wanted.name} that it was not given"
                )
            return wanted.known
        facts = ImageFacts(
            name=wanted.name,
            reference=str(replace(wanted.reference, tag="", digest=found.digest)),
            digest=found.digest,
            env=found.env,
            ports=found.ports,
            volumes=found.volumes,
            entrypoint=found.entrypoint,
            cmd=found.cmd,
            user=found.user,
            working_dir=found.working_dir,
        )
        self.tools.known.keep_image(self.build.namespace, wanted.name, wanted.login, facts)
        return facts

    def _known(self, steps: Iterable[StepWanted]) -> dict[KnownStep, StepFacts]:
        """What earlier Builds found of these steps, and is on the shelf.

        It is held until the answer is there: another Build may replace it among the tools meanwhile.
        """
        return {
            known: facts
            for step in steps
            for known, facts in self.tools.known.steps(
                self.build.namespace, step.owner, step.name
            ).items()
            if self.tools.shelf.has(known.digest)
        }

    async def _request(
        self, steps: Sequence[StepWanted], *, known: Collection[KnownStep], source: PlanSource
    ) -> FactsRequest:
        """What the resolver must know about steps, and where images come from."""
        settings = self.tools.settings
        rules = settings.steps
        return FactsRequest(
            insecure_registries=tuple(settings.images.insecure_registries),
            default_registry=settings.images.default_registry,
            architecture=architecture_of(self.build.spec.pod),
            steps=tuple(steps),
            known_steps=tuple(known),
            rules=StepRules(
                registry=rules.registry,
                standard=rules.standard,
                token=rules.token.get_secret_value(),
                allow_local=rules.allow_local,
                allow_url=rules.allow_url,
                packed_bytes=rules.packed_bytes,
                unpacked_bytes=rules.unpacked_bytes,
                entries=rules.entries,
            )
            if steps
            else None,
            project=await self._project(steps, source=source),
            ca=settings.source.ca,
            network=settings.network.policy().to_json(),
            registries=settings.registry_policy().to_json(),
            registries_ca=settings.ca,
        )

    async def _project(
        self, steps: Sequence[StepWanted], *, source: PlanSource
    ) -> ProjectWanted | None:
        """Where steps of the project's own source are; None without one, or where the source is no repository."""
        if not source.commit or not any(step.url.startswith("file://") for step in steps):
            return None
        return ProjectWanted(
            url=source.url,
            commit=source.commit,
            ref=source.ref,
            credentials=await self.references.git_credentials(source.secret),
        )

    def _standard(self, named: Mapping[str, StepWanted]) -> dict[str, StepFacts]:
        """The facts of those that are standard steps, which need no look-up."""
        return _shipped(named) if self.tools.settings.steps.standard else {}

    def _step_facts(
        self, found: StepFound, known_steps: Mapping[KnownStep, StepFacts]
    ) -> StepFacts:
        namespace = self.build.namespace
        if found.standard or not found.digest:
            raise InternalError(f"the resolver gave no archive of step {found.owner}/{found.name}")
        if found.kept:
            for known, facts in known_steps.items():
                named = (known.owner, known.name) == (found.owner, found.name)
                if named and known.digest == found.digest:
                    warnings = tuple(dict.fromkeys((*found.warnings, *facts.warnings)))
                    return replace(facts, warnings=warnings)
            raise InternalError(
                f"the resolver kept a step {found.owner}/{found.name} it was not given"
            )
        facts = StepFacts(
            version=found.version,
            digest=found.digest,
            defaults=found.defaults,
            required=frozenset(found.required),
            warnings=found.warnings,
        )
        if found.registry:
            known = KnownStep(
                registry=found.registry,
                owner=found.owner,
                name=found.name,
                version=found.release,
                mark=found.mark,
                digest=found.digest,
            )
            self.tools.known.keep_step(namespace, known, facts)
        return facts


def architecture_of(pod: PodSettings, *, machine: str = "") -> str:
    """The architecture that images must be for: that of `kubernetes.io/arch` in the node selector, else the one of the
    operator's own node (`machine`, as `uname -m` prints it). Clusters of several need the selector."""
    machine = machine or platform.machine()
    own = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return pod.node_selector.get("kubernetes.io/arch", own)


def local_image(name: str) -> ImageFacts:
    """An image that only the nodes know (`images.local`): all that is known is its name."""
    return ImageFacts(name=name, reference=name)


NO_KEYS = Keychain()


def _wanted(image: _Image) -> ImageWanted:
    return ImageWanted(
        name=str(image.reference) if image.mirrored else image.name,
        known=image.known.digest if image.known else "",
        mirror_of=image.name if image.mirrored else "",
    )


def _step_wanted(step: Step) -> StepWanted:
    return StepWanted(
        identifier=step.identifier,
        owner=step.owner,
        name=step.name,
        version=step.version,
        url=step.url,
    )


def _shipped(named: Mapping[str, StepWanted]) -> dict[str, StepFacts]:
    """The facts of those whose directories are in our image."""
    found: dict[str, StepFacts] = {}
    for name, each in named.items():
        wanted = WantedStep(owner=each.owner, name=each.name, version=each.version, url=each.url)
        if (step := find_standard(wanted)) is not None:
            found[name] = standard_facts(step, wanted)
    return found
