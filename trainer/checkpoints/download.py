"""Checkpoints from elsewhere: fetched to a file first, then verified, and only then read."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import IO, TYPE_CHECKING

from bundle.atomic_file import HashingStream, staged
from trainer.checkpoints.content import facts_of, load_plain
from trainer.checkpoints.sidecar import SUFFIX, describe, publish, unwritable, verify_file
from trainer.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SCHEMES = ("http", "https", "file")
LARGEST_VARIABLE = "TRAINYARD_MAX_CHECKPOINT_BYTES"
_LARGEST = 64 * 2**30
_LARGEST_SIDECAR = 2**20
_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30.0


def is_url(text: str) -> bool:
    """Whether it names something to be fetched."""
    return "://" in text


def fetch_checkpoint(url: str, folder: Path) -> Path:
    """The checkpoint at `URL#sha256=…`, as a verified file with a sidecar in `folder`.

    Without a fragment the sha256 comes from the sidecar at `URL.json`. At most 64 GiB, or
    TRAINYARD_MAX_CHECKPOINT_BYTES, are fetched. Raises CheckpointError or ConfigError.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ConfigError(
            f"resume={url}: a checkpoint is fetched by {', '.join(SCHEMES)} only", field="resume"
        )
    address = urllib.parse.urlunsplit(parts._replace(fragment=""))
    expected = _expected(parts.fragment, address)
    folder.mkdir(parents=True, exist_ok=True)
    # The name is the content's: two of the same name do not meet.
    target = folder / f"{expected}.ckpt"
    if target.exists():
        try:
            verify_file(target)
            return target
        except CheckpointError:
            pass  # what no longer verifies is fetched again
    try:
        _keep(address, target, expected=expected)
    except OSError as error:
        raise unwritable(target, error) from error
    return target


def _keep(address: str, target: Path, *, expected: str) -> None:
    with staged(target) as temporary:
        with _open(address) as source, temporary.open("wb") as file:
            stream = HashingStream(file)
            _copy(source, stream, address=address, limit=_limit())
            file.flush()
            os.fsync(file.fileno())
        if stream.sha256 != expected:
            raise CheckpointError(
                f"{address}: its sha256 is {stream.sha256[:12]}…, not {expected[:12]}…",
                field="resume",
            )
        try:
            facts = facts_of(load_plain(temporary))
        except (AttributeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{address}: not a checkpoint of train.py ({error})") from error
        entry = {**describe(facts), "sha256": stream.sha256, "bytes": stream.bytes, "url": address}
        publish(temporary, target, entry)


def _expected(fragment: str, address: str) -> str:
    """The sha256 that the fragment names, or the sidecar."""
    given = urllib.parse.parse_qs(fragment).get("sha256", [""])[0].lower()
    if not given:
        try:
            with _open(address + SUFFIX) as source:
                sidecar = json.loads(source.read(_LARGEST_SIDECAR))
            given = str(sidecar["sha256"]).lower()
        except (CheckpointError, HTTPException, OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{address}: nothing says what its sha256 must be ({error})",
                field="resume",
                remedy=f"add #sha256=…, or put the checkpoint's sidecar at {address}{SUFFIX}",
            ) from error
    if len(given) != hashlib.sha256().digest_size * 2 or not set(given) <= set("0123456789abcdef"):
        raise ConfigError(f"resume: {given!r} is not a sha256", field="resume")
    return given


def _open(address: str) -> IO[bytes]:
    try:
        answer: IO[bytes] = urllib.request.urlopen(  # noqa: S310 - the scheme was checked
            address, timeout=_TIMEOUT_SECONDS
        )
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise CheckpointError(f"{address}: cannot be fetched ({reason})", field="resume") from error
    return answer


def _copy(source: IO[bytes], target: HashingStream, *, address: str, limit: int) -> None:
    while True:
        try:
            chunk = source.read(_CHUNK)
        except (OSError, HTTPException) as error:
            raise CheckpointError(f"{address}: broke off ({error})", field="resume") from error
        if not chunk:
            return
        if target.bytes + len(chunk) > limit:
            raise CheckpointError(
                f"{address}: larger than {limit} bytes",
                field="resume",
                remedy=f"set {LARGEST_VARIABLE}, if it may be",
            )
        target.write(chunk)


def _limit() -> int:
    text = os.environ.get(LARGEST_VARIABLE)
    if text is None:
        return _LARGEST
    if not text.isdecimal():
        raise ConfigError(f"{LARGEST_VARIABLE}={text}: must be a number of bytes")
    return int(text)
