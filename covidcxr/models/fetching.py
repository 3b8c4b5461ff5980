"""One file over https: aside, checked, then put in its place."""

import hashlib
import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from covidcxr.atomic import folder_for, whole_file
from covidcxr.errors import ModelError

SCHEMES = ("https",)
# A dead network must not look like a hang; a slow download that still delivers goes on.
_TIMEOUT_SECONDS = 20
_BLOCK = 1 << 18
_NETWORK_FAULTS = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)


def download(address, path, digest, progress=None):
    """Fetch a file.

    Parameters
    ----------
    address : str
        https only, redirections included.
    path : path-like
        Where it is to stand; nothing stands there until all of it has come and agrees with `digest`.
    digest : str
        See :func:`matches`. Where it is empty, nothing is fetched: a file that nobody vouches for is for a person
        to get.
    progress : callable, optional
        ``progress(done, total)`` in bytes; `total` is None where the server does not tell.

    Raises
    ------
    ModelError
        If the address does not answer, breaks off, or gives another file, or there is no digest. One line.
    OutputError
        If the file cannot be written. Of a download that failed nothing stays, not the folder either.
    """
    path = Path(path)
    by_hand = f"and put the file at {path}"
    _require_secure(address, by_hand)
    if not digest:
        raise ModelError(
            f"{address}: no digest of it is published, and nothing unchecked is fetched; "
            f"get it in your own way {by_hand}"
        )
    with folder_for(path.parent), whole_file(path) as temporary:
        try:
            with (
                _opener(by_hand).open(address, timeout=_TIMEOUT_SECONDS) as answer,
                temporary.open("wb") as file,
            ):
                _copy(answer, file, address, progress or (lambda done, total: None))
        except _NETWORK_FAULTS as error:
            raise ModelError(
                f"{address}: cannot be fetched ({_reason(error)}); check the network, or get it "
                f"in your own way {by_hand}"
            ) from error
        if not matches(temporary, digest):
            raise ModelError(
                f"{address}: gave another file than the published one ({digest}); try again later"
            )


def matches(path, digest):
    """Return whether a file has a digest.

    Parameters
    ----------
    path : path-like
    digest : str
        ``"<algorithm>:<hexadecimal digits>"``, the algorithm one of `hashlib`'s; fewer digits than the
        algorithm gives are compared with its first ones.
    """
    algorithm, _, digits = digest.partition(":")
    return file_digest(path, algorithm).startswith(digits)


def file_digest(path, algorithm):
    """Return a file's digest, in hexadecimal."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _opener(by_hand):
    class SecureRedirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, request, file, code, message, headers, address):
            _require_secure(address, by_hand)
            return super().redirect_request(request, file, code, message, headers, address)

    return urllib.request.build_opener(SecureRedirects())


def _copy(answer, file, address, progress):
    length = answer.headers.get("Content-Length")
    total, done = int(length) if length else None, 0
    while block := answer.read(_BLOCK):
        file.write(block)
        done += len(block)
        progress(done, total)
    if total is not None and done < total:
        raise ModelError(f"{address}: broke off after {done:,} of {total:,} bytes; try again")


def _require_secure(address, by_hand):
    scheme = urllib.parse.urlsplit(address).scheme
    if scheme not in SCHEMES:
        raise ModelError(
            f"{address}: only {', '.join(SCHEMES)} addresses are fetched; get it in your own way {by_hand}"
        )


def _reason(error):
    text = str(getattr(error, "reason", "") or error) or type(error).__name__
    return " ".join(text.split())[:200]
