"""Transformer fusion: attention and GELU, and for GPUs layer normalisation, each as one operator.

The fused operators are ONNX Runtime's own (domain com.microsoft). Its fusion recognises a BERT
only as the older exporter writes it with `eager` attention, and leaves anything else as it is
without a word; so what was fused is counted here.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model

from optimize.errors import OptimizeError
from optimize.passes.quiet import quiet
from optimize.passes.strip import prune_imports, strip, to_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from optimize.passes.base import Material

_ATTENTION = ("Attention", "MultiHeadAttention")
_NORM = "SkipLayerNormalization"
_PLAIN_NORM = "LayerNormalization"


@dataclass(frozen=True, kw_only=True)
class Fuse:
    """Replace a transformer's layers by ONNX Runtime's fused operators, in float32."""

    learns: ClassVar[bool] = True
    name: str = "fuse"
    version: int = 2
    residuals: bool = False
    """Fuse each normalisation with the sums before it. ONNX Runtime's kernel of that is fast on
    GPUs, and on CPUs several times slower than the sums and a LayerNormalization."""
    for_quantization: bool = False
    """Leave the projections of query, key and value as MatMuls and the embeddings as Gathers, which
    later passes can quantize; otherwise the fused operators swallow them."""

    def parameters(self) -> Mapping[str, Any]:
        return {"residuals": self.residuals, "for_quantization": self.for_quantization}

    def run(self, graph: bytes, material: Material) -> bytes:
        """Raises OptimizeError if not every layer that should be there was recognised."""
        shape = material.transformer
        if shape is None:
            raise OptimizeError("there is nothing to fuse: the model is no transformer")
        options = FusionOptions("bert")
        options.use_multi_head_attention = self.for_quantization
        options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = self.residuals
        options.enable_embed_layer_norm = not self.for_quantization
        # The mask as it is: the alternative, its sum, is right for padding at the end only.
        options.use_raw_attention_mask()
        with tempfile.TemporaryDirectory() as folder, quiet():
            # From a file: of a graph in memory it hides the constants from its own shape inference.
            path = Path(folder) / "graph.onnx"
            path.write_bytes(graph)
            fused = optimize_model(
                str(path),
                model_type="bert",
                num_heads=shape.heads,
                hidden_size=shape.hidden_size,
                optimization_options=options,
                opt_level=1,
            ).model
        _check(fused, norm=_NORM if self.residuals else _PLAIN_NORM)
        prune_imports(fused)
        strip(fused)
        return to_bytes(fused)


def _check(model: onnx.ModelProto, *, norm: str) -> None:
    """A graph in which attention is left unfused runs no faster; say so instead."""
    found = Counter(node.op_type for node in model.graph.node)
    attention = sum(found[name] for name in _ATTENTION)
    if not attention or found["Softmax"]:
        raise OptimizeError(
            f"ONNX Runtime's fusion recognised {attention} attention layers and left "
            f"{found['Softmax']} as they were",
            field="optimize.exporter",
            remedy="it recognises a BERT that optimize.exporter=torchscript wrote",
        )
    if found[norm] < attention:
        raise OptimizeError(
            f"ONNX Runtime's fusion recognised {attention} attention layers, but only "
            f"{found[norm]} normalisations after a residual",
            field="optimize.exporter",
        )
