"""The object store by the S3 protocol: presigned URLs for boxkit, a few small objects for ourselves.

Logs and artifacts do not come through here: boxkit PUTs them to a presigned URL. boto3 blocks and takes long to
import, so it is imported when a store is made, and called in a small pool of threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from sentinel.api.reasons import Reason
from sentinel.egress import proxies_for
from sentinel.errors import GoneError, InfrastructureError
from sentinel.store.objects import LONGEST, PUT_SECONDS, SLOWEST, ObjectInfo, ObjectStore
from sentinel.trust import bundle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from sentinel.settings.store import StoreSettings

T = TypeVar("T")

_WORKERS = 8
_DIGEST = "sha256"  # of our objects' metadata
_MISSING = ("NoSuchKey", "404", "NotFound")
_ADVICE = {
    "NoSuchBucket": "Create the bucket or correct store.bucket",
    "InvalidAccessKeyId": "Correct store.accessKeyId",
    "SignatureDoesNotMatch": "Correct store.secretAccessKey; if it is right, compare the clocks",
    "AccessDenied": "Allow the key to get, put, list and delete in the bucket",
    "403": "Check the keys of the store and what they may do in the bucket",
    "301": "Correct store.region",
    "RequestTimeTooSkewed": "Correct the clock of this node or of the store: they differ by more than 15 minutes",
    "KMS.NotFoundException": "Correct store.sseKmsKeyId",
    "InvalidArgument": "If it names encryption, the server does not know store.sse",
    "AuthorizationHeaderMalformed": "Correct store.region",
}


_ENCRYPTION = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
}


def encryption(settings: StoreSettings) -> dict[str, str]:
    """What a PUT says of encryption, as boto3 names it."""
    found: dict[str, str] = {"ServerSideEncryption": settings.sse} if settings.sse else {}
    if settings.sse == "aws:kms" and settings.sse_kms_key_id:
        found["SSEKMSKeyId"] = settings.sse_kms_key_id
    return found


class S3Store(ObjectStore):
    """One bucket."""

    def __init__(self, client: Any, settings: StoreSettings) -> None:
        self._client = client
        self._bucket = settings.bucket
        self._where = f"bucket {settings.bucket!r} at {settings.endpoint or 'AWS'}"
        self._url_seconds = settings.url_seconds
        self._encryption = encryption(settings)
        self._pool = ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="store")

    @classmethod
    def connect(cls, settings: StoreSettings) -> S3Store:
        """The bucket that the settings name."""
        import boto3  # noqa: PLC0415 - 0.2 s and 20 MB that are not needed without a bucket
        import botocore.session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415
        from botocore.httpsession import where  # noqa: PLC0415

        # Other servers than AWS refuse what boto3 does by default: checksums since 1.36, buckets as host names.
        custom: dict[str, Any] = {}
        if settings.endpoint:
            custom = {
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            }
        style = settings.addressing_style
        if style == "auto":
            style = "path" if settings.endpoint else "auto"
        core = botocore.session.get_session()
        if settings.ca.strip():
            # Of the session: it holds for the servers that credentials come from as well.
            core.set_config_variable("ca_bundle", bundle(settings.ca, where()))
        client = boto3.session.Session(botocore_session=core).client(
            "s3",
            endpoint_url=settings.endpoint or None,
            region_name=settings.region,
            aws_access_key_id=settings.access_key_id.get_secret_value() or None,
            aws_secret_access_key=settings.secret_access_key.get_secret_value() or None,
            config=Config(
                proxies=proxies_for(settings.endpoint_url),
                signature_version="s3v4",
                s3={"addressing_style": style},
                max_pool_connections=_WORKERS,
                connect_timeout=5,
                read_timeout=30,
                retries={"mode": "standard", "total_max_attempts": 3},
                **custom,
            ),
        )
        return cls(client, settings)

    def presign_put(
        self, key: str, *, size: int, sha256: str, once: bool = True
    ) -> tuple[str, dict[str, str]]:
        params: dict[str, Any] = {"ContentLength": size, "Metadata": {_DIGEST: sha256}}
        params |= self._encryption
        headers = {f"x-amz-meta-{_DIGEST}": sha256}
        headers |= {_ENCRYPTION[name]: value for name, value in self._encryption.items()}
        if once:
            params["IfNoneMatch"] = headers["If-None-Match"] = "*"
        seconds = min(self._url_seconds, PUT_SECONDS + size // SLOWEST)
        return self._presign("put_object", key, seconds, **params), headers

    def presign_get(self, key: str, *, seconds: int = 0) -> str:
        return self._presign("get_object", key, min(seconds or self._url_seconds, LONGEST))

    def _presign(self, method: str, key: str, seconds: int, **params: Any) -> str:
        with self._mapped(f"sign a URL for {key}"):
            url: str = self._client.generate_presigned_url(
                method, Params={"Bucket": self._bucket, "Key": key, **params}, ExpiresIn=seconds
            )
            return url

    async def get(self, key: str) -> bytes:
        def read() -> bytes:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            data: bytes = answer["Body"].read()
            signed, found = answer["Metadata"].get(_DIGEST), hashlib.sha256(data).hexdigest()
            if signed is not None and signed != found:
                raise InfrastructureError(
                    f"{self._where}: {key} was changed: its sha256 is {found}, and {signed} when it was stored",
                    reason=Reason.STORE_FAILED,
                )
            return data

        return await self._call(f"get {key}", read)

    async def head(self, key: str) -> ObjectInfo | None:
        def look() -> ObjectInfo:
            answer = self._client.head_object(Bucket=self._bucket, Key=key)
            return ObjectInfo(
                key=key,
                size=answer["ContentLength"],
                etag=answer["ETag"].strip('"'),
                modified=answer.get("LastModified"),
                sha256=answer["Metadata"].get(_DIGEST, ""),
            )

        try:
            return await self._call(f"head {key}", look)
        except GoneError:
            return None

    async def read(self, key: str, *, start: int, length: int) -> bytes:
        def read() -> bytes:
            span = f"bytes={start}-{start + length - 1}"
            answer = self._client.get_object(Bucket=self._bucket, Key=key, Range=span)
            data: bytes = answer["Body"].read()
            return data

        return await self._call(f"read {key}", read)

    async def put(self, key: str, data: bytes) -> None:
        await self._call(
            f"put {key}",
            lambda: self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, **self._encryption
            ),
        )

    async def pages(self, prefix: str) -> AsyncIterator[list[ObjectInfo]]:
        more: dict[str, str] = {}
        while True:
            request = {"Bucket": self._bucket, "Prefix": prefix, **more}

            def listed(request: dict[str, str] = request) -> dict[str, Any]:
                page: dict[str, Any] = self._client.list_objects_v2(**request)
                return page

            page = await self._call(f"list {prefix}", listed, absent=False)
            yield [
                ObjectInfo(
                    key=row["Key"],
                    size=row["Size"],
                    etag=row["ETag"].strip('"'),
                    modified=row.get("LastModified"),
                )
                for row in page.get("Contents", ())
            ]
            following = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or not following:
                return
            more = {"ContinuationToken": following}

    async def delete(self, key: str) -> None:
        await self._call(
            f"delete {key}", lambda: self._client.delete_object(Bucket=self._bucket, Key=key)
        )

    async def check(self) -> None:
        await self._call(
            "use it", lambda: self._client.head_bucket(Bucket=self._bucket), absent=False
        )

    def close(self) -> None:
        self._pool.shutdown(wait=True)
        self._client.close()

    async def _call(self, action: str, function: Callable[[], T], *, absent: bool = True) -> T:
        def mapped() -> T:
            with self._mapped(action, absent=absent):
                return function()

        return await asyncio.get_running_loop().run_in_executor(self._pool, mapped)

    @contextlib.contextmanager
    def _mapped(self, action: str, *, absent: bool = False) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - see from_settings

        try:
            yield
        except ClientError as error:
            details = error.response.get("Error", {})
            code = str(details.get("Code", ""))
            if absent and code in _MISSING:
                raise GoneError(
                    f"{self._where}: cannot {action}: there is no such object",
                    reason=Reason.STORE_FAILED,
                ) from None
            if not absent and code in _MISSING:
                code = "NoSuchBucket"
            said = f"{code}: {details.get('Message', '')}".rstrip(": ")
            advice = _ADVICE.get(code)
            raise InfrastructureError(
                f"{self._where}: cannot {action}: the server says {said}"
                + (f". {advice}" if advice else ""),
                reason=Reason.STORE_FAILED,
            ) from error
        except BotoCoreError as error:
            advice = _advice_for(error)
            raise InfrastructureError(
                f"{self._where}: cannot {action}: {error}" + (f". {advice}" if advice else ""),
                reason=Reason.STORE_FAILED,
            ) from error


def _advice_for(error: Exception) -> str:
    """What to set where the server was not even asked."""
    from botocore import exceptions  # noqa: PLC0415 - see from_settings

    if isinstance(error, exceptions.SSLError):
        return "Put the authority of the server's certificate into store.ca or ca, or correct store.endpoint"
    if isinstance(error, exceptions.NoCredentialsError):
        return "Set store.existingSecret, or give the service account access by itself"
    if isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
        return "Check store.endpoint, its name in DNS, network policies, and proxy"
    return ""
