"""Projects as archives: every format builds, from any server, and a hostile one ends with a reason and no pod."""

from __future__ import annotations

import base64
import hashlib
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.config import Config
from tests.cluster.conftest import API_VERSION, Builds, steps
from tests.cluster.test_bad_input import message, verdict
from tests.lab.state import Lab
from tests.unit.source.archives import FORMATS, Made, pack, tar

USER, PASSWORD, TOKEN = "builder", "archive-password", "archive-token"


class Files:
    """A file server on this machine's address in the nodes' network; `asked` are path and Authorization."""

    def __init__(self, address: str) -> None:
        self.content: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        files = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = self.headers.get("Authorization", "")
                files.asked.append((self.path, given))
                basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                if self.path.startswith("/private/") and given not in (
                    f"Basic {basic}",
                    f"Bearer {TOKEN}",
                ):
                    self.send_error(401)
                elif self.path not in files.content:
                    self.send_error(404)
                else:
                    data = files.content[self.path]
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # the builds of a test, and their pods, ask at once

        self._server = Server((address, 0), Handler)
        self.url = f"http://{address}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def put(self, path: str, data: bytes) -> str:
        """Serve `data` at `path`; its url."""
        self.content[path] = data
        return self.url + path

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def files(lab: Lab) -> Iterator[Files]:
    files = Files(lab.gateway)
    yield files
    files.close()


def project(lab: Lab, *, top: str = "hello-1.0/") -> tuple[Made, ...]:
    code = (
        "set -e; ./bin/run.sh; cat data/link; "
        'echo "name=$WERCKER_APPLICATION_NAME commit=[$WERCKER_GIT_COMMIT] branch=[$WERCKER_GIT_BRANCH] '
        'repository=[$WERCKER_GIT_REPOSITORY] domain=[$WERCKER_GIT_DOMAIN]"; test ! -e hello-1.0'
    )
    yml = (
        f"box: {lab.registry}/box/debian:12\nbuild:\n  steps:\n    - script:\n        name: look\n"
    )
    yml += f"        code: |\n          {code}\n"
    return (
        Made(name=f"{top}wercker.yml", data=yml.encode(), mode=0o600),
        Made(name=f"{top}bin/run.sh", data=b"#!/bin/sh\necho it runs\n", mode=0o750),
        Made(name=f"{top}data/file", data=b"linked content\n"),
        Made(name=f"{top}data/link", kind="symlink", target="file"),
    )


def apply(builds: Builds, name: str, archive: dict[str, Any], **spec: Any) -> None:
    builds.kubectl.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "Build",
            "metadata": {"name": name, "namespace": builds.namespace},
            "spec": {"source": {"archive": archive}, "image": {"commit": "never"}, **spec},
        }
    )


def test_every_format_builds(builds: Builds, files: Files) -> None:
    digests = {}
    for form in FORMATS:
        data = pack(form, *project(builds.lab))
        name = form.replace(".", "-")
        digests[name] = hashlib.sha256(data).hexdigest()
        url = files.put(f"/public/hello-1.0.{form}?format={form}", data)
        apply(builds, name, {"url": url, "sha256": digests[name]})
    for name, digest in digests.items():
        raw = builds.finish(name)
        assert raw["status"]["phase"] == "Succeeded", message(raw)
        assert raw["status"]["source"] == {"digest": f"sha256:{digest}"}
        log = builds.log(raw, "look")
        assert "it runs\nlinked content\n" in log
        said = "name=hello-1.0 commit=[] branch=[] repository=[] domain=[]"
        assert said in log


