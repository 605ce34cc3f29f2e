"""A client of the OCI distribution API: looks images up, and moves blobs, manifests and tags.

`RegistryClient` is an async context manager for one keychain. Not here: HTTP, logins and retries (`transport.py`),
or what an image is made of (`images.py`).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from sentinel.api.reasons import Reason
from sentinel.errors import InfrastructureError, SentinelError, UserError
from sentinel.image import manifest as images
from sentinel.image.dockerconfig import NO_CREDENTIALS, Keychain
from sentinel.image.manifest import Descriptor, ImageInfo, Manifest
from sentinel.image.reference import Reference, is_digest
from sentinel.network import Policy
from sentinel.registry.transport import (
    DEFAULT_PATIENCE,
    Answer,
    Body,
    Patience,
    Request,
    Transport,
)

_TAGS_LIMIT = 8 * 1024 * 1024
_MISSING_CODES = ("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN", "NAME_INVALID", "TAG_INVALID")


class RegistryClient:
    """Talks to all registries of one keychain.

    `insecure` are host or host:port of registries that speak plain http; loopback always does. `policy` says which
    addresses may be connected to, None for all. `ca`: certificates (PEM) of authorities besides the system's.
    """

    def __init__(
        self,
        *,
        credentials: Keychain = NO_CREDENTIALS,
        insecure: Sequence[str] = (),
        patience: Patience = DEFAULT_PATIENCE,
        policy: Policy | None = None,
        ca: str = "",
    ) -> None:
        self._transport = Transport(
            credentials=credentials, insecure=insecure, patience=patience, policy=policy, ca=ca
        )

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.__aexit__()

    async def look_up(
        self, reference: Reference, *, platform: tuple[str, str] = ("linux", "amd64")
    ) -> ImageInfo:
        """What an image is: its digest as referenced, and its config for `platform` (os, architecture).

        Raises UserError: ImageNotFound, ImageAuthFailed, or ArchitectureMismatch when an index has no such platform;
        InfrastructureError(RegistryUnavailable) after retries.
        """
        digest = await self.resolve(reference)
        pinned = replace(reference, digest=digest)
        manifest = await self.get_image_manifest(pinned, platform=platform)
        config = await self.get_blob(pinned, manifest.config, limit=images.CONFIG_LIMIT)
        info = images.image_info(config, reference=pinned, manifest=manifest)
        images.check_platform(info, platform=platform)
        return info

    async def platforms(self, reference: Reference) -> tuple[str, tuple[str, ...]]:
        """An image's digest as referenced, and what it is for, as os/architecture. Raises as `look_up` does."""
        content, digest, header = await self._get_manifest(reference)
        parsed = images.parse_json_object(content, what=str(reference))
        if images.media_type_of(parsed, header=header) in images.INDEXES:
            return digest, tuple(images.platforms_of(parsed))
        manifest = images.parse_manifest(content, header=header, what=str(reference))
        pinned = replace(reference, digest=digest)
        config = await self.get_blob(pinned, manifest.config, limit=images.CONFIG_LIMIT)
        info = images.image_info(config, reference=pinned, manifest=manifest)
        return digest, (f"{info.os or 'linux'}/{info.architecture}",) if info.architecture else ()

    async def resolve(self, reference: Reference) -> str:
        """The digest that a name stands for now, by HEAD, which costs no pull quota."""
        return await self._digest(reference, await self._manifest("HEAD", reference))

    async def find_digest(self, reference: Reference) -> str:
        """As `resolve`, and "" where the registry has no such tag or manifest (404)."""
        answer = await self._manifest("HEAD", reference)
        return "" if answer.status == 404 else await self._digest(reference, answer)

    async def get_image_manifest(
        self, reference: Reference, *, platform: tuple[str, str] = ("linux", "amd64")
    ) -> Manifest:
        """The manifest of an image; of an index, the one for `platform`. Raises as `look_up` does."""
        content, digest, header = await self._get_manifest(reference)
        parsed = images.parse_json_object(content, what=str(reference))
        if images.media_type_of(parsed, header=header) in images.INDEXES:
            entry = images.choose_platform(parsed, platform=platform, what=str(reference))[0]
            content, digest, header = await self._get_manifest(reference.pinned(entry.digest))
        manifest = images.parse_manifest(content, header=header, what=str(reference))
        return replace(manifest, digest=digest)

    async def get_manifest_bytes(self, reference: Reference) -> tuple[bytes, str]:
        """Whatever the name stands for, its digest checked, and its Content-Type. Raises as `look_up` does."""
        content, _, media_type = await self._get_manifest(reference)
        return content, media_type

    async def get_blob(self, reference: Reference, descriptor: Descriptor, *, limit: int) -> bytes:
        """A small blob, its digest checked. Raises UserError when it is missing, larger than `limit`, or not itself."""
        answer = await self._transport.send(
            self._request("GET", reference, f"blobs/{descriptor.digest}", limit=limit)
        )
        if answer.status != 200:
            raise refusal(reference, answer)
        if not images.matches(answer.body, descriptor.digest):
            raise images.unusable(
                str(reference), f"the registry sent content that does not match {descriptor.digest}"
            )
        return answer.body

    async def stream_blob(self, reference: Reference, digest: str) -> AsyncIterator[bytes]:
        """A blob part by part, for sending on; the receiver checks the digest. One try."""
        request = self._request("GET", reference, f"blobs/{digest}")
        async for part in self._transport.stream(request):
            yield part

    async def has_blob(self, reference: Reference, digest: str, *, push: bool = True) -> bool:
        """Whether the repository holds a blob. With `push` the login is already that of an upload."""
        answer = await self._transport.send(
            self._request("HEAD", reference, f"blobs/{digest}", push=push)
        )
        if answer.status in (200, 404):
            return answer.status == 200
        raise refusal(reference, answer, pushing=push)

    async def mount_blob(self, target: Reference, digest: str, *, source: Reference) -> bool:
        """Have a blob of another repository on the same registry appear in `target`; False if it would not."""
        query = urlencode({"mount": digest, "from": source.repository})
        scopes = (_scope(target, "pull,push"), _scope(source, "pull"))
        request = replace(
            self._request("POST", target, f"blobs/uploads/?{query}", push=True), scopes=scopes
        )
        answer = await self._transport.send(request)
        if answer.status == 202 and answer.headers.get("location"):
            # The registry began an ordinary upload in place of the mount.
            location = urljoin(answer.url, answer.headers["location"])
            await self._transport.send(
                replace(self._request("DELETE", target, "", push=True), url=location)
            )
        return answer.status == 201

    async def put_blob(self, target: Reference, *, digest: str, size: int, body: Body) -> None:
        """Upload a blob of `size` bytes: POST and one PUT of known length, which works everywhere.

        `body` opens it from the start, once per try. Raises UserError(ImageAuthFailed or PushFailed),
        InfrastructureError(RegistryUnavailable).
        """
        for attempt in range(1, self._transport.tries + 1):
            # The POST logs in: nothing of the body is sent before the registry has let us in.
            begun = await self._transport.send(
                self._request("POST", target, "blobs/uploads/", push=True)
            )
            if begun.status != 202 or not begun.headers.get("location"):
                raise refusal(target, begun, pushing=True)
            put = replace(
                self._request("PUT", target, "", push=True),
                url=_closing_url(begun, digest),
                body=body,
                size=size,
                headers={"Content-Type": "application/octet-stream"},
                tries=1,
            )
            try:
                answer = await self._transport.send(put)
            except InfrastructureError:
                # A registry drops an upload that broke: its URL would be 404, so start a new one.
                if attempt == self._transport.tries:
                    raise
                await self._transport.rest(attempt)
                continue
            if answer.status == 201:
                return
            if answer.status != 404 or attempt == self._transport.tries:
                raise refusal(target, answer, pushing=True)

    async def put_manifest(self, target: Reference, content: bytes, *, media_type: str) -> str:
        """Write a manifest at `target.identifier` and give its digest. All it names must be there already."""
        put = replace(
            self._request("PUT", target, f"manifests/{target.identifier}", push=True),
            body=bytes_body(content),
            size=len(content),
            headers={"Content-Type": media_type},
        )
        answer = await self._transport.send(put)
        if answer.status != 201:
            raise refusal(target, answer, pushing=True)
        return images.digest_of(content)

    async def list_tags(self, reference: Reference, *, most: int) -> tuple[str, ...]:
        """The tags of a repository. Raises UserError(ImageNotFound) where it does not exist or has more than `most`."""
        request = self._request("GET", reference, "tags/list?n=1000", limit=_TAGS_LIMIT)
        found: dict[str, None] = {}
        for _ in range(most):
            answer = await self._transport.send(request)
            if answer.status != 200:
                raise refusal(reference, answer)
            tags = images.parse_json_object(answer.body, what=str(reference)).get("tags")
            known = len(found)
            found.update((str(tag), None) for tag in (tags if isinstance(tags, list) else ()))
            following = _next_page(answer)
            if len(found) > most:
                break
            # A registry that ignores where to go on would send its first page for ever.
            if not following or len(found) == known:
                return tuple(found)
            request = replace(request, url=following)
        raise UserError(
            f"{reference.name} has more than {most} tags", reason=Reason.IMAGE_NOT_FOUND
        )

    async def delete_manifest(self, reference: Reference) -> None:
        """Delete what has `reference.digest`, with every tag of it; that it is gone already is no error.

        Raises UserError(ImageAuthFailed or PushFailed) where the registry refuses.
        """
        if not reference.digest or reference.tag:
            raise ValueError(f"{reference} does not name a digest alone")
        request = self._request("DELETE", reference, f"manifests/{reference.digest}")
        scopes = (_scope(reference, "pull,delete"),)
        answer = await self._transport.send(replace(request, scopes=scopes))
        if answer.status in (401, 403) or answer.words.startswith(("UNAUTHORIZED", "DENIED")):
            raise UserError(
                f"registry {reference.registry} denied deleting images of {reference.name}: {answer.words}. The login "
                "needs the right to delete there",
                reason=Reason.IMAGE_AUTH_FAILED,
            )
        if answer.status == 405 or answer.words.startswith("UNSUPPORTED"):
            raise UserError(
                f"registry {reference.registry} does not delete images: {answer.words}. Allow it there (for "
                "distribution/distribution: storage.delete.enabled), or leave its repositories to a policy of its own",
                reason=Reason.PUSH_FAILED,
            )
        if answer.status not in (200, 202, 204, 404):
            raise UserError(
                f"deleting {reference} failed: {answer.words}", reason=Reason.PUSH_FAILED
            )

    async def _digest(self, reference: Reference, head: Answer) -> str:
        """The digest in the answer to a HEAD, or that of the manifest."""
        digest = head.headers.get("docker-content-digest", "")
        if head.status == 200 and is_digest(digest):
            return digest
        # A HEAD's answer has no error message, and some registries leave the digest out: get the manifest.
        return (await self._get_manifest(reference))[1]

    async def _get_manifest(self, reference: Reference) -> tuple[bytes, str, str]:
        """Bytes, digest and Content-Type of whatever the name stands for."""
        answer = await self._manifest("GET", reference)
        if answer.status != 200:
            raise refusal(reference, answer)
        digest = reference.digest or images.digest_of(answer.body)
        if not images.matches(answer.body, digest):
            raise images.unusable(
                str(reference), f"the registry sent content that does not match {digest}"
            )
        return answer.body, digest, answer.headers.get("content-type", "")

    async def _manifest(self, method: str, reference: Reference) -> Answer:
        request = self._request(
            method, reference, f"manifests/{reference.identifier}", limit=images.MANIFEST_LIMIT
        )
        return await self._transport.send(replace(request, headers={"Accept": images.ACCEPT}))

    def _request(
        self,
        method: str,
        reference: Reference,
        path: str,
        *,
        push: bool = False,
        limit: int = 1024 * 1024,
    ) -> Request:
        return Request(
            method=method,
            reference=reference,
            url=f"/v2/{reference.repository}/{path}",
            scopes=(_scope(reference, "pull,push" if push else "pull"),),
            limit=limit,
        )


