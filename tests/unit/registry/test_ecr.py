"""A password of Amazon's registry for an access key, from a server of ours that speaks as Amazon's does."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, SentinelError, UserError
from sentinel.image.dockerconfig import Credential
from sentinel.network import Policy
from sentinel.observe.log import set_up
from sentinel.registry.ecr import EcrKeys, ecr_login

LOOPBACK = Policy.make(allowed=["127.0.0.0/8"])
KEYS = EcrKeys(
    access_key="AKIAEXAMPLE",
    secret_key="hidden/secret",
    region="eu-west-1",
    registry_id="123456789012",
)
TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"


class Amazon(ThreadingHTTPServer):
    """Answers every call with `status` and `answer`, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.answer: dict[str, Any] = {
            "authorizationData": [
                {
                    "authorizationToken": base64.b64encode(b"AWS:pass:word").decode(),
                    "expiresAt": 1800000000,
                    "proxyEndpoint": "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                }
            ]
        }
        self.requests: list[dict[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Amazon

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append({k.lower(): v for k, v in self.headers.items()})
        body = json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Amazon]:
    with Amazon() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()


async def test_the_keys_are_exchanged_for_user_and_password(amazon: Amazon) -> None:
    found = await ecr_login(KEYS, policy=LOOPBACK)

    assert found == Credential(username="AWS", password="pass:word")
    (request,) = amazon.requests
    assert request["x-amz-target"] == TARGET
    assert "Credential=AKIAEXAMPLE/" in request["authorization"]
    assert "/eu-west-1/ecr/aws4_request" in request["authorization"]
    assert "hidden/secret" not in json.dumps(request)
    assert "hidden" not in repr(KEYS) and "AKIA" not in repr(KEYS)


async def test_neither_keys_nor_password_are_logged(
    amazon: Amazon, capsys: pytest.CaptureFixture[str]
) -> None:
    root, botocore = logging.getLogger(), logging.getLogger("botocore")
    handlers, levels = root.handlers, (root.level, botocore.level)
    set_up(level="debug", style="text")
    try:
        await ecr_login(KEYS, policy=LOOPBACK)
        logging.debug("a line")
    finally:
        root.handlers = handlers
        root.setLevel(levels[0])
        botocore.setLevel(levels[1])

    printed = capsys.readouterr().err
    assert "a line" in printed
    token = amazon.answer["authorizationData"][0]["authorizationToken"]
    assert [word for word in ("hidden/secret", "pass:word", token) if word in printed] == []


@pytest.mark.parametrize(
    ("status", "answer", "kind", "reason", "words"),
    [
        (
            *(400, {"__type": "UnrecognizedClientException", "message": "The token is invalid."}),
            *(UserError, Reason.IMAGE_AUTH_FAILED),
            "for 123456789012.dkr.ecr.eu-west-1.amazonaws.com: UnrecognizedClientException: The token is invalid.;",
        ),
        (
            *(500, {"__type": "ServerException", "message": "busy"}),
            *(InfrastructureError, Reason.REGISTRY_UNAVAILABLE),
            "Amazon ECR is unavailable for 123456789012.dkr.ecr.eu-west-1.amazonaws.com: ServerException: busy",
        ),
        (
            *(200, {"authorizationData": []}),
            *(InfrastructureError, Reason.REGISTRY_UNAVAILABLE),
            "is unavailable",
        ),
        (
            *(200, {"authorizationData": [{"authorizationToken": "c2VjcmV0"}]}),
            *(InfrastructureError, Reason.REGISTRY_UNAVAILABLE),
            "its token is no user and password",
        ),
    ],
)
async def test_what_amazon_answers_otherwise(
    amazon: Amazon,
    status: int,
    answer: dict[str, Any],
    kind: type[SentinelError],
    reason: Reason,
    words: str,
) -> None:
    amazon.status, amazon.answer = status, answer
    with pytest.raises(kind) as caught:
        await ecr_login(KEYS, policy=LOOPBACK)

    assert caught.value.reason is reason
    assert words in caught.value.message
    assert "hidden" not in caught.value.message


async def test_the_network_policy_applies_to_the_endpoint(amazon: Amazon) -> None:
    with pytest.raises(UserError, match="is a loopback address") as caught:
        await ecr_login(KEYS, policy=Policy.make())

    assert caught.value.reason is Reason.REGISTRY_NOT_ALLOWED
    assert amazon.requests == []


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("region", "evil.example.com/", "is no region"),
        ("region", "", "is no region"),
        ("registry_id", "12345", "is no account"),
        ("registry_id", "evil.example.com#", "is no account"),
        ("access_key", "a b", "is no access key's id"),
    ],
)
def test_what_would_be_another_host_is_refused(field: str, value: str, problem: str) -> None:
    keys = EcrKeys(**{**vars(KEYS), field: value})

    assert problem in keys.problem()
    assert KEYS.problem() == ""


def test_the_registry_of_china_is_under_another_domain() -> None:
    keys = EcrKeys(**{**vars(KEYS), "region": "cn-north-1"})

    assert (keys.problem(), keys.host) == (
        "",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
    )
