"""Bundles of a few kilobytes, whose answers are easy to foretell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper

from bundle.preprocessing.config import ImageConfig
from bundle.preprocessing.image import ImagePreprocessor
from bundle.preprocessing.text import TextPreprocessor
from tests.tiny_bundle import classifier_parts, encode, serialize, text_config, tokenizer_json

if TYPE_CHECKING:
    from pathlib import Path

    from bundle.archive import Bundle

LABELS = ("dark", "middling", "bright")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "plot", "the", "was")
POISON = len(WORDS)
"""A token that the tokenizer knows and the table of vectors lacks: only the engine refuses it."""
MOODS = ("negative", "positive")
SIDE = 8


def value(name: str, kind: int, shape: list[Any]) -> Any:
    """A graph's input or output; a string in `shape` names a dynamic dimension."""
    return helper.make_tensor_value_info(name, kind, shape)


def image_bundle(folder: Path, *, name: str = "shades", seed: int = 0) -> Bundle:
    """Tells how bright a small grey picture is, by a random linear map beside its mean."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.01, (SIDE * SIDE, 3)).astype(np.float32)
    weights += np.array([-1, 0, 1], np.float32) / (SIDE * SIDE)
    model = serialize(
        [
            helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["real", "scale"], ["scaled"]),
            helper.make_node("Flatten", ["scaled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        ],
        inputs=[value("image", TensorProto.UINT8, ["batch", 1, SIDE, SIDE])],
        outputs=[value("logits", TensorProto.FLOAT, ["batch", 3])],
        weights={
            "scale": np.float32(25.0),
            "weights": weights,
            "bias": np.array([5, 0.5, -5], np.float32),
        },
    )
    samples = [encode(np.full((SIDE, SIDE), shade, np.uint8)) for shade in (0, 128, 255)]
    preprocessor = ImagePreprocessor(ImageConfig(height=SIDE, width=SIDE, channels=1))
    return classifier_parts(
        model, preprocessor, name=name, samples=samples, labels=LABELS, certified=True
    ).write(folder)


def text_bundle(folder: Path, *, name: str = "moods", max_length: int = 16) -> Bundle:
    """The mean of word vectors, padding left out, by a linear map."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(0, 1, (len(WORDS), 4)).astype(np.float32)
    model = serialize(
        [
            helper.make_node("Gather", ["vectors", "input_ids"], ["embedded"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
            helper.make_node("Mul", ["embedded", "mask3"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "middle"], ["summed"], keepdims=0),
            helper.make_node("ReduceSum", ["mask3", "middle"], ["count"], keepdims=0),
            helper.make_node("Div", ["summed", "count"], ["mean"]),
            helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        ],
        inputs=[
            value("input_ids", TensorProto.INT64, ["batch", "length"]),
            value("attention_mask", TensorProto.INT64, ["batch", "length"]),
        ],
        outputs=[value("logits", TensorProto.FLOAT, ["batch", 2])],
        weights={
            "vectors": vectors,
            "weights": rng.normal(0, 1, (4, 2)).astype(np.float32),
            "last": np.array([2], np.int64),
            "middle": np.array([1], np.int64),
        },
    )
    tokenizer = tokenizer_json((*WORDS, "poison"))
    return classifier_parts(
        model,
        TextPreprocessor(text_config(tokenizer, max_length=max_length), tokenizer),
        name=name,
        samples=["the film was good", "bad plot"],
        labels=MOODS,
        assets={"tokenizer.json": tokenizer},
        certified=True,
    ).write(folder)


def product_loop(side: int) -> Any:
    """The body of a loop that multiplies its state, (side, side), by `matrix` in every round."""
    return helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "matrix"], ["product"]),
            helper.make_node("Identity", ["keep_going"], ["still_going"]),
        ],
        "body",
        [
            value("iteration", TensorProto.INT64, []),
            value("keep_going", TensorProto.BOOL, []),
            value("state", TensorProto.FLOAT, [side, side]),
        ],
        [
            value("still_going", TensorProto.BOOL, []),
            value("product", TensorProto.FLOAT, [side, side]),
        ],
    )


def slow_onnx() -> bytes:
    """`work` int64 (N,) → `done` float32 (N,): as many matrix products as the largest asks for."""
    return serialize(
        [
            helper.make_node("ReduceMax", ["work"], ["rounds"], keepdims=0),
            helper.make_node(
                "Loop", ["rounds", "true", "matrix"], ["final"], body=product_loop(256)
            ),
            helper.make_node("ReduceMin", ["final"], ["least"], keepdims=0),
            helper.make_node("Mul", ["least", "zero"], ["nothing"]),
            helper.make_node("Cast", ["work"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["real", "nothing"], ["done"]),
        ],
        inputs=[value("work", TensorProto.INT64, ["batch"])],
        outputs=[value("done", TensorProto.FLOAT, ["batch"])],
        weights={
            "matrix": np.eye(256, dtype=np.float32),
            "true": np.array(True),
            "zero": np.float32(0),
        },
    )


def double_onnx(*, kind: int = TensorProto.FLOAT, shape: list[Any] | None = None) -> bytes:
    """`x` → `y` = x + x."""
    shape = ["batch", 4] if shape is None else shape
    return serialize(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        inputs=[value("x", kind, shape)],
        outputs=[value("y", kind, shape)],
        weights={},
    )


def negative_onnx() -> bytes:
    """`x` (2, 3) → `y` = -x: no batches, and finite whatever is finite."""
    return serialize(
        [helper.make_node("Neg", ["x"], ["y"])],
        inputs=[value("x", TensorProto.FLOAT, [2, 3])],
        outputs=[value("y", TensorProto.FLOAT, [2, 3])],
        weights={},
    )


def logarithm_onnx() -> bytes:
    """`x` → `y` = log(x): not finite where x is not positive."""
    return serialize(
        [helper.make_node("Log", ["x"], ["y"])],
        inputs=[value("x", TensorProto.FLOAT, ["batch", 2])],
        outputs=[value("y", TensorProto.FLOAT, ["batch", 2])],
        weights={},
    )


def identity_onnx(kinds: dict[str, int], *, batch: int | str = "batch") -> bytes:
    """`in_NAME` → `out_NAME`, (N, 2, 3), each of its own element type."""
    shape = [batch, 2, 3]
    return serialize(
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in kinds],
        inputs=[value(f"in_{name}", kind, shape) for name, kind in kinds.items()],
        outputs=[value(f"out_{name}", kind, shape) for name, kind in kinds.items()],
        weights={},
    )


def casting_onnx(*, batch: int | str = "batch") -> bytes:
    """bfloat16 `x` (N, 4) → float32 `wide`, the same numbers, and bfloat16 `back`, their bits."""
    shape, kind = [batch, 4], TensorProto.BFLOAT16
    return serialize(
        [
            helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["wide"], ["back"], to=kind),
        ],
        inputs=[value("x", kind, shape)],
        outputs=[value("wide", TensorProto.FLOAT, shape), value("back", kind, shape)],
        weights={},
    )