def test_a_presigned_address_and_credentials(builds: Builds, files: Files) -> None:
    lab = builds.lab
    client = boto3.client(
        "s3",
        endpoint_url=lab.s3_endpoint,
        aws_access_key_id=lab.s3_access_key,
        aws_secret_access_key=lab.s3_secret_key,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    key = f"test-{uuid.uuid4().hex}/project.tgz"
    where = {"Bucket": lab.s3_bucket, "Key": key}
    client.put_object(**where, Body=pack("tar.gz", *project(lab, top="")))
    url = client.generate_presigned_url("get_object", Params=where, ExpiresIn=600)
    private = files.put("/private/project.zip", pack("zip", *project(lab)))
    builds.secret("basic", type_="kubernetes.io/basic-auth", username=USER, password=PASSWORD)
    builds.secret("bearer", token=TOKEN)
    builds.secret("wrong", token="wrong-token")
    image = {"commit": "end", "repository": f"{lab.registry}/test/{builds.namespace}"}
    try:
        apply(builds, "signed", {"url": url}, image=image)
        apply(builds, "basic", {"url": private, "secretRef": {"name": "basic"}})
        apply(builds, "bearer", {"url": private, "secretRef": {"name": "bearer"}})
        apply(builds, "nobody", {"url": private})
        apply(builds, "wrong", {"url": private, "secretRef": {"name": "wrong"}})
        for name in ("signed", "basic", "bearer"):
            raw = builds.finish(name)
            assert raw["status"]["phase"] == "Succeeded", message(raw)
        signed = builds.get("signed")
        assert signed["status"]["image"]["digest"].startswith("sha256:")
        assert "X-Amz-Signature" not in str(signed["status"])
        commit = builds.kubectl.list("imagecommits", namespace=builds.namespace)[0]
        labels = commit["spec"]["config"]["labels"]
        assert labels["org.opencontainers.image.revision"] == signed["status"]["source"]["digest"]
        assert labels["org.opencontainers.image.source"] == url.partition("?")[0]
        for name in ("nobody", "wrong"):
            raw = builds.finish(name)
            assert verdict(raw) == ("Failed", "SourceAuthFailed")
            assert "spec.source.archive.secretRef" in message(raw)
            assert "wrong-token" not in message(raw)
    finally:
        client.delete_object(**where)
        client.close()


def test_hostile_and_wrong_archives_end_before_a_pod(builds: Builds, files: Files) -> None:
    climbing = pack("tar.gz", *project(builds.lab), Made(name="../../etc/cron.d/evil", data=b"x"))
    through = pack(
        "zip",
        *project(builds.lab),
        Made(name="hello-1.0/out", kind="symlink", target="../../../../etc"),
    )
    bomb = pack("tar.zst", *project(builds.lab), Made(name="hello-1.0/bomb", data=bytes(64 << 20)))
    good = pack("tar", *project(builds.lab))
    digest = hashlib.sha256(good).hexdigest()
    wanted: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
        "climbing": ("SourceInvalid", {}, ("'../../etc/cron.d/evil'", "`..`")),
        "through": ("SourceInvalid", {}, ("'hello-1.0/out'", "symbolic link", "leads out")),
        "bomb": ("SourceInvalid", {}, ("'hello-1.0/bomb'", "200 times")),
        "changed": ("SourceInvalid", {"sha256": "0" * 64}, ("0" * 64,)),
        "empty": ("ConfigMissing", {}, ("archive sha256:", "wercker.yml")),
        "missing": ("SourceNotFound", {}, ("404", "/missing.tar")),
    }
    data = {
        "climbing": climbing,
        "through": through,
        "bomb": bomb,
        "changed": good,
        "empty": tar(Made(name="README")),
    }
    for name, (_, more, _) in wanted.items():
        url = files.put(f"/{name}.tar", data[name]) if name in data else f"{files.url}/{name}.tar"
        sha256 = {"sha256": more["sha256"]} if "sha256" in more else {}
        apply(builds, name, {"url": url, **sha256})
    for name, (reason, _, words) in wanted.items():
        raw = builds.finish(name)
        assert verdict(raw) == ("Failed", reason), message(raw)
        assert [word for word in words if word not in message(raw)] == [], message(raw)
        assert digest not in message(raw)
        assert builds.pods(name) == []


def test_an_archive_that_changes_under_a_build_fails_it(builds: Builds, files: Files) -> None:
    """The pod must get what the operator read wercker.yml from."""
    good = pack("tar", *project(builds.lab))
    url = files.put("/moving.tar", good)

    class Moving(dict[str, bytes]):
        """The first answer is the good one, all later ones another."""

        def __init__(self) -> None:
            super().__init__({"/moving.tar": good})
            self.served = 0

        def __getitem__(self, key: str) -> bytes:
            self.served += 1
            return good if self.served == 1 else pack("tar", Made(name="wercker.yml", data=b"evil"))

    files.content = Moving()
    apply(builds, "moving", {"url": url})
    raw = builds.finish("moving")
    assert verdict(raw) == ("Failed", "SourceInvalid")
    assert hashlib.sha256(good).hexdigest() in message(raw)
    assert all(state in ("Skipped", "Pending") for _, state, _ in steps(raw))
