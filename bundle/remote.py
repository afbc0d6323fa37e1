"""Remote: a bundle on S3 or any storage that fsspec knows becomes a verified folder here."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bundle.archive import MAX_MANIFEST_BYTES, open_bundle, publish_or_reuse
from bundle.cache import caching, told_of
from bundle.errors import (
    BundleError,
    IntegrityError,
    NotFoundError,
    RequestError,
    TrainyardError,
    first_line,
)
from bundle.manifest import Manifest
from bundle.paths import MANIFEST
from bundle.publish import sweep_folders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK_BYTES = 2**20
_NOT_FOUND = 404


def fetch_bundle(uri: str, cache: Path) -> Path:
    """The bundle at the uri, fetched unless the cache has it already, by its manifest's hash.

    Only the files that the manifest names are fetched, and never more bytes than it says.
    """
    system, root = _file_system(uri)
    with _translated(uri):
        manifest_json = _read(system, f"{root}/{MANIFEST}", MAX_MANIFEST_BYTES)
    try:
        manifest = Manifest.from_json(manifest_json)
    except BundleError as error:
        raise type(error)(
            f"the bundle {uri} is refused: {error}", field=error.field, remedy=error.remedy
        ) from error
    target = cache / hashlib.sha256(manifest_json).hexdigest()
    if target.exists():
        try:
            return open_bundle(target).path
        except BundleError:  # the cache is ours: what no longer verifies there is fetched again
            shutil.rmtree(target, ignore_errors=True)
    sweep_folders([cache])
    with caching(target) as folder:
        (folder / MANIFEST).write_bytes(manifest_json)
        for name, entry in manifest.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with _translated(uri):
                _copy(system, f"{root}/{name}", path, entry.bytes)
        with told_of(uri, folder):
            bundle = open_bundle(folder)
        publish_or_reuse(bundle, target)
    return target


def _file_system(uri: str) -> tuple[Any, str]:
    scheme, _, place = uri.partition("://")
    if not place.strip("/"):
        raise _no_address(uri, "it names no place")
    try:
        # Imported here because it is optional: only remote folders need it.
        from fsspec.core import url_to_fs

        system, root = url_to_fs(uri)
    except ImportError as error:
        raise RequestError(
            f"{uri} needs a package that is not installed: {error}",
            field="model",
            remedy="pip install s3fs" if scheme == "s3" else f"pip install fsspec[{scheme}]",
        ) from error
    except (TypeError, ValueError) as error:  # an unknown scheme, or a part that it must have
        raise _no_address(uri, first_line(error)) from error
    except Exception as error:  # some connect at once, and have errors of their own
        raise _unreadable(uri, error) from error
    return system, root.rstrip("/")


def _no_address(uri: str, why: str) -> RequestError:
    return RequestError(
        f"{uri} cannot be read: {why}",
        field="model",
        remedy="give a folder, or an address of storage that fsspec knows: s3://BUCKET/PREFIX",
    )


def _read(system: Any, path: str, limit: int) -> bytes:
    with system.open(path, "rb") as stream:
        data: bytes = stream.read(limit + 1)
    if len(data) > limit:
        raise IntegrityError(f"{path} has more than the {limit} bytes it may have", field=path)
    return data


def _copy(system: Any, path: str, target: Path, size: int) -> None:
    left = size
    with system.open(path, "rb") as stream, target.open("xb") as file:
        while chunk := stream.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise IntegrityError(f"{path} has more than its {size} bytes", field=path)
            file.write(chunk)


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    try:
        yield
    except TrainyardError:
        raise
    except FileNotFoundError as error:
        failure = _failure_behind(error)
        if failure is not None:
            raise _unreadable(uri, failure) from error
        raise NotFoundError(
            f"{uri} is not a bundle: it has no {error.filename or error}",
            field="model",
            remedy="give the address of the folder that export.py wrote",
        ) from error
    except Exception as error:
        raise _unreadable(uri, error) from error


def _failure_behind(error: FileNotFoundError) -> BaseException | None:
    """What fsspec takes for a missing file: a web server that it cannot reach, or that refuses."""
    cause = error.__cause__
    while cause is not None:
        refused = getattr(cause, "status", _NOT_FOUND) != _NOT_FOUND
        if refused or (isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)):
            return cause
        cause = cause.__cause__
    return None


def _unreadable(uri: str, error: BaseException) -> BundleError:
    return BundleError(
        f"{uri} cannot be read: {first_line(error)}",
        field="model",
        remedy="see that the address is right, that this machine reaches it, and that its "
        "credentials are set",
    )
