"""Golden: what a manifest says of its golden answers, and how far they may be missed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bundle.errors import ManifestError

if TYPE_CHECKING:
    from bundle.fields import Fields


@dataclass(frozen=True, kw_only=True)
class GoldenAnswers:
    """What another variant than the default answers to the golden inputs."""

    tensors: str
    atol: float
    rtol: float

    def __post_init__(self) -> None:
        _check_tolerances(self, "golden.answers")

    @classmethod
    def from_fields(cls, fields: Fields) -> GoldenAnswers:
        answers = cls(
            tensors=fields.text("tensors"), atol=fields.number("atol"), rtol=fields.number("rtol")
        )
        fields.done()
        return answers


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Inputs with the default variant's answers, which a server must reproduce."""

    tensors: str = "golden.npz"
    samples: str | None = None
    count: int
    """Number of batches in `tensors`."""
    atol: float
    rtol: float
    answers: dict[str, GoldenAnswers] = field(default_factory=dict)
    """Those of other variants, by name. With any, a manifest is of schema 2 at least."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ManifestError(
                f"golden.count={self.count} must be 1 or more", field="golden.count"
            )
        _check_tolerances(self, "golden")

    def to_dict(self) -> dict[str, Any]:
        value = asdict(self)
        if not self.answers:
            del value["answers"]
        return value

    @classmethod
    def from_fields(cls, fields: Fields) -> Golden:
        answers: dict[str, GoldenAnswers] = {}
        if "answers" in fields:
            others = fields.nested("answers")
            answers = {name: GoldenAnswers.from_fields(others.nested(name)) for name in others}
        golden = cls(
            tensors=fields.text("tensors"),
            samples=fields.optional("samples", fields.text),
            count=fields.integer("count"),
            atol=fields.number("atol"),
            rtol=fields.number("rtol"),
            answers=answers,
        )
        fields.done()
        return golden


def _check_tolerances(entry: Golden | GoldenAnswers, where: str) -> None:
    for name in ("atol", "rtol"):
        value = getattr(entry, name)
        if not math.isfinite(value) or value < 0:
            raise ManifestError(
                f"{where}.{name}={value} must be finite and not negative", field=f"{where}.{name}"
            )
        object.__setattr__(entry, name, float(value))  # one number has one JSON
