"""Bundles of a few kilobytes, whose answers are easy to foretell."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from bundle.archive import Bundle, write_bundle
from bundle.engine.onnx import OnnxEngine
from bundle.golden import write_golden
from bundle.manifest import Manifest, Variant
from bundle.preprocessing.config import ImageConfig, PreprocessingConfig, TextConfig
from bundle.preprocessing.select import create_preprocessor

if TYPE_CHECKING:
    from pathlib import Path

LABELS = ("dark", "middling", "bright")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "plot", "the", "was")
MOODS = ("negative", "positive")
SIDE = 8


def make_onnx(
    nodes: list[Any],
    *,
    inputs: list[Any],
    outputs: list[Any],
    constants: dict[str, Any] | None = None,
) -> bytes:
    """A model file of IR version 8, opset 17."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        outputs,
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    return model.SerializeToString()


def value(name: str, kind: int, shape: list[Any]) -> Any:
    """A graph's input or output; a string in `shape` names a dynamic dimension."""
    return helper.make_tensor_value_info(name, kind, shape)


def image_bundle(folder: Path, *, name: str = "shades", seed: int = 0) -> Bundle:
    """Tells how bright a small grey picture is, by a random linear map beside its mean."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.01, (SIDE * SIDE, 3)).astype(np.float32)
    weights += np.array([-1, 0, 1], np.float32) / (SIDE * SIDE)
    model = make_onnx(
        [
            helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["real", "scale"], ["scaled"]),
            helper.make_node("Flatten", ["scaled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        ],
        inputs=[value("image", TensorProto.UINT8, ["batch", 1, SIDE, SIDE])],
        outputs=[value("logits", TensorProto.FLOAT, ["batch", 3])],
        constants={
            "scale": np.float32(25.0),
            "weights": weights,
            "bias": np.array([5, 0.5, -5], np.float32),
        },
    )
    samples = [png(np.full((SIDE, SIDE), shade, np.uint8)) for shade in (0, 128, 255)]
    return _write(
        folder, name=name, model=model, labels=LABELS, samples=samples,
        preprocessing=ImageConfig(height=SIDE, width=SIDE, channels=1), assets={},
    )  # fmt: skip


def text_bundle(folder: Path, *, name: str = "moods", max_length: int = 16) -> Bundle:
    """The mean of word vectors, padding left out, by a linear map."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(0, 1, (len(WORDS), 4)).astype(np.float32)
    model = make_onnx(
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
        constants={
            "vectors": vectors,
            "weights": rng.normal(0, 1, (4, 2)).astype(np.float32),
            "last": np.array([2], np.int64),
            "middle": np.array([1], np.int64),
        },
    )
    tokenizer = tokenizer_json()
    return _write(
        folder, name=name, model=model, labels=MOODS,
        samples=["the film was good", "bad plot"],
        preprocessing=TextConfig(
            max_length=max_length, tokenizer_sha256=hashlib.sha256(tokenizer).hexdigest()
        ),
        assets={"tokenizer.json": tokenizer},
    )  # fmt: skip


def slow_onnx() -> bytes:
    """`work` int64 (N,) → `done` float32 (N,): as many matrix products as the largest asks for."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "matrix"], ["product"]),
            helper.make_node("Identity", ["keep_going"], ["still_going"]),
        ],
        "body",
        [
            value("iteration", TensorProto.INT64, []),
            value("keep_going", TensorProto.BOOL, []),
            value("state", TensorProto.FLOAT, [256, 256]),
        ],
        [
            value("still_going", TensorProto.BOOL, []),
            value("product", TensorProto.FLOAT, [256, 256]),
        ],
    )
    return make_onnx(
        [
            helper.make_node("ReduceMax", ["work"], ["rounds"], keepdims=0),
            helper.make_node("Loop", ["rounds", "true", "matrix"], ["final"], body=body),
            helper.make_node("ReduceMin", ["final"], ["least"], keepdims=0),
            helper.make_node("Mul", ["least", "zero"], ["nothing"]),
            helper.make_node("Cast", ["work"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["real", "nothing"], ["done"]),
        ],
        inputs=[value("work", TensorProto.INT64, ["batch"])],
        outputs=[value("done", TensorProto.FLOAT, ["batch"])],
        constants={
            "matrix": np.eye(256, dtype=np.float32),
            "true": np.array(True),
            "zero": np.float32(0),
        },
    )


def double_onnx(*, kind: int = TensorProto.FLOAT, shape: list[Any] | None = None) -> bytes:
    """`x` → `y` = x + x."""
    shape = ["batch", 4] if shape is None else shape
    return make_onnx(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        inputs=[value("x", kind, shape)],
        outputs=[value("y", kind, shape)],
    )


def logarithm_onnx() -> bytes:
    """`x` → `y` = log(x): not finite where x is not positive."""
    return make_onnx(
        [helper.make_node("Log", ["x"], ["y"])],
        inputs=[value("x", TensorProto.FLOAT, ["batch", 2])],
        outputs=[value("y", TensorProto.FLOAT, ["batch", 2])],
    )


def png(pixels: np.ndarray[Any, Any], kind: str = "PNG") -> bytes:
    """A uint8 picture as a file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=kind)
    return stream.getvalue()


def tokenizer_json() -> bytes:
    """A word-level tokenizer of WORDS."""
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return tokenizer.to_str().encode()


def _write(
    folder: Path,
    *,
    name: str,
    model: bytes,
    labels: tuple[str, ...],
    samples: list[Any],
    preprocessing: PreprocessingConfig,
    assets: dict[str, bytes],
) -> Bundle:
    preprocessor = create_preprocessor(preprocessing, assets=assets)
    inputs = preprocessor.collate([preprocessor(sample) for sample in samples])
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / f"{folder.name}.onnx"
    file.write_bytes(model)
    engine = OnnxEngine(file, provider="cpu", threads=1)
    golden, golden_files = write_golden(
        [(inputs, engine.predict_batch(inputs))], samples=samples, atol=1e-4, rtol=1e-3
    )
    manifest = Manifest(
        name=name,
        task="image-classification" if preprocessing.kind == "image" else "text-classification",
        labels=labels,
        inputs=engine.inputs,
        outputs=engine.outputs,
        preprocessing=preprocessing,
        default_variant="fp32",
        variants=(Variant(name="fp32", file="model.onnx", certified=True),),
        golden=golden,
    )
    return write_bundle(
        folder, manifest=manifest, files={"model.onnx": model, **assets, **golden_files}
    )
