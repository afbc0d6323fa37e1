"""Rewriter: an ONNX graph while nodes are replaced in it; constants are shared, leftovers go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from optimize.errors import OptimizeError
from optimize.passes.strip import strip, to_bytes

if TYPE_CHECKING:
    from optimize.reference import Array

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
_STANDARD = ("", "ai.onnx")
_VERSIONS = {MICROSOFT: 1}


class Rewriter:
    """Copies a graph node by node into a new list; what is emitted takes the order of emission."""

    def __init__(self, graph: bytes) -> None:
        self.model = onnx.load_model_from_string(graph)
        self.nodes = list(self.model.graph.node)
        """The graph as it was, in topological order."""
        self._initializers = {entry.name: entry for entry in self.model.graph.initializer}
        self._emitted: list[onnx.NodeProto] = []
        self._names = {name for node in self.nodes for name in (*node.input, *node.output)}
        self._names.update(self._initializers)

    def weight(self, name: str) -> Array | None:
        """The float32 matrix of that name; None if it is no constant, or no matrix."""
        tensor = self._initializers.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) != 2:
            return None
        return np.asarray(numpy_helper.to_array(tensor))

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return next(
            int(entry.version) for entry in self.model.opset_import if entry.domain in _STANDARD
        )

    def keep(self, node: onnx.NodeProto) -> None:
        self._emitted.append(node)

    def emit(
        self, operator: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any
    ) -> str:
        """Append a node that gives `output`; returns its name."""
        self._emitted.append(
            helper.make_node(
                operator, inputs, [output], name=f"{output}/{operator}", domain=domain, **attributes
            )
        )
        return output

    def constant(self, name: str, value: Array) -> str:
        """An initializer; asked for again under the same name, the first one is taken."""
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(value, name)
        return name

    def fresh(self, name: str) -> str:
        """`name`, or with a number behind it where the graph has that name already."""
        number, found = 0, name
        while found in self._names:
            number += 1
            found = f"{name}_{number}"
        self._names.add(found)
        return found

    def to_bytes(self) -> bytes:
        """The rewritten graph without unused constants. Raises OptimizeError if it is not valid."""
        graph = self.model.graph
        used = {name for node in self._emitted for name in node.input}
        used.update(value.name for value in graph.output)
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self._emitted)
        graph.initializer.extend(
            tensor for name, tensor in self._initializers.items() if name in used
        )
        imported = {entry.domain for entry in self.model.opset_import}
        for domain in sorted({node.domain for node in graph.node} - imported):
            self.model.opset_import.append(helper.make_opsetid(domain, _VERSIONS[domain]))
        strip(self.model)
        try:
            onnx.checker.check_model(self.model)
        except onnx.checker.ValidationError as error:
            raise OptimizeError(f"the rewritten graph is not valid: {error}") from error
        return to_bytes(self.model)
