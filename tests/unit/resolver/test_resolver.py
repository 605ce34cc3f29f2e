"""A real resolver process: what it answers, and what becomes of a Build that takes more than its share."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from tests.unit.clocks import Hasty
from tests.unit.registry import server
from tests.unit.registry.makers import push_image
from tests.unit.resolver.process import ResolverProcess, until

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, UserError
from sentinel.image.reference import parse_reference
from sentinel.registry import RegistryClient
from sentinel.resolver.logins import keychain_of, logins_of
from sentinel.resolver.messages import (
    ArchiveWanted,
    FactsRequest,
    GitWanted,
    ImageWanted,
    LoginMessage,
    PushedRequest,
    SourceRequest,
    StepRules,
    StepWanted,
)

WERCKER_YML = """\
box: debian:12
build:
  steps:
    - script:
        name: hello
        code: echo hello
deploy:
  steps: []
"""
RULES = StepRules(packed_bytes=1 << 20, unpacked_bytes=10 << 20, entries=100)

LOOPBACK = {"allowed": ["127.0.0.0/8"]}


@pytest.fixture
def resolver(tmp_path: Path) -> Iterator[ResolverProcess]:
    """Not started yet, so that a test may set limits."""
    process = ResolverProcess(directory=tmp_path)
    yield process
    process.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResolverProcess]:
    """One with the default limits, which runs: nothing that a request does lasts."""
    process = ResolverProcess(directory=tmp_path_factory.mktemp("resolver"))
    process.start()
    yield process
    process.kill()


def git(*arguments: str, cwd: Path, data: bytes | None = None) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(cwd),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{
            f"GIT_{who}_{what}": "a@b"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, env=environment, check=True, input=data, capture_output=True
    )
    return done.stdout.decode().strip()


def repository(root: Path, *, entries: int = 0) -> tuple[str, str]:
    """URL and commit of a repository with WERCKER_YML and `entries` more files in its root."""
    home = root / "repository.git"
    home.mkdir()
    git("init", "-q", "--bare", "-b", "main", cwd=home)
    git("config", "uploadpack.allowFilter", "true", cwd=home)
    blob = git("hash-object", "-w", "--stdin", cwd=home, data=WERCKER_YML.encode())
    raw = bytes.fromhex(blob)
    tree = b"".join(b"100644 %06x\0" % i + raw for i in range(entries))
    tree += b"100644 wercker.yml\0" + raw
    made = git("hash-object", "-t", "tree", "-w", "--stdin", "--literally", cwd=home, data=tree)
    commit = git("commit-tree", made, "-m", "first", cwd=home)
    git("update-ref", "refs/heads/main", commit, cwd=home)
    return f"file://{home}", commit


def wanted(url: str, *, config: str = "", pipeline: str = "build") -> SourceRequest:
    return SourceRequest(
        git=GitWanted(url=url, ref="main"), config=config, pipeline=pipeline, allow_file=True
    )


def archive_at(path: Path) -> SourceRequest:
    return SourceRequest(
        archive=ArchiveWanted(url=f"file://{path}", sha256=""), pipeline="build", allow_file=True
    )


async def ask(resolver: ResolverProcess, request: Any, *, namespace: str = "team") -> Any:
    async with resolver.client().session(namespace=namespace, build="b") as session:
        if isinstance(request, SourceRequest):
            return await session.source(request)
        return await session.facts(request)


async def refused(resolver: ResolverProcess, request: Any) -> str:
    """The message of a Build that ends at a limit."""
    with pytest.raises(UserError) as caught:
        await ask(resolver, request)
    assert caught.value.reason is Reason.RESOLVE_LIMIT_EXCEEDED
    await until(lambda: resolver.left() == [] and resolver.children() == [])
    return caught.value.message


async def honest(resolver: ResolverProcess, root: Path) -> None:
    """The resolver still answers."""
    (root / "honest").mkdir()
    url, commit = repository(root / "honest")
    assert (await ask(resolver, wanted(url))).commit == commit


# --- what it answers ---


async def test_a_repository_becomes_a_commit_and_the_one_pipeline(
    shared: ResolverProcess, tmp_path: Path
) -> None:
    url, commit = repository(tmp_path)
    answer = await ask(shared, wanted(url))
    assert (answer.commit, answer.branch, answer.subject) == (commit, "main", "first")
    assert answer.failure is None
    assert list(answer.config.pipelines) == ["build"]
    assert [step.code for step in answer.config.pipelines["build"].steps] == ["echo hello"]
    await until(lambda: shared.left() == [] and shared.children() == [])


async def test_a_pipeline_that_does_not_exist_is_a_failure_beside_the_source(
    shared: ResolverProcess, tmp_path: Path
) -> None:
    url, commit = repository(tmp_path)
    answer = await ask(shared, wanted(url, pipeline="nope"))
    assert answer.commit == commit
    assert answer.config is None
    assert answer.failure.reason is Reason.PIPELINE_NOT_FOUND
    assert "build, deploy" in answer.failure.message


async def test_a_repository_that_does_not_exist_is_the_users(
    shared: ResolverProcess, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        await ask(shared, wanted(f"file://{tmp_path}/none.git"))
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND


async def test_images_are_looked_up_and_a_known_digest_is_kept(
    shared: ResolverProcess, tmp_path: Path
) -> None:
    with server.registry(tmp_path) as host:
        name = f"{host}/team/app:1"
        async with RegistryClient() as client:
            await push_image(client, parse_reference(name), run={"Env": ["A=1"]})
        request = FactsRequest(images=(ImageWanted(name=name),), registries=LOOPBACK)
        (found,) = (await ask(shared, request)).images
        assert (found.kept, found.env) == (False, (("A", "1"),))
        request = FactsRequest(
            images=(ImageWanted(name=name, known=found.digest),), registries=LOOPBACK
        )
        (kept,) = (await ask(shared, request)).images
        assert (kept.kept, kept.digest, kept.env) == (True, found.digest, ())
        missing = FactsRequest(
            images=(
                ImageWanted(name=f"{host}/a:1"),
                ImageWanted(name=f"{host}/b:1", mirror_of="b:1"),
            ),
            registries=LOOPBACK,
        )
        with pytest.raises(UserError) as caught:
            await ask(shared, missing)
        assert caught.value.reason is Reason.IMAGE_NOT_FOUND
        assert [f"{host}/{each}:1" in caught.value.message for each in "ab"] == [True, True]
        assert caught.value.message.endswith(" (the mirror for b:1, images.mirrors)")


async def test_a_pushed_image_is_compared_with_what_was_reported(
    shared: ResolverProcess, tmp_path: Path
) -> None:
    with server.registry(tmp_path, login=True) as host:
        login = LoginMessage(host=host, path="", username=server.USER, password=server.PASSWORD)
        keys = keychain_of([login])
        name = parse_reference(f"{host}/team/app:1")
        async with RegistryClient(credentials=keys) as client:
            pushed = await push_image(client, name)
            (layer,) = (await client.get_image_manifest(name)).layers
        request = PushedRequest(
            repository=name.name,
            digest=pushed["digest"],
            layer=layer.digest,
            base=f"{name.name}@{pushed['digest']}",
            architecture="amd64",
            push_logins=(login,),
            pull_logins=logins_of(keys),
            registries=LOOPBACK,
        )
        async with shared.client().session(namespace="team", build="b") as session:
            # An image of one layer is not its own base with that layer on top.
            assert "layers of" in await session.pushed(request)
            with pytest.raises(UserError, match="denied pull of"):
                await session.pushed(request.model_copy(update={"push_logins": ()}))


async def test_a_registry_of_the_cluster_itself_is_not_connected_to(
    shared: ResolverProcess,
) -> None:
    request = FactsRequest(images=(ImageWanted(name="127.0.0.1:1/team/app:1"),))
    with pytest.raises(UserError, match="is a loopback address") as caught:
        await ask(shared, request)
    assert caught.value.reason is Reason.REGISTRY_NOT_ALLOWED


async def test_steps_come_with_their_archives(shared: ResolverProcess, tmp_path: Path) -> None:
    step = tmp_path / "steps/team/greet"
    step.mkdir(parents=True)
    (step / "run.sh").write_text("echo hi\n")
    (step / "wercker-step.yml").write_text(
        "name: greet\nversion: 1.2.0\nproperties:\n  - name: whom\n    type: string\n    default: you\n"
    )
    request = FactsRequest(
        steps=(
            StepWanted(identifier="team/greet", owner="team", name="greet", version="*", url=""),
        ),
        rules=RULES.model_copy(update={"registry": str(tmp_path / "steps")}),
    )
    client = shared.client()
    async with client.session(namespace="team", build="b") as session:
        (found,) = (await session.facts(request)).steps
    assert (found.version, found.defaults, found.kept) == ("1.2.0", (("whom", "you"),), False)
    archive = await client.shelf.archive(found.digest)
    assert archive is not None
    with tarfile.open(archive) as opened:
        assert "run.sh" in [name.removeprefix("./") for name in opened.getnames()]


async def test_a_standard_step_that_the_registry_does_not_have_comes_without_an_archive(
    shared: ResolverProcess, tmp_path: Path
) -> None:
    (tmp_path / "steps/team/greet").mkdir(parents=True)
    (tmp_path / "steps/team/greet/run.sh").write_text("echo hi\n")
    request = FactsRequest(
        steps=tuple(
            StepWanted(identifier=f"{owner}/{name}", owner=owner, name=name, version="*", url="")
            for owner, name in (("wercker", "npm-test"), ("team", "greet"))
        ),
        rules=RULES.model_copy(update={"registry": str(tmp_path / "steps"), "standard": True}),
    )
    client = shared.client()
    async with client.session(namespace="team", build="b") as session:
        ours, theirs = (await session.facts(request)).steps
    assert (ours.name, ours.standard, ours.digest) == ("npm-test", True, "")
    assert (theirs.name, theirs.standard) == ("greet", False)
    assert await client.shelf.archive(theirs.digest) is not None


# --- limits ---


async def test_a_root_tree_of_very_many_entries_is_refused_before_it_is_read(
    resolver: ResolverProcess, tmp_path: Path
) -> None:
    resolver.limits = {"memory_mib": 32}
    resolver.start()
    url, _ = repository(tmp_path, entries=300_000)
    with pytest.raises(UserError, match="has too many entries") as caught:
        await ask(resolver, wanted(url))
    assert caught.value.reason is Reason.SOURCE_INVALID
    await honest(resolver, tmp_path)


async def test_an_archive_of_very_long_names_ends_at_the_limit_of_memory(
    resolver: ResolverProcess, tmp_path: Path
) -> None:
    resolver.limits = {"memory_mib": 32}
    resolver.start()
    # Enough to pass the limit while they are read. Links are made at the end, and removing them takes long.
    links = []
    for number in range(50_000):
        link = tarfile.TarInfo(f"{number}")
        link.type, link.linkname = tarfile.SYMTYPE, f"{number}{'t' * 900}"
        links.append(link.tobuf(tarfile.GNU_FORMAT))
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"".join((*links, b"\0" * 1024)), 1))
    message = await refused(resolver, archive_at(tmp_path / "a.tar.gz"))
    assert "32 MiB of memory (setting resolver.memoryMiB)" in message
    await honest(resolver, tmp_path)


async def test_an_archive_that_takes_long_to_unpack_ends_at_the_limit_of_cpu_time(
    resolver: ResolverProcess, tmp_path: Path
) -> None:
    resolver.limits = {"cpu_seconds": 1}
    resolver.start()
    # Empty files: each costs the same, whatever the archive's own size is.
    headers = (tarfile.TarInfo(f"d{i % 100}/f{i}").tobuf() for i in range(60_000))
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"".join((*headers, b"\0" * 1024)), 1))
    message = await refused(resolver, archive_at(tmp_path / "a.tar.gz"))
    assert "1 s of CPU time (setting resolver.cpuSeconds)" in message
    await honest(resolver, tmp_path)


async def test_a_server_that_never_answers_ends_at_the_limit_of_time(
    resolver: ResolverProcess, tmp_path: Path
) -> None:
    resolver.limits = {"wall_seconds": 1}
    resolver.start()
    async with Slow() as slow:
        message = await refused(resolver, slow.image)
    assert "looking up the images and steps" in message
    assert "1 s (setting resolver.wallSeconds)" in message


async def test_an_archive_larger_than_the_scratch_disk_ends_at_its_limit(
    resolver: ResolverProcess, tmp_path: Path
) -> None:
    resolver.limits = {"disk_mib": 1}
    resolver.start()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        info = tarfile.TarInfo("large")
        info.size = 4 << 20
        made.addfile(info, io.BytesIO(os.urandom(info.size)))
    (tmp_path / "a.tar").write_bytes(packed.getvalue())
    message = await refused(resolver, archive_at(tmp_path / "a.tar"))
    assert "1 MiB of scratch disk (setting resolver.diskMiB)" in message


async def test_an_answer_that_is_too_large_is_not_taken_over(
    resolver: ResolverProcess, tmp_path: Path
) -> None:
    resolver.limits = {"answer_kib": 64}
    resolver.start()
    url, _ = repository(tmp_path)
    config = f"box: a\nbuild:\n  steps:\n    - script:\n        code: {'x' * 100_000}\n"
    message = await refused(resolver, wanted(url, config=config))
    assert "64 KiB of configuration and image data (setting resolver.answerKiB)" in message


# --- processes that end ---


class Slow:
    """A server that accepts and never answers; `connected` is set when somebody has come."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.count = 0
        self.port = 0
        self._open: list[asyncio.StreamWriter] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        self._open.append(writer)
        self.connected.set()

    @property
    def image(self) -> FactsRequest:
        return FactsRequest(
            images=(ImageWanted(name=f"127.0.0.1:{self.port}/a:1"),), registries=LOOPBACK
        )

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await self._server.wait_closed()


