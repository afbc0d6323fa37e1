from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from optimize.passes.strip import strip, to_bytes


def branch(name: str) -> onnx.GraphProto:
    node = helper.make_node("Constant", [], [name], value_float=1.0, doc_string="/home/me/x.py")
    node.metadata_props.add(key="stack_trace", value='File "/home/me/x.py"')
    output = helper.make_tensor_value_info(name, TensorProto.FLOAT, [])
    return helper.make_graph([node], name, [], [output], doc_string="/home/me/x.py")


def model() -> onnx.ModelProto:
    node = helper.make_node(
        "If", ["flag"], ["y"], then_branch=branch("yes"), else_branch=branch("no")
    )
    node.metadata_props.add(key="stack_trace", value='File "/home/me/x.py"')
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [], doc_string="/home/me/x.py")
    flag.metadata_props.add(key="k", value="/home/me/x.py")
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [])
    graph = helper.make_graph([node], "main", [flag], [y])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    weight.doc_string = "/home/me/x.py"
    graph.initializer.append(weight)
    found = helper.make_model(graph, doc_string="/home/me/x.py")
    found.metadata_props.add(key="k", value="/home/me/x.py")
    return found


def test_strip_reaches_nested_graphs_values_and_initializers():
    dirty = model()
    assert b"/home/me" in to_bytes(dirty)
    strip(dirty)
    assert b"/home/me" not in to_bytes(dirty)


def test_strip_keeps_what_the_graph_computes():
    dirty = model()
    strip(dirty)
    onnx.checker.check_model(dirty)
    node = dirty.graph.node[0]
    assert [attribute.name for attribute in node.attribute] == ["else_branch", "then_branch"]
    assert node.attribute[0].g.node[0].attribute[0].f == 1.0


def test_strip_changes_nothing_when_repeated():
    dirty = model()
    strip(dirty)
    once = to_bytes(dirty)
    strip(dirty)
    assert to_bytes(dirty) == once