def refusal(reference: Reference, answer: Answer, *, pushing: bool = False) -> SentinelError:
    """A registry's refusal as the user's error: which image, the registry's error, what to do."""
    words = answer.words
    if answer.status in (401, 403) or words.startswith(("UNAUTHORIZED", "DENIED")):
        what = "push to" if pushing else "pull of"
        return UserError(
            f"registry denied {what} {reference}: {words}. Either it does not exist, or "
            "it needs a login: name a Secret of type kubernetes.io/dockerconfigjson "
            f"({'spec.image.pushSecretRef' if pushing else 'spec.image.pullSecretRefs'}) and check its contents",
            reason=Reason.IMAGE_AUTH_FAILED,
        )
    if pushing:
        return UserError(
            f"registry rejected push to {reference}: {words}",
            reason=Reason.PUSH_FAILED,
        )
    if answer.status == 404 or words.startswith(_MISSING_CODES):
        return UserError(
            f"image {reference} not found: {words}. Check name and tag",
            reason=Reason.IMAGE_NOT_FOUND,
        )
    return UserError(
        f"pulling {reference} failed: {words}",
        reason=Reason.IMAGE_NOT_FOUND,
    )


def bytes_body(content: bytes) -> Body:
    """A body that is in memory."""

    async def opened() -> AsyncIterator[bytes]:
        yield content

    return opened


def file_body(path: Path, *, part: int = 1024 * 1024) -> Body:
    """A body that lies in a file, read in parts of `part` bytes.

    The reads are short and from the page cache: a thread per part would cost more than it frees.
    """

    async def opened() -> AsyncIterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(part):
                yield chunk

    return opened


def _closing_url(begun: Answer, digest: str) -> str:
    """Where the one PUT of an upload goes: the Location of its beginning, its query kept, with the digest."""
    parts = urlsplit(urljoin(begun.url, begun.headers["location"]))
    query = f"{parts.query}&" if parts.query else ""
    return urlunsplit(parts._replace(query=f"{query}{urlencode({'digest': digest})}"))


def _next_page(answer: Answer) -> str:
    """The URL of the next page, from the Link header; "" for the last one."""
    match = re.match(r'\s*<([^>]+)>\s*;\s*rel="?next"?', answer.headers.get("link", ""))
    return urljoin(answer.url, match[1]) if match else ""


def _scope(reference: Reference, actions: str) -> str:
    return f"repository:{reference.repository}:{actions}"
