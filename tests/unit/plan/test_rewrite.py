"""Boxes that are gone, and what runs instead."""

from __future__ import annotations

import pytest

from sentinel.api.reasons import Reason
from sentinel.config.load import load, pipeline_of
from sentinel.errors import UserError
from sentinel.plan.images import WantedImages, wanted_images
from sentinel.settings.images import Rewrite

STEPS = "build: {steps: [{script: {code: x}}]}\n"


def wanted(yml: str, *rules: Rewrite, defaults: bool = True) -> WantedImages:
    loaded = load((yml + ("" if "build:" in yml else STEPS)).encode())
    assert loaded.config is not None
    return wanted_images(
        loaded.config, pipeline_of(loaded, "build"), public={}, rules=rules, defaults=defaults
    )


@pytest.mark.parametrize(
    ("box", "image"),
    [
        ("wercker/rvm", "ruby:2.3"),
        ("wercker/rvm@0.0.9", "ruby:2.3"),
        ("wercker/ubuntu12.04-ruby1.9.3@0.0.13", "ruby:2.1"),
        ("wercker/ubuntu12.04-ruby2.0.0", "ruby:2.3"),
        ("wercker/nodejs@1.1.2", "node:6"),
        ("nodesource/trusty", "node:6"),
        ("nodesource/trusty:0.12", "node:0.12"),
        ("google/golang", "golang:1.10"),
        ("wercker/golang@1.1.0", "golang:1.10"),
        ("wercker/python", "python:2.7"),
        ("wercker/php", "php:5.6-cli"),
        ("wercker/default", "buildpack-deps:bookworm"),
        ("centos", "rockylinux:8"),
        ("centos:latest", "rockylinux:8"),
        ("centos:7", "centos:7"),
        ("ruby", "ruby"),
        ("debian:8", "debian:8"),
        ("registry.example.com:5000/wercker/rvm:1", "registry.example.com:5000/wercker/rvm:1"),
    ],
)
def test_the_default_table(box: str, image: str) -> None:
    found = wanted(f"box: {box}\n")

    assert found.box.image == image
    assert found.notes == (
        () if image == box else (f"box {box} is replaced by {image} (images.rewrite)",)
    )


def test_the_ruby_of_rvm_use_is_the_box() -> None:
    yml = "box: wercker/rvm\nbuild: {steps: [{rvm-use: {version: ruby-2.1.5}}]}\n"

    assert wanted(yml).box.image == "ruby:2.1"


def test_variables_of_the_old_box_come_before_those_of_the_file() -> None:
    found = wanted("box: {id: wercker/rvm, env: {RAILS_ENV: ci}}\n")

    assert dict(found.box.env) == {"RAILS_ENV": "ci", "RACK_ENV": "test"}


def test_a_classic_service_keeps_its_name_and_its_variables() -> None:
    found = wanted("box: debian:12\nservices: [wercker/postgresql@0.0.2]\n")

    (service,) = found.services
    assert (service.image, service.alias) == ("postgres:9.6", "postgresql")
    assert dict(service.env)["POSTGRES_DB"] == "werckerdb1"
    assert dict(found.exports) == {
        "WERCKER_POSTGRESQL_HOST": "127.0.0.1",
        "WERCKER_POSTGRESQL_PORT": "5432",
        "WERCKER_POSTGRESQL_USERNAME": "postgres",
        "WERCKER_POSTGRESQL_PASSWORD": "wercker",
        "WERCKER_POSTGRESQL_DATABASE": "werckerdb1",
        "WERCKER_POSTGRESQL_URL": "postgres://postgres:wercker@127.0.0.1:5432/werckerdb1",
    }


def test_the_operators_rules_come_first() -> None:
    rules = (
        Rewrite(
            pattern="wercker/rvm*", image="registry.example.com/ruby:{version}", env={"A": "1"}
        ),
        Rewrite(pattern="wercker/*", image="never"),
    )

    found = wanted("box: wercker/rvm@2.0\n", *rules)

    assert found.box.image == "registry.example.com/ruby:2.0"
    assert found.box.env == (("A", "1"),)


def test_a_classic_box_without_a_rule_is_refused() -> None:
    for yml, defaults in (("box: acme/box@1.2\n", True), ("box: wercker/rvm@1.0\n", False)):
        with pytest.raises(
            UserError, match=r"on line 1 of wercker\.yml is a box of wercker"
        ) as caught:
            wanted(yml, defaults=defaults)
        assert caught.value.reason is Reason.CONFIG_INVALID
        assert "images.rewrite" in caught.value.message


def test_a_digest_is_not_a_version() -> None:
    digest = f"wercker/rvm@sha256:{'a' * 64}"

    assert wanted(f"box: {digest}\n", defaults=False).box.image == digest
