"""A bundle on disk: published whole or not at all, and verified before anything parses it."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.errors import (
    BundleError,
    IntegrityError,
    ManifestError,
    NotFoundError,
    RequestError,
    UnsafePathError,
)
from bundle.manifest import FileEntry, Manifest, Variant
from bundle.paths import MANIFEST, check_relative_name
from bundle.publish import publish, staging, taken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bundle.batch_dimension import BatchDimension

MAX_MANIFEST_BYTES = 16 * 2**20
CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Bundle:
    """A folder whose files were found to be those of its manifest."""

    path: Path
    manifest: Manifest
    batch: BatchDimension | None = None
    """What was found of a graph of which nothing is proved; None where the shapes tell all."""

    @property
    def bare(self) -> bool:
        """Whether it is no more than a graph, whose tensors need not have a shape."""
        return self.batch is not None

    @property
    def batchable(self) -> bool | None:
        """Whether samples may share a run; None where the shapes decide."""
        return None if self.batch is None else self.batch.shared

    def file(self, name: str) -> Path:
        """Where the file of that name lies. Raises NotFoundError if the manifest has none."""
        if name not in self.manifest.files:
            raise NotFoundError(
                f"bundle {self.manifest.name!r} has no file {name!r}", field="files"
            )
        return self.path / name


def sha256_file(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_bundle(directory: Path | str) -> Bundle:
    """Verify every file of the folder: kinds, names, sizes, then hashes.

    Raises NotFoundError, UnsafePathError, ManifestError or IntegrityError.
    """
    path = Path(directory)
    if not path.is_dir():
        raise NotFoundError(f"there is no bundle folder {path}", field="bundle")
    path = path.resolve()
    try:
        return Bundle(path, _verify(path))
    except BundleError as error:
        raise type(error)(
            f"the bundle {path} is refused: {error}", field=error.field, remedy=error.remedy
        ) from error
    except OSError as error:
        raise IntegrityError(
            f"the bundle {path} cannot be read: {error.strerror}: {error.filename}", field="bundle"
        ) from error


def _verify(path: Path) -> Manifest:
    manifest = Manifest.from_json(_read_manifest(path))
    sizes = _file_sizes(path, manifest)
    for name, entry in sorted(manifest.files.items()):
        if name not in sizes:
            raise IntegrityError(f"{name!r} is missing", field=name)
        if sizes[name] != entry.bytes:
            raise IntegrityError(
                f"{name!r} has {sizes[name]} bytes, the manifest says {entry.bytes}", field=name
            )
    for name, entry in sorted(manifest.files.items()):
        actual = sha256_file(path / name)
        if actual != entry.sha256:
            raise IntegrityError(
                f"{name!r} has sha256 {actual}, the manifest says {entry.sha256}", field=name
            )
    return manifest


def write_bundle(
    directory: Path | str,
    *,
    manifest: Manifest,
    files: Mapping[str, Path | bytes],
    overwrite: bool = False,
) -> Bundle:
    """Publish the files, with a manifest that has their hashes, under `directory` in one step.

    Until that step whatever was there stays; a crash leaves at most a hidden sibling folder.
    With `overwrite` a bundle that is there is replaced; anything else is never touched.
    Raises RequestError if `directory` is taken, or another writer was first.
    """
    target = Path(os.path.realpath(directory))
    for name in files:
        check_relative_name(name)
    missing = [name for name in manifest.referenced_files() if name not in files]
    if missing:
        raise ManifestError(f"{missing[0]} is named in the manifest, but not given", field="files")
    check_free(target, overwrite=overwrite)
    with staging(target) as folder:
        entries = {name: _store(folder / name, content) for name, content in files.items()}
        manifest = _with_entries(manifest, entries)
        _store(folder / MANIFEST, manifest.to_json().encode())
        publish(folder, target, overwrite=overwrite)
    return Bundle(target, manifest)


def check_free(target: Path, *, overwrite: bool) -> None:
    """Raise RequestError unless a bundle may be written there."""
    if not target.exists():
        return
    if not target.is_dir():
        raise RequestError(f"{target} exists and is not a folder", field="output")
    if not any(target.iterdir()):
        return
    if not overwrite:
        raise taken(target)
    try:
        _file_sizes(target, Manifest.from_json(_read_manifest(target)))
    except BundleError as error:
        raise RequestError(
            f"{target} is not a bundle, so it is not overwritten: {error}",
            field="output",
            remedy="choose another folder, or remove this one",
        ) from error


def publish_or_reuse(bundle: Bundle, target: Path) -> None:
    """Publish; where another process was first, accept its folder if it is this very bundle."""
    try:
        publish(bundle.path, target)
    except RequestError:
        if open_bundle(target).manifest != bundle.manifest:
            raise


def _read_manifest(directory: Path) -> bytes:
    path = directory / MANIFEST
    try:
        status = path.lstat()
    except OSError as error:
        raise ManifestError(f"it has no {MANIFEST}", field=MANIFEST) from error
    _check_plain(MANIFEST, status)
    if status.st_size > MAX_MANIFEST_BYTES:
        raise ManifestError(
            f"{MANIFEST} has {status.st_size} bytes, at most {MAX_MANIFEST_BYTES} are read",
            field=MANIFEST,
        )
    return path.read_bytes()


def _check_plain(name: str, status: os.stat_result) -> None:
    """Refuse what could lead out of the bundle, or change behind its back."""
    if not stat.S_ISREG(status.st_mode):
        kind = "a link" if stat.S_ISLNK(status.st_mode) else "not a plain file"
        raise UnsafePathError(f"{name!r} is {kind}", field=name)
    if status.st_nlink != 1:
        raise UnsafePathError(
            f"{name!r} is hard-linked: it has {status.st_nlink} names",
            field=name,
            remedy="copy the bundle's files rather than linking them",
        )


def _file_sizes(directory: Path, manifest: Manifest) -> dict[str, int]:
    """The size of every file that lies there; a stray file or folder is refused when met."""
    folders = {
        "/".join(parts[:depth])
        for parts in (name.split("/") for name in manifest.files)
        for depth in range(1, len(parts))
    }
    sizes: dict[str, int] = {}
    for name, status in _walk(directory, "", folders):
        if name == MANIFEST:
            continue
        if name not in manifest.files:
            raise IntegrityError(
                f"{name!r} is a stray file: the manifest does not list it",
                field=name,
                remedy="remove it, or write the bundle again",
            )
        sizes[name] = status.st_size
    return sizes


def _walk(directory: Path, prefix: str, folders: set[str]) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            name = prefix + entry.name
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if name not in folders:
                    raise IntegrityError(f"{name!r} is a stray folder", field=name)
                yield from _walk(directory / entry.name, f"{name}/", folders)
            else:
                _check_plain(name, status)
                yield name, status


def _store(path: Path, content: Path | bytes) -> FileEntry:
    """Write one file, flushed to the disk; its hash is that of the bytes written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    size = 0
    with path.open("xb") as file:
        for chunk in _chunks(content):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return FileEntry(sha256=digest.hexdigest(), bytes=size)


def _chunks(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    try:
        with content.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise NotFoundError(f"{content} cannot be read: {error.strerror}", field="files") from error


def _with_entries(manifest: Manifest, entries: dict[str, FileEntry]) -> Manifest:
    def complete(variant: Variant) -> Variant:
        if variant.file is None:
            return variant
        entry = entries[variant.file]
        return replace(variant, sha256=entry.sha256, bytes=entry.bytes)

    variants = tuple(complete(variant) for variant in manifest.variants)
    return replace(manifest, files=entries, variants=variants)
