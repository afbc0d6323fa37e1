"""Remove from an ONNX graph what its exporter left for debugging.

The exporters write stack traces with the paths of the machine they ran on (`metadata_props`,
`doc_string`). They make the bytes depend on where the export ran and tell the world about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

_STANDARD = {"ai.onnx": ""}
_DEBUG_FIELDS = ("doc_string", "metadata_props")


def strip(model: onnx.ModelProto) -> None:
    """Clear every doc string and metadata entry of `model`, its graphs, nodes and functions."""
    pending: list[Any] = [model]
    while pending:
        message = pending.pop()
        for field, value in message.ListFields():
            if field.name in _DEBUG_FIELDS:
                message.ClearField(field.name)
            elif field.message_type is not None:
                pending.extend([value] if hasattr(value, "ListFields") else value)


def prune_imports(model: onnx.ModelProto) -> None:
    """Leave only the operator sets that a node uses: ONNX Runtime imports all that it knows."""
    used = {_STANDARD.get(node.domain, node.domain) for node in model.graph.node}
    kept = [
        entry
        for entry in model.opset_import
        if _STANDARD.get(entry.domain, entry.domain) in {"", *used}
    ]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Serialized so that equal models are equal bytes."""
    return bytes(model.SerializeToString(deterministic=True))
