"""The object store and git servers of the lab: real S3, real smart http."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from tests.lab import git
from tests.lab.state import Lab
from tests.unit.store.contract import Contract

from sentinel.api.reasons import Reason
from sentinel.errors import GoneError, InfrastructureError, UserError
from sentinel.network import Policy
from sentinel.settings import StoreSettings
from sentinel.source.failure import Deadline
from sentinel.source.git import GitCredentials, Resolved, resolve
from sentinel.store.objects import ObjectInfo, ObjectStore

ROOT = Path(__file__).parents[2]
IMAGE = "sentinel:dev"


def settings(lab: Lab, **changes: str) -> StoreSettings:
    return StoreSettings(
        bucket=changes.get("bucket", lab.s3_bucket),
        endpoint=lab.s3_endpoint,
        access_key_id=SecretStr(lab.s3_access_key),
        secret_access_key=SecretStr(changes.get("secret", lab.s3_secret_key)),
    )


@pytest.fixture
def store(lab: Lab) -> Iterator[ObjectStore]:
    store = ObjectStore.from_settings(settings(lab))
    assert store is not None
    yield store
    store.close()


class TestContract(Contract):
    """The lab's S3 server keeps the contract of an object store."""


async def test_a_presigned_url_carries_bytes_both_ways(store: ObjectStore) -> None:
    prefix = f"test-{uuid.uuid4().hex}/"
    key, data = prefix + "step/a b+ü/log.txt", b"line\n" * 100_000
    digest = hashlib.sha256(data).hexdigest()
    url, headers = store.presign_put(key, size=len(data), sha256=digest)
    again, plain = store.presign_put(key, size=len(data), sha256=digest, once=False)
    async with aiohttp.ClientSession() as http:
        for other, headers_sent in ((data + b"more", headers), (data, {}), (data[:-1], headers)):
            async with http.put(url, data=other, headers=headers_sent) as answer:
                assert answer.status == 403, "only for its length, with its headers"
        async with http.put(url, data=data, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        async with http.put(url, data=data, headers=headers) as answer:
            assert answer.status == 412, "not writable again"
        async with http.put(again, data=b"x" * len(data), headers=plain) as answer:
            assert answer.status == 200, await answer.text()
        with pytest.raises(InfrastructureError, match="was changed: its sha256 is"):
            await store.get(key)
        async with http.put(again, data=data, headers=plain) as answer:
            assert answer.status == 200, await answer.text()
        assert await store.get(key) == data
        async with http.get(store.presign_get(key)) as answer:
            assert (answer.status, await answer.read()) == (200, data)
        async with http.put(store.presign_get(key), data=b"") as answer:
            assert answer.status == 403, "a URL to read does not allow to write"
    head = await store.head(key)
    assert head is not None
    sha256 = hashlib.sha256(data).hexdigest()
    assert replace(head, modified=None) == ObjectInfo(
        key=key, size=len(data), etag=head.etag, sha256=sha256
    )
    (listed,) = await store.list(prefix)
    assert listed.modified is not None
    assert replace(listed, modified=None) == replace(head, modified=None, sha256="")
    assert await store.delete_prefix(prefix) == 1
    assert await store.list(prefix) == []


async def test_an_object_is_written_read_and_gone(store: ObjectStore) -> None:
    prefix = f"test-{uuid.uuid4().hex}/"
    await store.check()
    await store.put(prefix + "x", b"hello")
    assert await store.get(prefix + "x") == b"hello"
    await store.delete_prefix(prefix)
    assert await store.head(prefix + "x") is None
    with pytest.raises(GoneError):
        await store.get(prefix + "x")


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"bucket": "no-such-bucket"}, "Create the bucket or correct store.bucket"),
        ({"secret": "wrong"}, "Check the keys of the store"),
    ],
)
async def test_a_store_that_is_set_up_wrong_says_how(
    lab: Lab, changes: dict[str, str], advice: str
) -> None:
    store = ObjectStore.from_settings(settings(lab, **changes))
    assert store is not None
    with pytest.raises(InfrastructureError, match=advice) as caught:
        await store.check()
    assert caught.value.reason is Reason.STORE_FAILED
    store.close()


@pytest.fixture
def project(lab: Lab, tmp_path: Path) -> Iterator[str]:
    """Name of a repository on both halves of the git server."""
    name = f"source-{uuid.uuid4().hex[:8]}"
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "wercker.yml").write_text("box: debian\n")
    for private in (False, True):
        git.publish(lab, folder, name, private=private)
    yield name
    for private in (False, True):
        shutil.rmtree(git.path(lab, name, private=private))


@pytest.mark.parametrize("ref", ["main", "", "commit"])
def test_a_ref_on_the_labs_server_becomes_a_commit(
    lab: Lab, project: str, tmp_path: Path, ref: str
) -> None:
    commit = git.commit_of(lab, project)
    found = resolve(
        url=f"{lab.git_url}/public/{project}.git",
        ref=commit if ref == "commit" else ref,
        credentials=None,
        paths=["wercker.yml", "ewok.yml"],
        cache_dir=tmp_path,
        deadline=Deadline(240),
    )
    assert found == Resolved(
        commit=commit,
        branch="" if ref == "commit" else "main",
        tag="",
        subject="Publish",
        files={"wercker.yml": b"box: debian\n"},
    )


def test_the_labs_private_half_wants_the_password(lab: Lab, project: str, tmp_path: Path) -> None:
    url = f"{lab.git_url}/private/{project}.git"
    right = GitCredentials(username=lab.git_user, password=lab.git_password)
    allowed = Policy.make(plain_http=[url.split("/")[2]])
    more: dict[str, Any] = {
        "cache_dir": tmp_path,
        "deadline": Deadline(240),
        "policy": allowed,
    }
    found = resolve(url=url, ref="main", credentials=right, paths=[], **more)
    assert found.commit == git.commit_of(lab, project, private=True)
    for wrong in (None, GitCredentials(username=lab.git_user, password="wrong-one")):
        with pytest.raises(UserError) as caught:
            resolve(url=url, ref="main", credentials=wrong, paths=[], **more)
        assert caught.value.reason is Reason.SOURCE_AUTH_FAILED


def test_the_image_checks_out_a_commit_with_its_own_python_and_boxkit(
    lab: Lab, project: str, tmp_path: Path
) -> None:
    """What the init container of a build pod does, in a container on this machine's network."""
    environment = {**os.environ, "DOCKER_HOST": lab.docker_host}
    subprocess.run(
        [sys.executable, "tools/image.py", "--tag", IMAGE], check=True, cwd=ROOT, env=environment
    )
    commit = git.commit_of(lab, project)
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    task = {
        "url": f"{lab.git_url}/public/{project}.git",
        "commit": commit,
        "branch": "main",
        "dest": "/mnt/wercker/source",
        "kit": "/mnt/wercker/kit",
        "terminationLog": "/mnt/wercker/log",
    }
    arguments = [
        *("run", "--rm", "--network=host", f"--volume={volume}:/mnt/wercker"),
        *(f"--env=SENTINEL_FETCH={json.dumps(task)}", "--entrypoint=python3", IMAGE),
        *("-I", "-m", "sentinel.source.fetch"),
    ]
    done = subprocess.run(
        ["docker", *arguments], check=False, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"fetched {commit} in ")
    assert (volume / "source" / "wercker.yml").read_text() == "box: debian\n"
    assert (volume / "kit" / "boxkit").stat().st_mode & 0o555 == 0o555
