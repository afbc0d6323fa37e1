"""What every pass over an ONNX graph is, and what it may look at besides the graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from optimize.reference import Tensors


CALIBRATION_SPLIT = "train"
TUNING_SPLIT = "val"
FLOAT32 = "float32"
"""A pass's note of what it left in float32, of how many layers:
`{"of": 9, "layers": [{"node": "…", "weight": "…"}]}`, the weight null where there is none.
"""
LEARNED_FROM = (CALIBRATION_SPLIT, TUNING_SPLIT)
"""The splits of which a variant may be made: real samples of these, and nothing made up."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Samples that a pass may learn ranges from, and where they come from."""

    split: str
    """The split that they are; the gate refuses what was calibrated on anything but real data."""
    fingerprint: str
    """Of the raw samples and their order."""
    samples: int
    """0 where none was left, and then reading them raises OptimizeError."""
    batches: Callable[[], Iterator[Tensors]]
    """Anew at every call. Texts are padded to one length (percentiles need equal shapes)."""
    form: Mapping[str, Any] = field(default_factory=dict)
    """How the raw samples become batches, as JSON: what else the ranges depend on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tuning:
    """Samples on which a pass may choose among its options; the gate sees none of them."""

    split: str
    fingerprint: str
    samples: int
    batches: Callable[[], Iterator[Tensors]]
    form: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TransformerShape:
    """What ONNX Runtime's transformer fusion must be told."""

    heads: int
    hidden_size: int


def _unheard(name: str, value: object) -> None:
    """Where nobody asks what a pass has chosen."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What a pass may look at besides the graph."""

    calibration: Calibration
    tuning: Tuning
    transformer: TransformerShape | None = None
    """None for models that are no transformers."""
    threads: int | None = None
    note: Callable[[str, object], None] = _unheard
    """Takes by name, as JSON, what a pass has chosen, for the lineage and the report."""


class GraphPass(Protocol):
    """ONNX bytes → ONNX bytes, depending on nothing but them, the parameters and the material."""

    learns: ClassVar[bool]
    """Whether it looks at the material; else the result does not depend on it."""

    @property
    def name(self) -> str:
        """One word, as in the lineage and in a cache key."""

    @property
    def version(self) -> int:
        """Raised whenever the same input would give another result."""

    def parameters(self) -> Mapping[str, Any]:
        """Everything else that the result depends on, as JSON values."""

    def run(self, graph: bytes, material: Material) -> bytes:
        """Raises OptimizeError, with its reason, if it cannot be applied to this graph."""
