"""Versions of `digits` that do worse than the others, each in its own way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper

from bundle.preprocessing.image import ImagePreprocessor
from tests.followed_model import NAME
from tests.served_bundles import product_loop, value
from tests.tiny_bundle import IMAGE, LABELS, Parts, classifier_parts, pictures, serialize

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZE = IMAGE.channels * IMAGE.height * IMAGE.width
WEIGHTS = np.random.default_rng(7).normal(0, 0.01, (SIZE, len(LABELS))).astype(np.float32)
UNLUCKY = 200
"""The first pixel of a picture from which on `failing_parts` has no answer."""


def bright(sample: dict[str, Any], value: int) -> dict[str, Any]:
    """The same picture, whose first pixel has this value."""
    pixels = [[list(row) for row in channel] for channel in sample["inputs"]["image"]]
    pixels[0][0][0] = value
    return {"inputs": {"image": pixels}}


def slow_parts(rounds: int) -> Parts:
    """Multiplies matrices for a while before it answers."""
    return _classifier(_LOOP, {"rounds": np.array(rounds, np.int64), **_LOOPED})


def uneven_parts(rounds: int) -> Parts:
    """The same, for a while that its first pixel decides, as inputs of various lengths would: two
    thirds of all pixels are within 40 percent of so many rounds.
    """
    spread = np.exp(0.35 * np.random.default_rng(5).normal(size=256))
    found = helper.make_node("ReduceMax", ["found"], ["rounds"], keepdims=0)
    table = np.rint(rounds * spread / np.median(spread)).astype(np.int64)
    return _classifier(
        [*_look_up("found"), found, *_LOOP], {"table": table, **_LOOKED_UP, **_LOOPED}
    )


def growing_parts(rounds: int) -> Parts:
    """Takes so many hyperbolic tangents of each sample before it answers: the time of a batch grows
    with its size.
    """
    wide = 20_000
    nodes = [
        helper.make_node("MatMul", ["flat", "widen"], ["wide0"]),
        *(helper.make_node("Tanh", [f"wide{step}"], [f"wide{step + 1}"]) for step in range(rounds)),
        helper.make_node("ReduceMin", [f"wide{rounds}"], ["least"], keepdims=0),
        helper.make_node("Mul", ["least", "none"], ["nothing"]),
    ]
    widen = np.random.default_rng(8).normal(0, 0.01, (SIZE, wide)).astype(np.float32)
    return _classifier(nodes, {"widen": widen, "none": np.zeros((), np.float32)})


def failing_parts() -> Parts:
    """Looks its first pixel up in a table that is too short for bright ones."""
    return _classifier(
        _look_up("nothing"),
        {"table": np.zeros(UNLUCKY, np.float32), **_LOOKED_UP},
        samples=[picture for picture in pictures(20) if _works(picture)][:2],
    )


_LOOP = [
    helper.make_node("Loop", ["rounds", "true", "matrix"], ["final"], body=product_loop(128)),
    helper.make_node("ReduceMin", ["final"], ["nothing"], keepdims=0),
]
_LOOPED = {"true": np.array(True), "matrix": np.zeros((128, 128), np.float32)}


def _look_up(name: str) -> list[Any]:
    """The entry of `table` that the first pixel names."""
    return [
        helper.make_node("Slice", ["flat", "zero", "one", "axis"], ["first"]),
        helper.make_node("Cast", ["first"], ["entry"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "entry"], [name]),
    ]


_LOOKED_UP = {
    "zero": np.array([0], np.int64),
    "one": np.array([1], np.int64),
    "axis": np.array([1], np.int64),
}


def _classifier(
    nodes: list[Any], weights: Mapping[str, Any], *, samples: list[bytes] | None = None
) -> Parts:
    """An image classifier that adds `nothing`, which the nodes make, to its logits."""
    shape = ["batch", IMAGE.channels, IMAGE.height, IMAGE.width]
    model = serialize(
        [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["flat"]),
            *nodes,
            helper.make_node("MatMul", ["flat", "weights"], ["products"]),
            helper.make_node("Add", ["products", "nothing"], ["logits"]),
        ],
        inputs=[value("image", TensorProto.UINT8, shape)],
        outputs=[value("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        weights={**weights, "weights": WEIGHTS},
    )
    return classifier_parts(
        model, ImagePreprocessor(IMAGE), name=NAME, samples=samples or pictures(2)
    )


def _works(picture: bytes) -> bool:
    image = ImagePreprocessor(IMAGE)(picture)["image"]
    return bool(image.flat[0] < UNLUCKY)
