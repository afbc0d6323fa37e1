"""Versions of `digits` that take long to load, each for another reason."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper

from bundle.preprocessing.image import ImagePreprocessor
from tests.followed_model import NAME
from tests.served_bundles import value
from tests.tiny_bundle import (
    IMAGE,
    LABELS,
    WORDS,
    Parts,
    classifier_parts,
    pictures,
    serialize,
    text_parts,
    tokenizer_json,
)

if TYPE_CHECKING:
    from typing import Any

SIZE = IMAGE.channels * IMAGE.height * IMAGE.width
WIDTH = 1000


def of_many_weights(*, mebibytes: int, seed: int) -> Parts:
    """A perceptron of as many layers as it takes."""
    random = np.random.default_rng(seed)
    layers = [SIZE, *[WIDTH] * max(2, mebibytes * 2**20 // (4 * WIDTH**2)), len(LABELS)]
    nodes: list[Any] = []
    weights: dict[str, Any] = {}
    name = "flat"
    for depth, (inputs, outputs) in enumerate(pairwise(layers)):
        matrix = random.normal(0, inputs**-0.5, (inputs, outputs)).astype(np.float32)
        weights[f"weights{depth}"] = matrix
        nodes.append(helper.make_node("MatMul", [name, f"weights{depth}"], [f"layer{depth}"]))
        name = f"layer{depth}"
    nodes.append(helper.make_node("Tanh", [name], ["logits"]))
    return _images(nodes, weights, labels=LABELS)


def of_many_labels(*, labels: int, seed: int) -> Parts:
    """A linear map, whose manifest names every label."""
    random = np.random.default_rng(seed)
    matrix = random.normal(0, 0.01, (SIZE, labels)).astype(np.float32)
    node = helper.make_node("MatMul", ["flat", "weights"], ["logits"])
    names = tuple(f"label {number}" for number in range(labels))
    return _images([node], {"weights": matrix}, labels=names)


def of_many_words(*, words: int, vocabulary: int, seed: int) -> Parts:
    """A text classifier; those of one `vocabulary` have the same tokenizer."""
    tokenizer = tokenizer_json((*WORDS, *(f"{vocabulary}x{number}" for number in range(words))))
    return text_parts(name=NAME, seed=seed, tokenizer=tokenizer)


def _images(nodes: list[Any], weights: dict[str, Any], *, labels: tuple[str, ...]) -> Parts:
    """A classifier of pictures, from `flat` to `logits`."""
    shape = ["batch", IMAGE.channels, IMAGE.height, IMAGE.width]
    model = serialize(
        [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["flat"]),
            *nodes,
        ],
        inputs=[value("image", TensorProto.UINT8, shape)],
        outputs=[value("logits", TensorProto.FLOAT, ["batch", len(labels)])],
        weights=weights,
    )
    return classifier_parts(
        model, ImagePreprocessor(IMAGE), name=NAME, samples=pictures(2), labels=labels
    )
