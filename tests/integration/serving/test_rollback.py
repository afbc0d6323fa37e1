"""A challenger that is slower than the champion loses its traffic by itself."""

from __future__ import annotations

import time

import numpy as np
import pytest
from onnx import TensorProto, helper

from bundle.preprocessing.image import ImagePreprocessor
from tests.followed_model import NAME, FollowedModel, ask, events, versions
from tests.running_server import eventually
from tests.served_bundles import product_loop, value
from tests.tiny_bundle import IMAGE, LABELS, classifier_parts, pictures, serialize


def slow_parts(rounds: int):
    """An image classifier that multiplies matrices for a while before it answers."""
    size = IMAGE.channels * IMAGE.height * IMAGE.width
    shape = ["batch", IMAGE.channels, IMAGE.height, IMAGE.width]
    model = serialize(
        [
            helper.make_node(
                "Loop", ["rounds", "true", "matrix"], ["final"], body=product_loop(128)
            ),
            helper.make_node("ReduceMin", ["final"], ["least"], keepdims=0),
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["products"]),
            helper.make_node("Add", ["products", "least"], ["logits"]),
        ],
        inputs=[value("image", TensorProto.UINT8, shape)],
        outputs=[value("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        weights={
            "rounds": np.array(rounds, np.int64),
            "true": np.array(True),
            "matrix": np.zeros((128, 128), np.float32),
            "weights": np.full((size, len(LABELS)), 1e-4, np.float32),
        },
    )
    return classifier_parts(model, ImagePreprocessor(IMAGE), name=NAME, samples=pictures(2))


@pytest.mark.slow
def test_a_slower_challenger_loses_its_traffic_here_and_in_the_registry(tmp_path, empty_registry):
    model = FollowedModel.create(tmp_path, empty_registry, versions=1)
    number = model.register(slow_parts(400))
    model.registry.split(NAME, {1: 50, number: 50})
    with (
        model.serve("--api-processes", "2", "--batch-size", "1") as server,
        server.client() as client,
    ):
        began = time.monotonic()

        def rolled_back() -> bool:
            assert ask(client).status_code == 200
            return bool(events(server, "a challenger is rolled back"))

        eventually(rolled_back, seconds=120)
        print(f"rolled back after {time.monotonic() - began:.1f} s")
        eventually(lambda: set(versions(client, range(20))) == {"1"})
        eventually(lambda: dict(model.registry.routing(NAME).shares) == {1: 100.0})
        last = model.registry.history(NAME)[-1]
        assert (last.action, last.who) == ("rollback", "guardrail")
        name = "trainyard_rollbacks_total"
        assert server.metric(name, model=NAME, version=str(number)) == 1
        [event] = events(server, "a challenger is rolled back")
        assert "percentile" in event["reason"]
        model.registry.split(NAME, {1: 50, number: 50})
        eventually(lambda: len(versions(client, range(20))) == 2)
