"""The steps that tell people how a build ended, against servers on loopback that record what they get."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sentinel.session.messages import Result
from tests.standard.conftest import Bench, HttpStub

PASSED = Result(result="passed")
FAILED = Result(result="failed", failed_step_display_name='make "all"', failed_step_message="boom")
ENV = {
    "BUILD": "true",
    "WERCKER_BUILD_URL": "https://ci.example.com/1",
    "WERCKER_APPLICATION_NAME": "app",
    "WERCKER_APPLICATION_OWNER_NAME": "team",
    "WERCKER_STARTED_BY": "ada",
    "WERCKER_GIT_BRANCH": "main",
    "WERCKER_GIT_DOMAIN": "git.example.com",
    "WERCKER_GIT_OWNER": "team",
    "WERCKER_GIT_REPOSITORY": "app",
    "WERCKER_GIT_COMMIT": "0123456789abcdef0123456789abcdef01234567",
}


@pytest.fixture(autouse=True)
def environment(bench: Bench) -> None:
    bench.env |= ENV


def sent(http: HttpStub) -> Any:
    (request,) = http.requests
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.headers["Content-Type"] == "application/json"
    return json.loads(request.body)


async def test_slack_notifier(bench: Bench, http: HttpStub) -> None:
    ran = await bench.run(
        "slack-notifier", url=f"{http.url}/hook", channel="#team", icon_emoji=":x:", result=FAILED
    )

    text = (
        "<https://ci.example.com/1|build> of team/app by ada failed on branch main. "
        'Failed step: make "all"'
    )
    assert ran.exit == 0, ran.log
    assert sent(http) == {
        "channel": "#team",
        "icon_emoji": ":x:",
        "username": "werckerbot",
        "attachments": [{"fallback": text, "text": text, "color": "danger"}],
    }
    assert http.url not in ran.log


async def test_slack_notifier_of_a_deploy_that_passed(bench: Bench, http: HttpStub) -> None:
    bench.env |= {
        "DEPLOY": "true",
        "WERCKER_DEPLOYTARGET_NAME": "production",
        "WERCKER_DEPLOY_URL": "https://ci.example.com/2",
    }

    await bench.run("slack-notifier", url=f"{http.url}/hook", username="me", result=PASSED)

    (attachment,) = sent(http)["attachments"]
    assert attachment["color"] == "good"
    assert attachment["text"].startswith("<https://ci.example.com/2|deploy (production)> of ")


@pytest.mark.parametrize("options", [{"notify_on": "failed"}, {"branch": "other"}])
async def test_slack_notifier_with_nothing_to_tell(
    bench: Bench, http: HttpStub, options: dict[str, str]
) -> None:
    ran = await bench.run("slack-notifier", url=f"{http.url}/hook", result=PASSED, **options)

    assert (ran.exit, http.requests) == (0, [])
    assert "nothing to send" in ran.log


@pytest.mark.parametrize("status", [404, 500])
@pytest.mark.parametrize(
    ("step", "option"),
    [("slack-notifier", "url"), ("pretty-slack-notify", "webhook_url"), ("slack-notify", "url")],
)
async def test_a_webhook_that_refuses_fails_the_step(
    bench: Bench, http: HttpStub, status: int, step: str, option: str
) -> None:
    http.answer("invalid_token", status=status)

    ran = await bench.run(step, result=PASSED, **{option: f"{http.url}/hook"})

    assert ran.exit == 1
    assert ran.message.startswith(
        f"the notification was not accepted: 127.0.0.1 answered with HTTP {status} "
    )
    assert ran.message.endswith(": invalid_token")


async def test_a_webhook_that_does_not_answer_fails_the_step(bench: Bench, http: HttpStub) -> None:
    http.close()

    ran = await bench.run("slack-notifier", url=f"{http.url}/secret", result=PASSED)

    assert ran.exit == 1
    assert ran.message.startswith("the notification was not accepted: no answer from 127.0.0.1: ")
    assert "secret" not in ran.message


async def test_slack_notifier_without_a_url(bench: Bench) -> None:
    ran = await bench.run("slack-notifier", result=PASSED)

    assert ran.message == "url is missing: write the address of an incoming webhook"


async def test_pretty_slack_notify(bench: Bench, http: HttpStub) -> None:
    ran = await bench.run(
        "pretty-slack-notify",
        webhook_url=f"{http.url}/hook",
        branches="^(main|dev)$",
        passed_message="well done",
        result=PASSED,
    )

    home = "https://git.example.com/team/app"
    text = (
        f"<https://ci.example.com/1|build> of <{home}|team/app> at "
        f"<{home}/commit/{ENV['WERCKER_GIT_COMMIT']}|01234567> by ada passed on branch main\nwell done"
    )
    assert ran.exit == 0, ran.log
    assert sent(http) == {
        "username": "Wercker",
        "attachments": [{"fallback": text, "text": text, "color": "good"}],
    }


@pytest.mark.parametrize("options", [{"notify_on": "failed"}, {"branches": "^release"}])
async def test_pretty_slack_notify_with_nothing_to_tell(
    bench: Bench, http: HttpStub, options: dict[str, str]
) -> None:
    ran = await bench.run(
        "pretty-slack-notify", webhook_url=f"{http.url}/hook", result=PASSED, **options
    )

    assert (ran.exit, http.requests) == (0, [])


async def test_slack_notify_with_a_webhook(bench: Bench, http: HttpStub) -> None:
    await bench.run("slack-notify", url=f"{http.url}/hook", channel="#c", result=FAILED)

    assert sent(http) == {
        "channel": "#c",
        "username": "wercker",
        "text": 'team/app: build of main failed at make "all" https://ci.example.com/1',
    }


async def test_slack_notify_with_the_address_that_was_switched_off(bench: Bench) -> None:
    ran = await bench.run("slack-notify", subdomain="team", token="t", result=PASSED)

    assert ran.exit == 1
    assert ran.message.startswith(
        "Slack switched off the address that is made of subdomain and token"
    )


@pytest.mark.parametrize("step", ["hipchat-notify", "campfire-notify"])
async def test_a_service_that_was_closed_prints_the_message(bench: Bench, step: str) -> None:
    ran = await bench.run(step, failed_message="it broke", token="t", result=FAILED)

    assert ran.exit == 0
    assert "was closed: nothing is sent" in ran.log
    assert ran.log.endswith("it broke\n")


class Mailbox:
    """An SMTP server on loopback that takes any password and keeps what it hears."""

    def __init__(self, *, refuse: str = "") -> None:
        self.lines: list[str] = []
        self._refuse = refuse
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        with connection, connection.makefile("rw", newline="") as stream:
            data = False
            stream.write("220 test\r\n")
            stream.flush()
            for line in stream:
                text = line.rstrip("\r\n")
                self.lines.append(text)
                verb = text.split(" ")[0].upper()
                if data:
                    data = text != "."
                    answer = "" if data else "250 ok"
                elif verb == "EHLO":
                    answer = "250-test\r\n250 AUTH PLAIN"
                elif verb == "AUTH":
                    answer = self._refuse or "235 ok"
                elif verb == "DATA":
                    data, answer = True, "354 go on"
                else:
                    answer = "221 bye" if verb == "QUIT" else "250 ok"
                if answer:
                    stream.write(answer + "\r\n")
                    stream.flush()
                if verb == "QUIT":
                    return


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    yield box
    box.close()


MAIL = {"from": "ci@example.com", "to": "a@example.com, B <b@example.com>", "username": "u"}


async def test_email_notify(bench: Bench, mailbox: Mailbox) -> None:
    ran = await bench.run(
        "email-notify",
        **MAIL,
        password="s3cret",
        host="127.0.0.1",
        port=str(mailbox.port),
        failed_subject="broken:\nBcc: c@example.com",
        result=FAILED,
    )

    assert ran.exit == 0, ran.log
    assert "s3cret" not in ran.log
    lines = mailbox.lines
    assert "MAIL FROM:<ci@example.com>" in lines[2]
    assert [each for each in lines if each.startswith("RCPT")] == [
        "RCPT TO:<a@example.com>",
        "RCPT TO:<b@example.com>",
    ]
    assert "Subject: broken: Bcc: c@example.com" in lines
    body = lines[lines.index("") + 1 : lines.index(".")]
    assert body == [
        "team/app: build of main failed",
        'Failed step: make "all"',
        "https://ci.example.com/1",
    ]


async def test_email_notify_with_a_wrong_password_fails(bench: Bench) -> None:
    mailbox = Mailbox(refuse="535 wrong password")
    try:
        ran = await bench.run(
            "email-notify", **MAIL, password="x", host=f"127.0.0.1:{mailbox.port}", result=PASSED
        )
    finally:
        mailbox.close()

    assert (ran.exit, ran.message) == (1, "the mail was not sent: 535 wrong password")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"password": ""}, "password is missing"),
        (
            {"password": "x", "to": "nobody"},
            'the mail was not sent: "nobody" is not a list of addresses',
        ),
    ],
)
async def test_email_notify_that_cannot_be_sent(
    bench: Bench, options: dict[str, str], message: str
) -> None:
    ran = await bench.run("email-notify", **{**MAIL, "host": "127.0.0.1", **options}, result=PASSED)

    assert (ran.exit, ran.message) == (1, message)


@pytest.mark.parametrize("options", [{"on": "failed"}, {"branch": "other"}])
async def test_email_notify_with_nothing_to_tell(bench: Bench, options: dict[str, str]) -> None:
    ran = await bench.run(
        "email-notify", **MAIL, password="x", host="127.0.0.1:1", result=PASSED, **options
    )

    assert ran.exit == 0
    assert "nothing to send" in ran.log
