"""Mixed precision: everything quantized but the layers that would move the answers most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import onnx

from optimize.errors import OptimizeError
from optimize.passes.base import FLOAT32, GraphPass
from optimize.passes.samples import check_provenance
from optimize.passes.sensitivity import distortions, most_sensitive

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from optimize.passes.base import Material, Tuning
    from optimize.reference import Tensors


class Quantizer(GraphPass, Protocol):
    """A pass that can leave any of its nodes in float32."""

    def candidates(self, graph: bytes) -> tuple[str, ...]:
        """Names of the nodes that it quantizes, in the graph's order."""

    def prepare(self, graph: bytes, material: Material) -> Callable[[Collection[str]], bytes]:
        """Learn what is to be learned, once; then from the nodes left out to the graph."""


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """`quantizer` on all nodes but the most sensitive, which are searched for on tuning samples."""

    learns: ClassVar[bool] = True
    quantizer: Quantizer
    name: str = "mixed"
    version: int = 2
    share: float = 0.5
    """Of the distortion that all nodes together make: how much must go, 0 to 1."""
    limit: float = 0.25
    """Largest share of the nodes that stay in float32, 0 to 1."""
    samples: int = 64
    """Tuning samples that the search looks at."""

    def parameters(self) -> Mapping[str, Any]:
        return {
            "quantizer": {
                "name": self.quantizer.name,
                "version": self.quantizer.version,
                **self.quantizer.parameters(),
            },
            "share": self.share,
            "limit": self.limit,
            "samples": self.samples,
        }

    def run(self, graph: bytes, material: Material) -> bytes:
        """Raises OptimizeError for tuning samples of unknown origin, where no node would stay as it
        is, and what `quantizer` does.
        """
        check_provenance(material.tuning)
        quantize = self.quantizer.prepare(graph, material)
        candidates = self.quantizer.candidates(graph)
        found = distortions(
            graph,
            quantize,
            candidates=candidates,
            batches=list(_first(material.tuning, self.samples)),
            threads=material.threads,
        )
        kept = most_sensitive(found, share=self.share, limit=self.limit)
        if not kept:
            raise OptimizeError(
                f"none of the {len(candidates)} layers stays in float32, of which {self.limit:.0%} "
                f"may and only what moves the answers does: it would be {self.quantizer.name} alone"
            )
        mixed = quantize(kept)
        layers = _layers(mixed, kept)
        material.note(FLOAT32, {"of": len(candidates), "layers": layers})
        return mixed


def _layers(graph: bytes, names: Collection[str]) -> list[dict[str, str | None]]:
    """Those nodes of the graph, and the weights that they have."""
    content = onnx.load_model_from_string(graph).graph
    weights = {tensor.name for tensor in content.initializer if len(tensor.dims) > 1}
    return [
        {"node": node.name, "weight": next((each for each in node.input if each in weights), None)}
        for node in content.node
        if node.name in names
    ]


def _first(tuning: Tuning, samples: int) -> Iterator[Tensors]:
    """Batches until `samples` are together, the last one cut."""
    left = samples
    for batch in tuning.batches():
        rows = len(next(iter(batch.values())))
        yield {name: array[:left] for name, array in batch.items()}
        left -= rows
        if left <= 0:
            return
