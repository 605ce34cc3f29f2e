"""Settings of the object store, and of the caches in it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

KEY_CHARACTERS = 32
"""Least length of the key that URLs of a directory store are signed with."""


class StoreSettings(BaseModel):
    """The store for logs, output and cache: a bucket, or a directory behind `sentinel store`. Without either, nothing
    is stored and pods keep the logs."""

    url: Annotated[
        str,
        Field(
            pattern=r"^(https?://[^\s?#]+)?$",
            description="URL of a `sentinel store`, which keeps a directory, as operator and build pods reach it. "
            "Empty: none.",
        ),
    ] = ""
    key: Annotated[
        SecretStr,
        Field(
            description="What requests to that store are signed with. Empty: the operator takes it from the Secret "
            "key_secret."
        ),
    ] = SecretStr("")
    key_secret: Annotated[
        str,
        Field(
            description="Secret of the operator's namespace with that key; created when it is missing."
        ),
    ] = "sentinel-store-key"  # noqa: S105 - its name
    bucket: Annotated[str, Field(description="Bucket of an S3 server. Empty: none.")] = ""
    endpoint: Annotated[str, Field(description="URL of an S3 server; empty: AWS.")] = ""
    region: Annotated[str, Field(description="Region that requests are signed for.")] = "us-east-1"
    prefix: Annotated[str, Field(description="Put before every key.")] = ""
    access_key_id: Annotated[
        SecretStr,
        Field(description="Access key; empty: boto3's own chain (web identity, roles, files)."),
    ] = SecretStr("")
    secret_access_key: Annotated[SecretStr, Field(description="Secret key.")] = SecretStr("")
    url_seconds: Annotated[
        int, Field(description="How long a presigned URL is valid, in seconds.")
    ] = 3600
    addressing_style: Annotated[
        Literal["auto", "path", "virtual"],
        Field(
            description="Whether the bucket stands in the path or in the host's name. auto: the path where there is an "
            "endpoint, the host's name at AWS."
        ),
    ] = "auto"
    sse: Annotated[
        Literal["", "AES256", "aws:kms"],
        Field(description="Encryption that is asked of the server for each object. Empty: none."),
    ] = ""
    sse_kms_key_id: Annotated[
        str, Field(description="The KMS key for aws:kms; empty: the account's default key.")
    ] = ""
    ca: Annotated[
        str,
        Field(
            max_length=65536,
            description="Certificates (PEM) of authorities that the server's certificate is checked against, besides "
            "the system's. Public: they stand in build pods.",
        ),
    ] = ""

    @property
    def endpoint_url(self) -> str:
        """Where an S3 server is reached, with AWS's own address for it."""
        return self.endpoint or f"https://{self.bucket}.s3.{self.region}.amazonaws.com"

    @property
    def configured(self) -> bool:
        """Whether there is a store."""
        return bool(self.bucket or self.url)

    @property
    def place(self) -> str:
        """What object keys are below, for people; "" without a store. Reading takes a signature."""
        return f"s3://{self.bucket}" if self.bucket else self.url.rstrip("/")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.bucket and self.url:
            raise ValueError("store.bucket and store.url are both set: choose one store")
        key = self.key.get_secret_value()
        if key and len(key) < KEY_CHARACTERS:
            raise ValueError(f"store.key must have {KEY_CHARACTERS} characters or more")
        return self


class CacheSettings(BaseModel):
    """The caches that builds keep in the object store. Without a store there are none."""

    enabled: Annotated[
        bool, Field(description="Keep what passed builds leave in $WERCKER_CACHE_DIR.")
    ] = True
    max_mib: Annotated[
        int,
        Field(
            ge=1,
            description="Most that the files of one cache may have together, in MiB. A Build may ask for less.",
        ),
    ] = 1000
