"""What a child does: from a request to an answer, with the project's own libraries for each part.

Everything here reads a tenant's bytes, or a server's that a tenant named. Runs in a process of its own, with limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

from sentinel.api.reasons import Reason
from sentinel.config.load import (
    FILE_NAMES,
    load,
    pipeline_of,
    relevant,
)
from sentinel.config.model import Config
from sentinel.errors import InfrastructureError, SentinelError, UserError
from sentinel.image.manifest import ImageInfo
from sentinel.image.reference import parse_reference, parse_repository
from sentinel.network import Policy
from sentinel.registry.client import RegistryClient
from sentinel.registry.copying import copy_image
from sentinel.registry.pushed import NotAsReported, check_pushed
from sentinel.resolver.failures import failure_of
from sentinel.resolver.logins import keychain_of
from sentinel.resolver.messages import (
    MOST_DIAGNOSTICS,
    MOST_OPTIONS,
    MOST_VALUES,
    Answer,
    CopiedAnswer,
    CopyRequest,
    FactsAnswer,
    FactsRequest,
    ImageFound,
    ImageWanted,
    KnownStep,
    PushedAnswer,
    PushedRequest,
    Request,
    SourceAnswer,
    SourceRequest,
    StepFound,
    StepWanted,
    WorkflowRequest,
)
from sentinel.resolver.reading import GENERATED, config_text, credentials_of, read_source
from sentinel.resolver.workflows import read_workflow
from sentinel.settings import StepSettings
from sentinel.steps import FoundStep, Project, WantedStep, find_all, step_source
from sentinel.steps.cache import Cache, Key, Known, Stored
from sentinel.steps.manifest import Manifest

A = TypeVar("A")
B = TypeVar("B")

Run: TypeAlias = Callable[[Coroutine[Any, Any, "Done"]], "Done"]

IMAGES_AT_ONCE = 8
"""Images that are looked up at the same time."""


@dataclass(kw_only=True)
class Done:
    """An answer, and the files that follow it."""

    answer: Answer
    files: Sequence[Path] = field(default=())


def work(request: Request, scratch: Path, run: Run) -> Done:
    """The answer to a request; what it needs on disk lies below `scratch`, and stays there. `run` runs a coroutine."""
    try:
        if isinstance(request, SourceRequest):
            return Done(answer=Answer(source=_source(request, scratch)))
        if isinstance(request, WorkflowRequest):
            return Done(answer=Answer(workflow=read_workflow(request, scratch)))
        if isinstance(request, PushedRequest):
            return run(_pushed(request))
        if isinstance(request, CopyRequest):
            return run(_copied(request))
        return run(_facts(request, scratch))
    except SentinelError as error:
        return Done(answer=Answer(failure=failure_of(error)))


def _source(request: SourceRequest, scratch: Path) -> SourceAnswer:
    answer, files, root, what = read_source(request, scratch, () if request.config else FILE_NAMES)
    try:
        name, text = config_text(request.config, files, root, what, generate=request.generate)
    except UserError as error:
        return answer.model_copy(update={"failure": failure_of(error)})
    loaded = load(text)
    reported = relevant(loaded, request.pipeline)[:MOST_DIAGNOSTICS]
    more = {"diagnostics": reported, "generated": text.decode() if name == GENERATED else ""}
    try:
        pipeline = pipeline_of(loaded, request.pipeline, path=name)
    except UserError as error:
        return answer.model_copy(update={**more, "failure": failure_of(error)})
    assert loaded.config is not None  # noqa: S101 - it has the pipeline
    only: Config = replace(loaded.config, pipelines={request.pipeline: pipeline}, workflows=())
    return answer.model_copy(update={**more, "config": only})


async def _pushed(request: PushedRequest) -> Done:
    insecure, default = request.insecure_registries, request.default_registry
    policy = Policy.from_json(request.registries)
    push, pull = keychain_of(request.push_logins), keychain_of(request.pull_logins)
    ca = request.registries_ca
    async with (
        RegistryClient(credentials=push, insecure=insecure, policy=policy, ca=ca) as client,
        RegistryClient(credentials=pull, insecure=insecure, policy=policy, ca=ca) as reader,
    ):
        try:
            await check_pushed(
                parse_repository(request.repository, default_registry=default),
                digest=request.digest,
                layer=request.layer,
                base=parse_reference(request.base, default_registry=default)
                if request.base
                else None,
                architecture=request.architecture,
                client=client,
                reader=reader,
            )
        except NotAsReported as error:
            return Done(answer=Answer(pushed=PushedAnswer(problem=str(error)[:4096])))
    return Done(answer=Answer(pushed=PushedAnswer()))


async def _copied(request: CopyRequest) -> Done:
    insecure, default = request.insecure_registries, request.default_registry
    policy = Policy.from_json(request.registries)
    push, pull = keychain_of(request.push_logins), keychain_of(request.pull_logins)
    ca = request.registries_ca
    async with (
        RegistryClient(credentials=push, insecure=insecure, policy=policy, ca=ca) as client,
        RegistryClient(credentials=pull, insecure=insecure, policy=policy, ca=ca) as reader,
    ):
        await copy_image(
            parse_reference(request.source, default_registry=default),
            parse_repository(request.target, default_registry=default),
            tags=request.tags,
            reader=reader,
            client=client,
        )
    return Done(answer=Answer(copied=CopiedAnswer()))


async def _facts(request: FactsRequest, scratch: Path) -> Done:
    images, (steps, paths) = await _both(_images(request), _steps(request, scratch))
    archives = {
        each.digest: path
        for each, path in zip(steps, paths, strict=True)
        # Those of our image have no archive: the operator has their directories itself.
        if not each.kept and not each.standard
    }
    facts = FactsAnswer(images=images, steps=steps, archives=tuple(archives))
    return Done(answer=Answer(facts=facts), files=tuple(archives.values()))


async def _both(images: Awaitable[A], steps: Awaitable[B]) -> tuple[A, B]:
    """Both answers; where images and steps are missing, one error that names all of them."""
    found = await asyncio.gather(images, steps, return_exceptions=True)
    problems = [each for each in found if isinstance(each, UserError)]
    if problems:
        raise UserError("\n".join(each.message for each in problems), reason=problems[0].reason)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return cast("tuple[A, B]", tuple(found))


async def _images(request: FactsRequest) -> tuple[ImageFound, ...]:
    """The images of the request; every one that does not exist is named in one error."""
    if not request.images:
        return ()
    slots = asyncio.Semaphore(IMAGES_AT_ONCE)
    distinct = list(dict.fromkeys(request.images))
    keychain = keychain_of(request.logins)
    async with RegistryClient(
        credentials=keychain,
        insecure=request.insecure_registries,
        policy=Policy.from_json(request.registries),
        ca=request.registries_ca,
    ) as client:

        async def one(wanted: ImageWanted) -> ImageFound:
            async with slots:
                try:
                    return await _image(request, client, wanted)
                except (UserError, InfrastructureError) as error:
                    if wanted.mirror_of:
                        error.message += f" (the mirror for {wanted.mirror_of}, images.mirrors)"
                    raise

        found = await asyncio.gather(*map(one, distinct), return_exceptions=True)
    problems = [each for each in found if isinstance(each, UserError)]
    if problems:
        raise UserError(
            "\n".join(dict.fromkeys(each.message for each in problems)), reason=problems[0].reason
        )
    facts: dict[ImageWanted, ImageFound] = {}
    for wanted, each in zip(distinct, found, strict=True):
        if isinstance(each, BaseException):
            raise each
        facts[wanted] = each
    return tuple(facts[wanted] for wanted in request.images)


async def _image(request: FactsRequest, client: RegistryClient, wanted: ImageWanted) -> ImageFound:
    reference = parse_reference(wanted.name, default_registry=request.default_registry)
    if wanted.known and await client.resolve(reference) == wanted.known:
        return ImageFound(digest=wanted.known, kept=True)
    info = await client.look_up(reference, platform=("linux", request.architecture))
    _check_size(wanted.name, info)
    return ImageFound(
        digest=info.digest,
        env=info.env,
        ports=info.ports,
        volumes=info.volumes,
        entrypoint=info.entrypoint,
        cmd=info.cmd,
        user=info.user,
        working_dir=info.working_dir,
    )


def _check_size(name: str, info: ImageInfo) -> None:
    """`images.image_info` bounds the bytes; here it is about how many there are, which an answer bounds."""
    count = max(map(len, (info.env, info.ports, info.volumes, info.entrypoint, info.cmd)))
    if count > MOST_VALUES or len(info.user) > 1024 or len(info.working_dir) > 4096:
        raise UserError(
            f"image {name} cannot be used: its configuration has more than {MOST_VALUES} variables, arguments, "
            "ports or volumes, or a user or working directory that is too long",
            reason=Reason.IMAGE_NOT_FOUND,
        )


async def _steps(
    request: FactsRequest, scratch: Path
) -> tuple[tuple[StepFound, ...], Sequence[Path]]:
    if not request.steps or request.rules is None:
        return (), ()
    rules = request.rules
    settings = StepSettings.model_validate(rules.model_dump())
    known = _Known(scratch / "steps", request.known_steps)
    policy = Policy.from_json(request.network)
    source = step_source(
        settings, cache_dir=scratch / "steps", cache=known, ca=request.ca, policy=policy
    )
    project = None
    if request.project is not None:
        project = Project(
            url=request.project.url,
            commit=request.project.commit,
            ref=request.project.ref,
            credentials=credentials_of(request.project.credentials),
            ca=request.ca,
            allow_file=request.project.allow_file,
            policy=policy,
        )
    wanted = [_wanted(each) for each in request.steps]
    found = await find_all(source, wanted, project=project)
    return tuple(_step(each, known) for each in found), [each.archive for each in found]


def _wanted(step: StepWanted) -> WantedStep:
    return WantedStep(owner=step.owner, name=step.name, version=step.version, url=step.url)


def _step(found: FoundStep, known: _Known) -> StepFound:
    if found.standard:
        return StepFound(owner=found.owner, name=found.name, standard=True)
    kept = found.archive == known.ELSEWHERE
    key, mark = known.keys.get((found.owner, found.name, found.digest), (None, ""))
    options = found.manifest.properties
    if len(options) > MOST_OPTIONS:
        raise UserError(
            f"step {found} has {len(options)} options in its manifest; at most {MOST_OPTIONS} are supported",
            reason=Reason.STEP_INVALID,
        )
    return StepFound(
        owner=found.owner,
        name=found.name,
        version=found.version[:100],
        digest=found.digest,
        size=found.size,
        kept=kept,
        registry=key.registry[:2048] if key else "",
        mark=mark[:200],
        release=key.version if key else "",
        defaults=tuple((each.name, each.default) for each in options),
        required=tuple(each.name for each in options if each.required and not each.default),
        warnings=tuple(each[:1000] for each in found.warnings[:100]),
    )


class _Known(Cache):
    """The cache of one Build: what it fetches, and the operator's archives, of which only the digests are known.

    `keys` are the versions that were fetched now and may be known from now on.
    """

    ELSEWHERE = Path("/nonexistent/operator")

    def __init__(self, directory: Path, steps: Sequence[KnownStep]) -> None:
        super().__init__(directory)
        self.keys: dict[tuple[str, str, str], tuple[Key, str]] = {}
        self._known = {
            Key(
                registry=each.registry, owner=each.owner, name=each.name, version=each.version
            ): Known(mark=each.mark, digest=each.digest)
            for each in steps
        }
        self._digests = {each.digest for each in steps}

    def look_up(self, key: Key) -> Known | None:
        return self._known.get(key) or super().look_up(key)

    def get(self, digest: str) -> Stored | None:
        if digest in self._digests:
            return Stored(
                digest=digest,
                size=0,
                archive=self.ELSEWHERE,
                manifest=Manifest(),
                does_something=True,
            )
        return super().get(digest)

    def remember(self, key: Key, known: Known) -> None:
        super().remember(key, known)
        self.keys[key.owner, key.name, known.digest] = key, known.mark
