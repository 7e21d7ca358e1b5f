"""Images at the store: put there, and proved to be there by their MD5."""

import base64
import binascii
import hashlib

import requests

from ctstate.errors import UnavailableError
from ctstate.zooniverse.failures import no_answer
from ctstate.zooniverse.replies import refusal_of
from ctstate.zooniverse.session import Session
from ctstate.zooniverse.wording import is_number, one_line


class Images(Session):
    """What a connection can do with images; the store is another server, and knows no token."""

    def put_image(self, url: str, data: bytes, mime: str, md5: str) -> bool:
        """Put an image to the store, which compares the MD5; return whether it vouched for it with its own.

        Where it did not (False), something that is not the store may have answered: ask for the image.

        Args:
            url: signed, from `create_subject` or `fresh_urls`.
            data: the image.
            mime: such as `image/jpeg`.
            md5: of `data`, as hex digits.

        Raises:
            RequestRefusedError: status 403: the URL has expired.
            WrongAddressError: it is no URL.
        """
        digest = base64.b64encode(bytes.fromhex(md5)).decode("ascii")
        headers = {"Content-Type": mime, "Content-MD5": digest, "x-ms-blob-type": "BlockBlob"}

        def once() -> bool:
            with self.traffic.request("PUT", "image", len(data)), no_answer("PUT of an image"):
                response = self._images.put(url, data=data, headers=headers)
            if not 200 <= response.status_code < 300:
                refusal = refusal_of(response, "PUT of an image")
                if response.status_code == 400:  # damaged on its way: the store compared the MD5
                    raise UnavailableError(str(refusal), 400, maybe_done=False)
                raise refusal
            stored = response.headers.get("Content-MD5")
            if not stored:
                return False
            if stored.strip() != digest:
                raise UnavailableError(f"PUT of an image: stored as {one_line(stored)}, sent as {digest}")
            return True

        return self._keep_trying(once)

    def image_md5(self, url: str) -> str | None:
        """Return the MD5 of a stored image as hex digits; None where it never arrived or is empty.

        The store tells it; one that does not is asked for the whole image. A web page is no answer of a store.

        Raises:
            WrongAddressError: it is no URL, or leads elsewhere.
            UnavailableError: for as long as was tried, something else than the store answered.
        """
        public = url.partition("?")[0]

        def once() -> str | None:
            with self.traffic.request("HEAD", "image"), no_answer("HEAD of an image"):
                response = self._images.head(public)
            if response.status_code == 404:
                return None
            if not 200 <= response.status_code < 300:
                raise refusal_of(response, "HEAD of an image")
            if response.headers.get("Content-Length") == "0":
                return None
            return _md5_told(response) or self._md5_of_body(public)

        return self._keep_trying(once)

    def _md5_of_body(self, url: str) -> str | None:
        """Read an image and return its MD5; None where it is not there or empty."""
        what = "GET of an image"
        with self.traffic.request("GET", "image"), no_answer(what):
            # As it is stored: what a server packs for the way has another MD5.
            response = self._images.get(url, headers={"Accept-Encoding": "identity"})
        if response.status_code == 404:
            return None
        if not 200 <= response.status_code < 300:
            raise refusal_of(response, what)
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            # No image was ever put as one: what differs from an image would else be taken for it.
            raise UnavailableError(f"{what}: a web page came; is there a portal or filter in between?")
        data, declared = response.content, response.headers.get("Content-Length", "")
        whole = not is_number(declared) or "Content-Encoding" in response.headers
        if not whole and declared.lstrip("0") != str(
            len(data) or ""
        ):  # not every urllib3 minds one that ends early
            text = f"{what}: the answer broke off after {len(data)} of {one_line(declared)} bytes"
            raise UnavailableError(text)
        return hashlib.md5(data, usedforsecurity=False).hexdigest() if data else None


def _md5_told(response: requests.Response) -> str | None:
    """Return the MD5 that a store tells, as hex digits; None for anything that is none."""
    try:
        digest = base64.b64decode(response.headers.get("Content-MD5", "").strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest.hex() if len(digest) == 16 else None