async def test_a_cut_connection_ends_the_child_and_its_git_at_once(
    resolver: ResolverProcess,
) -> None:
    resolver.start()
    async with Slow() as slow:
        url = f"http://127.0.0.1:{slow.port}/r.git"
        request = SourceRequest(
            git=GitWanted(url=url, ref="main"),
            pipeline="build",
            network={"allowed": ["127.0.0.0/8"]},
        )
        task = asyncio.create_task(ask(resolver, request))
        await slow.connected.wait()
        # The child, and git with its helper.
        assert len(resolver.children()) >= 2
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await until(lambda: resolver.children() == [] and resolver.left() == [])


async def test_a_child_that_is_killed_is_tried_again(
    resolver: ResolverProcess, tmp_path: Path
) -> None:
    resolver.start()
    async with Slow() as slow:
        task = asyncio.create_task(ask(resolver, slow.image))
        for _ in range(4):
            await slow.connected.wait()
            slow.connected.clear()
            os.kill(resolver.children()[0], signal.SIGKILL)
        with pytest.raises(InfrastructureError, match="ended 4 times") as caught:
            await task
    assert caught.value.reason is Reason.RESOLVER_UNAVAILABLE
    await honest(resolver, tmp_path)


async def test_a_resolver_that_is_restarted_is_waited_for(
    resolver: ResolverProcess, tmp_path: Path
) -> None:
    url, commit = repository(tmp_path)
    task = asyncio.create_task(ask(resolver, wanted(url)))
    await asyncio.sleep(0)
    resolver.start()
    assert (await task).commit == commit
    async with Slow() as slow:
        task = asyncio.create_task(ask(resolver, slow.image))
        await slow.connected.wait()
        slow.connected.clear()
        resolver.kill()
        resolver.start()
        await slow.connected.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_resolver_that_does_not_come_is_not_waited_for_forever(
    resolver: ResolverProcess,
) -> None:
    clock = Hasty()
    client = resolver.client(patience=120, clock=clock)
    async with client.session(namespace="team", build="b") as session:
        with pytest.raises(InfrastructureError) as caught:
            await session.facts(FactsRequest())
    assert caught.value.reason is Reason.RESOLVER_UNAVAILABLE
    assert 120 <= clock.elapsed < 125


async def test_it_ends_with_its_lifeline(resolver: ResolverProcess) -> None:
    resolver.start()
    await until(lambda: Path(resolver.settings.socket).exists())
    resolver.stop()


# --- shares ---


async def test_a_namespace_that_fills_its_share_does_not_delay_others(
    resolver: ResolverProcess, tmp_path: Path
) -> None:
    resolver.limits = {"at_once": 3, "per_namespace": 2}
    resolver.start()
    async with Slow() as slow:
        greedy = [
            asyncio.create_task(ask(resolver, slow.image, namespace="greedy")) for _ in range(6)
        ]
        await until(lambda: slow.count == 2)
        await honest(resolver, tmp_path)
        assert slow.count == 2
        for task in greedy:
            task.cancel()
        await asyncio.gather(*greedy, return_exceptions=True)
    await until(lambda: resolver.children() == [] and resolver.left() == [])
