"""Where a model comes from: a folder, a bare file, the registry, or remote storage."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from bundle.archive import open_bundle, sha256_file
from bundle.cache import CACHE_VARIABLE
from bundle.errors import BundleError, NotFoundError, RequestError
from bundle.paths import MANIFEST
from bundle.publish import sweep_folders
from bundle.quotation import escaped, quoted, shorten
from bundle.remote import fetch_bundle
from bundle.version_number import CHAMPION, is_alias, version_number

if TYPE_CHECKING:
    from bundle.registry import ModelRegistry

_NAMED = re.compile(r"(?P<name>[^=/\\:@]+)=(?P<uri>.+)")
_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>[^/@]+))?")
_LONGEST_SHOWN = 200
_REMEDY = "give a bundle folder, an .onnx file, models:/NAME@ALIAS or s3://BUCKET/PREFIX"
_SHORT = 12
"""Digits of a hash that name the version of what no registry has numbered."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A model as files on this machine."""

    name: str | None
    """The name that the uri or the registry gives it; None: its own."""
    version: str
    """The registry's number, else the first digits of the content's hash."""
    path: Path
    """A bundle's folder, or a bare model's file."""
    bare: bool


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What a uri says of a model in the registry."""

    name: str
    alias: str
    """champion where the uri names neither an alias nor a number."""
    number: int | None
    """Set if the uri names one version for good."""
    given_name: str | None
    """The name in front of the uri."""


def registered(uri: str) -> Registered | None:
    """None for a uri of anything else. Raises RequestError for one that is cut short."""
    given, uri = _split_name(uri)
    if not uri.startswith("models:"):
        return None
    match = _REGISTERED.fullmatch(uri)
    if match is None:
        _refuse(uri)
    text, alias = match["number"], match["alias"]
    if alias is not None and not is_alias(alias):
        _refuse(uri, why=f"{quoted(alias)} is no alias")
    if text is not None and version_number(text) is None:
        _refuse(uri, why=f"{quoted(text)} is not the number of one")
    return Registered(
        name=match["name"],
        alias=alias or CHAMPION,
        number=None if text is None else version_number(text),
        given_name=given,
    )


def resolve(uri: str, *, tracking_uri: str | None = None, cache: Path | None = None) -> Resolved:
    """Find what the uri names, and fetch and verify what is not on this machine.

    The uri is a bundle's folder, models:/NAME (its champion), models:/NAME@ALIAS,
    models:/NAME/NUMBER, a remote folder such as s3://BUCKET/PREFIX, or an .onnx file; NAME= in
    front of it gives the model another name.
    A folder or file is only looked up: whoever opens it verifies it.
    Raises RequestError, NotFoundError, or the errors of the registry and of `open_bundle`.
    """
    name, uri = _split_name(uri)
    cache = cache or default_cache()
    if uri.startswith("models:"):
        resolved = _from_registry(uri, tracking_uri=tracking_uri, cache=cache)
    elif "://" in uri:
        path = fetch_bundle(uri, cache / "remote")
        resolved = Resolved(name=None, version=_short_hash(path / MANIFEST), path=path, bare=False)
    else:
        resolved = _from_path(Path(uri).expanduser())
    if name is None:
        return resolved
    return Resolved(name=name, version=resolved.version, path=resolved.path, bare=resolved.bare)


def default_cache() -> Path:
    """TRAINYARD_CACHE, else `trainyard` in the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trainyard"


def _split_name(uri: str) -> tuple[str | None, str]:
    match = _NAMED.fullmatch(uri)
    if match is None or _exists(Path(uri)):
        return None, uri
    return match["name"], match["uri"]


def _exists(path: Path) -> bool:
    """Raises RequestError for what no file system takes as a name."""
    try:
        return path.exists()
    except OSError as error:
        raise RequestError(
            f"{escaped(shorten(str(path), _LONGEST_SHOWN))} cannot be a path: {error.strerror}",
            field="model",
            remedy=_REMEDY,
        ) from error


def _from_path(path: Path) -> Resolved:
    exists = _exists(path)
    if path.is_dir():
        manifest = path / MANIFEST
        if not manifest.is_file():
            raise NotFoundError(f"{path} is not a bundle: it has no {MANIFEST}", field="model")
        return Resolved(name=None, version=_short_hash(manifest), path=path, bare=False)
    if not exists:
        raise NotFoundError(
            f"there is no model at {path}",
            field="model",
            remedy=_REMEDY,
        )
    if path.suffix != ".onnx":
        raise RequestError(
            f"{path} is neither a bundle folder nor an .onnx file",
            field="model",
            remedy="give the folder that export.py wrote",
        )
    return Resolved(name=None, version=_short_hash(path), path=path, bare=True)


def fetch_version(registry: ModelRegistry, name: str, number: int, *, cache: Path) -> Resolved:
    """The version's bundle, verified, from the cache or else into it. Raises the registry's errors
    and those of `open_bundle`.
    """
    sha256 = registry.get(name, number).bundle_sha256()
    model = cache / "models" / _folder_name(name)
    folder = model / str(number) / sha256
    _drop_if_damaged(folder)
    if not folder.exists():
        sweep_folders(model.glob("*"))
    path = registry.download(name, number, folder)
    return Resolved(name=name, version=str(number), path=path, bare=False)


def _from_registry(uri: str, *, tracking_uri: str | None, cache: Path) -> Resolved:
    wanted = registered(uri)
    if wanted is None:
        raise AssertionError("only registered models come here")
    # Imported here because MLflow takes seconds, which a plain folder need not wait for.
    from bundle.registry import ModelRegistry

    registry = ModelRegistry(tracking_uri)
    number = wanted.number
    if number is None:
        number = registry.get(wanted.name, wanted.alias).number
    return fetch_version(registry, wanted.name, number, cache=cache)


def _refuse(uri: str, *, why: str = "") -> NoReturn:
    shown = escaped(shorten(uri, _LONGEST_SHOWN))
    raise RequestError(
        f"{shown} does not name a version in the registry{why and f': {why}'}",
        field="model",
        remedy="write models:/NAME, models:/NAME@ALIAS or models:/NAME/NUMBER",
    )


def _drop_if_damaged(folder: Path) -> None:
    """The cache is ours: what no longer verifies there is fetched again."""
    if not folder.exists():
        return
    try:
        open_bundle(folder)
    except BundleError:
        shutil.rmtree(folder, ignore_errors=True)


def _folder_name(name: str) -> str:
    """The name itself where every file system can hold it, else its hash."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        return name
    return hashlib.sha256(name.encode()).hexdigest()


def _short_hash(path: Path) -> str:
    try:
        return sha256_file(path)[:_SHORT]
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}", field="model") from error
