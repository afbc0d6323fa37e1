"""ModelVersion: a registered bundle, and what its tags in the registry say about it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundle.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from bundle.manifest import Manifest
    from bundle.registry.routing import Routing

PREFIX = "trainyard."
MANIFEST_SHA256 = PREFIX + "manifest_sha256"

EXPORT_METRICS = "optimize/"
"""How names of metrics begin that an export records on a run: of its variants, not of the run."""

MAX_TAG_CHARACTERS = 4_900
"""Below what every database behind MLflow keeps of a tag."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSAFE_IN_KEY = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version of a model; numbers rise and are never used again."""

    name: str
    number: int
    aliases: tuple[str, ...]
    created: datetime
    """In UTC."""
    run_id: str | None
    """The MLflow run whose artifacts hold the bundle."""
    source: str
    """Where the bundle's files lie, as the registry knows it."""
    tags: Mapping[str, str]

    @property
    def manifest_sha256(self) -> str | None:
        """The hash of manifest.json, and so of every file; None if this is no bundle of ours.

        Whoever may write to the registry may write anything there, and a cache names a folder by
        it: what is not 64 digits of lower case is no hash.
        """
        tag = self.tags.get(MANIFEST_SHA256, "")
        return tag if _SHA256.fullmatch(tag) else None

    def bundle_sha256(self) -> str:
        """As `manifest_sha256`. Raises RegistryError if this is no bundle of ours."""
        sha256 = self.manifest_sha256
        if sha256 is None:
            raise RegistryError(
                f"version {self.number} of {self.name!r} is not a bundle: "
                "it was registered by other means",
                field="version",
            )
        return sha256

    @property
    def metadata(self) -> dict[str, Any]:
        """What `version_tags` wrote, parsed."""
        return {
            key.removeprefix(PREFIX): _parse(value)
            for key, value in self.tags.items()
            if key.startswith(PREFIX)
        }

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "number": self.number,
            "aliases": list(self.aliases),
            "created": self.created.isoformat(timespec="seconds"),
            "run_id": self.run_id,
            "source": self.source,
            "metadata": self.metadata,
        }


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Which versions of a model answer, and which have a name."""

    aliases: Mapping[str, int]
    routing: Routing


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """One model's name and how it stands."""

    name: str
    aliases: Mapping[str, int]
    routing: Routing
    versions: tuple[int, ...]
    error: str | None = None
    """Why nothing but the name is known: its record cannot be read."""

    def to_dict(self) -> dict[str, Any]:
        if self.error is not None:
            return {"name": self.name, "error": self.error}
        return {
            "name": self.name,
            "aliases": dict(sorted(self.aliases.items())),
            **self.routing.to_dict(),
            "versions": list(self.versions),
        }


def version_tags(
    manifest: Manifest, *, manifest_sha256: str, metrics: Mapping[str, float]
) -> dict[str, str]:
    """Everything that one wants to know of a version without fetching its bundle, as tags."""
    default = manifest.variant(manifest.default_variant)
    facts: dict[str, Any] = {
        "schema": 1,
        "manifest_sha256": manifest_sha256,
        "bundle_name": manifest.name,
        "task": manifest.task,
        "labels": list(manifest.labels),
        "label_count": len(manifest.labels),
        "inputs": [spec.to_dict() for spec in manifest.inputs],
        "outputs": [spec.to_dict() for spec in manifest.outputs],
        "preprocessing": None if manifest.preprocessing is None else manifest.preprocessing.sha256,
        "default_variant": manifest.default_variant,
        "precision": default.precision,
        "certified": default.certified,
        "bytes": sum(entry.bytes for entry in manifest.files.values()),
        "model_bytes": default.bytes,
        "metrics": dict(metrics),
    }
    variants = manifest.to_dict()["variants"]
    facts |= {f"variant.{_key(variant['name'])}": variant for variant in variants}
    facts |= {f"lineage.{_key(name)}": value for name, value in manifest.lineage.items()}
    return {PREFIX + key: _encode(value) for key, value in facts.items()}


def version_metrics(manifest: Manifest, *, recorded: Mapping[str, float]) -> dict[str, float]:
    """What the lineage says, and over it what the run recorded last of the training."""
    lineage = manifest.lineage
    metrics: dict[str, float] = {}
    for holder in (lineage.get("checkpoint"), lineage):
        if isinstance(holder, dict) and isinstance(holder.get("metrics"), dict):
            metrics |= holder["metrics"]
    own = {name: value for name, value in recorded.items() if not name.startswith(EXPORT_METRICS)}
    return metrics | own


def _key(name: str) -> str:
    return _UNSAFE_IN_KEY.sub("_", name)[:100]


def _encode(value: Any) -> str:
    """Strings as they are and the rest as JSON; what is too long is cut, or else only described.

    A string that would be read back as a number or another value ("2024") is JSON too.
    """
    if isinstance(value, list):
        value = _fitting_prefix(value)
    plain = isinstance(value, str) and _parse(value) == value
    text: str = value if plain else _json(value)
    if len(text) <= MAX_TAG_CHARACTERS:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return _json({"omitted": f"{len(text)} characters", "sha256": digest})


def _fitting_prefix(values: list[Any]) -> list[Any]:
    """As many of the values as a tag holds."""
    length = 2
    for index, value in enumerate(values):
        length += len(_json(value)) + 2
        if length > MAX_TAG_CHARACTERS:
            return values[:index]
    return values


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
