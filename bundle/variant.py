"""Variant: one optimised form of a model's weights, and what the gate found of it."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bundle.errors import ManifestError

if TYPE_CHECKING:
    from bundle.fields import Fields

PLAN_FORMAT = "tensorrt"
"""A plan of TensorRT, which one kind of GPU and one version run."""
FORMATS = ("onnx", PLAN_FORMAT)

_LIMITS = ("agreement_limit", "batch_flips_limit")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """What the comparison with the original model found, and why it passed or not."""

    budget: float | None = None
    """Largest accepted loss of accuracy, as a share of 1."""
    samples: int = 0
    """Number of samples compared."""
    delta: float | None = None
    """Change of accuracy against the original; negative is worse."""
    bound: float | None = None
    """One-sided 95 % lower bound on delta."""
    agreement: float | None = None
    """Share of samples that get the original's answer."""
    batch_invariant: bool | None = None
    """Whether an answer is the same alone and in company, as measured."""
    reason: str = ""
    agreement_limit: float | None = None
    """Smallest accepted agreement. With limits besides the budget, a manifest is of schema 3."""
    batch_flips_limit: float | None = None
    """Largest accepted share of answers that are others in company than alone."""

    def __post_init__(self) -> None:
        for name in ("budget", "delta", "bound", "agreement", *_LIMITS):
            value = getattr(self, name)
            if value is None:
                continue
            if not math.isfinite(value):
                raise ManifestError(f"gate.{name}={value} is not finite", field=f"gate.{name}")
            object.__setattr__(self, name, float(value))  # one number has one JSON

    @property
    def has_limits(self) -> bool:
        """Besides the budget."""
        return any(getattr(self, name) is not None for name in _LIMITS)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without limits that it does not have."""
        value = asdict(self)
        return {key: each for key, each in value.items() if key not in _LIMITS or each is not None}

    @classmethod
    def from_fields(cls, fields: Fields) -> GateResult:
        gate = cls(
            budget=fields.optional("budget", fields.number),
            samples=fields.integer("samples", minimum=0),
            delta=fields.optional("delta", fields.number),
            bound=fields.optional("bound", fields.number),
            agreement=fields.optional("agreement", fields.number),
            batch_invariant=fields.optional("batch_invariant", fields.boolean),
            reason=fields.text("reason"),
            **{name: fields.number(name) for name in _LIMITS if name in fields},
        )
        fields.done()
        return gate


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One optimised form of the same weights; one that was refused stays listed, without its file.

    `bytes` and `sha256` are those of `file`; `write_bundle` fills them.
    """

    name: str
    file: str | None
    format: str = "onnx"
    precision: str = "fp32"
    bytes: int = 0
    sha256: str = ""
    certified: bool = False
    gate: GateResult = field(default_factory=GateResult)

    def __post_init__(self) -> None:
        if not self.name:
            raise ManifestError("a variant has an empty name", field="variants")
        if self.format not in FORMATS:
            raise ManifestError(
                f"variant {self.name!r} has format {self.format!r}; "
                f"expected one of {', '.join(FORMATS)}",
                field="variants.format",
            )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "gate": self.gate.to_dict()}

    @classmethod
    def from_fields(cls, fields: Fields) -> Variant:
        variant = cls(
            name=fields.text("name"),
            file=fields.optional("file", fields.text),
            format=fields.choice("format", FORMATS),
            precision=fields.text("precision"),
            bytes=fields.integer("bytes", minimum=0),
            sha256=fields.text("sha256"),
            certified=fields.boolean("certified"),
            gate=GateResult.from_fields(fields.nested("gate")),
        )
        fields.done()
        return variant


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """The hash and the size of one file."""

    sha256: str
    bytes: int

    @classmethod
    def from_fields(cls, fields: Fields) -> FileEntry:
        entry = cls(sha256=fields.text("sha256"), bytes=fields.integer("bytes", minimum=0))
        if not _SHA256.fullmatch(entry.sha256):
            raise fields.error("sha256", "must be 64 hexadecimal digits")
        fields.done()
        return entry
