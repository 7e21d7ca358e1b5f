"""The image store behind the API, in the manner of Azure's blobs (API notes, section 4)."""

import base64
import hashlib
import hmac
import os
from pathlib import Path

from starlette.responses import Response

from ctstate.errors import InputError
from ctstate.sandbox.model import Image
from ctstate.sandbox.state import World
from ctstate.sandbox.surroundings import now
from ctstate.words import whole_number

PREFIX = "/blob/"


class Blobs:
    """Images as files, each written whole or not at all.

    Args:
        directory: where the sandbox's state is; images are in `images/` below it.
        world: which images there are.
    """

    def __init__(self, directory: Path, world: World) -> None:
        self._folder = directory / "images"
        self._world = world
        self._keep = not world.settings.discard_images
        if self._keep:
            try:
                for i in range(256):
                    (self._folder / f"{i:02x}").mkdir(parents=True, exist_ok=True)
            except OSError as e:
                raise InputError(f"{self._folder}: cannot make the folder for images ({e.strerror})") from e

    # -- URLs -----------------------------------------------------------------------------------------------

    def public_url(self, base: str, image: Image) -> str:
        """Where the image is for everybody."""
        return image.url or f"{base}{PREFIX}{image.key}"

    def put_url(self, base: str, image: Image) -> str:
        """Where it can be put, for some minutes."""
        if image.url:
            return image.url
        until = str(int(now() + self._world.settings.put_url_lifetime + 0.999))
        query = f"sv=2018-11-09&sr=b&sp=rcw&se={until}&sig={self._signature(image.key, until)}"
        return f"{base}{PREFIX}{image.key}?{query}"

    def _signature(self, key: str, until: str) -> str:
        return hmac.new(self._world.secret, f"{key}\n{until}".encode(), hashlib.sha256).hexdigest()

    # -- requests -------------------------------------------------------------------------------------------

    def put(self, key: str, until: str, signature: str, headers: dict[str, str], body: bytes) -> Response:
        """PUT of an image by its signed URL."""
        image = self._world.images.get(key)
        if image is None or not hmac.compare_digest(signature.encode(), self._signature(key, until).encode()):
            return _error(403, "AuthenticationFailed", "Signature did not match.")
        if (whole_number(until) or 0) <= now():
            return _error(403, "AuthenticationFailed", "Signature not valid in the specified time frame.")
        if headers.get("x-ms-blob-type") != "BlockBlob":
            return Response(b"", 400)
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        md5 = base64.b64encode(digest).decode()
        if headers.get("content-md5", md5) != md5:
            return _error(400, "Md5Mismatch", "The MD5 value specified in the request did not match the body.")
        if self._keep:
            self._write(key, body)
        self._world.received(image, len(body), md5, headers.get("content-type", "application/octet-stream"))
        return Response(b"", 201, {"Content-MD5": md5, "ETag": _etag(image)})

    def get(self, key: str, head: bool) -> Response:
        """GET or HEAD of the public URL."""
        image = self._world.images.get(key)
        if image is None or not image.arrived:
            return _error(404, "BlobNotFound", "The specified blob does not exist.")
        headers = {
            "Content-MD5": image.md5,
            "ETag": _etag(image),
            "Content-Type": image.content_type,
            "x-ms-blob-type": "BlockBlob",
            # The sandbox's own page shows images from here: what else was put must not run in it.
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox",
        }
        if head:
            return Response(b"", 200, {**headers, "Content-Length": str(image.size)})
        body = self.read(image)
        if body is None:
            return _error(410, "Discarded", "This sandbox keeps only the size and MD5 of images.")
        return Response(body, 200, headers)

    # -- files ----------------------------------------------------------------------------------------------

    def read(self, image: Image) -> bytes | None:
        """The bytes, unless they were not kept."""
        try:
            return self._path(image.key).read_bytes()
        except FileNotFoundError:
            return None

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key

    def _write(self, key: str, body: bytes) -> None:
        path = self._path(key)
        part = f"{path}.part"
        with open(part, "wb") as f:
            f.write(body)
        os.replace(part, path)


def _etag(image: Image) -> str:
    return f'"0x{int(image.updated * 1e6):X}"'


def _error(status: int, code: str, message: str) -> Response:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(body.encode(), status, {"content-type": "application/xml", "x-ms-error-code": code})
