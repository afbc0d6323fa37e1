"""LastKnownGood: what was served last, on the disk, for a start while the registry is away."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bundle.address import absolute_uri
from bundle.archive import open_bundle
from bundle.atomic_file import write_json
from bundle.errors import BundleError, NotFoundError
from serving.routing.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

SCHEMA = 1


@dataclass(frozen=True)
class Known:
    """What was served, and how old that is."""

    wanted: Wanted
    polled_at: float
    """When the registry last said so, in seconds since the epoch."""


class LastKnownGood:
    """One small file for each registry and --model. Written whole or not at all."""

    def __init__(self, cache: Path, *, registry_uri: str) -> None:
        self._cache = cache
        self._folder = cache / "last-known-good"
        self._registry_uri = absolute_uri(registry_uri)  # another folder's is another one

    def write(self, wanted: Wanted) -> None:
        """Never fails: a full disk must not stop what works; it is logged."""
        path = self._path(wanted.uri)
        document = {"schema": SCHEMA, "wanted": self._moved(wanted, self._below).to_dict()}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(path, document)
        except OSError as error:
            log.warning(
                "what is served cannot be kept for the next start",
                extra={"fields": {"reason": f"{error.strerror}: {path}"}},
            )

    def read(self, uri: str) -> Known | None:
        """With those of its versions that are still whole; None if the routed ones are not."""
        path = self._path(uri)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["schema"] != SCHEMA:
                return None
            wanted = self._moved(Wanted.from_dict(document["wanted"]), self._cache.joinpath)
            known = Known(wanted, path.stat().st_mtime)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{path}: {type(error).__name__}: {error}"
            log.warning("what was served last is unreadable", extra={"fields": {"reason": reason}})
            return None
        sources = tuple(s for s in known.wanted.sources if _whole(s.path))
        if not known.wanted.needed <= {source.version for source in sources}:
            return None
        return replace(known, wanted=replace(known.wanted, sources=sources))

    def touch(self, uri: str) -> None:
        """The registry was reached, and what is written still holds."""
        with contextlib.suppress(OSError):
            os.utime(self._path(uri))

    def _below(self, path: Path) -> Path:
        """As it is kept: a cache may be copied, or mounted elsewhere."""
        return path.relative_to(self._cache) if path.is_relative_to(self._cache) else path

    @staticmethod
    def _moved(wanted: Wanted, place: Callable[[Path], Path]) -> Wanted:
        moved = tuple(replace(source, path=place(source.path)) for source in wanted.sources)
        return replace(wanted, sources=moved)

    def _path(self, uri: str) -> Path:
        digest = hashlib.sha256(f"{self._registry_uri}\0{uri}".encode()).hexdigest()
        return self._folder / f"{digest}.json"


def _whole(path: Path) -> bool:
    try:
        open_bundle(path)
    except (BundleError, NotFoundError) as error:
        log.warning("a version in the cache is damaged", extra={"fields": {"reason": str(error)}})
        return False
    return True
