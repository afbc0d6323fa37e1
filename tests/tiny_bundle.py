"""The smallest real models, tokenizers and bundles, for tests that need one to stand on."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from bundle.archive import Bundle, write_bundle
from bundle.engine.onnx import OnnxEngine
from bundle.golden import write_golden
from bundle.manifest import Manifest, TensorSpec, Variant
from bundle.preprocessing.config import ImageConfig, TextConfig
from bundle.preprocessing.image import ImagePreprocessor
from bundle.preprocessing.text import TextPreprocessor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bundle.preprocessing.preprocessor import DataPreprocessor

LABELS = ("cat", "dog", "owl")
IMAGE = ImageConfig(height=6, width=5, channels=3)
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "the", "##s", "é")
LOGITS = TensorSpec(name="logits", dtype="float32", shape=(-1, len(LABELS)))


def serialize(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: Any, *, opset: int = 17
) -> bytes:
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def image_model(config: ImageConfig = IMAGE, *, batch: int | str = "batch", seed: int = 0) -> bytes:
    """A linear classifier of uint8 pixels."""
    size = config.channels * config.height * config.width
    weights = np.random.default_rng(seed).normal(0, 0.01, (size, len(LABELS))).astype(np.float32)
    shape = [batch, config.channels, config.height, config.width]
    return serialize(
        [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, len(LABELS)])],
        {"weights": weights},
    )


def text_model(*, seed: int = 0) -> bytes:
    """The masked mean of word vectors."""
    table = np.random.default_rng(seed).normal(0, 1, (len(WORDS), len(LABELS))).astype(np.float32)
    shape = ["batch", "sequence"]
    return serialize(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
            helper.make_node("Cast", ["attention_mask"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["floats", "last"], ["mask"]),
            helper.make_node("Mul", ["vectors", "mask"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["mask", "middle"], ["count"], keepdims=0),
            helper.make_node("Div", ["sum", "count"], ["logits"]),
        ],
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, shape),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        {"table": table, "last": np.array([2]), "middle": np.array([1])},
    )


def tensor_model(
    *, batch: int | str = "batch", operator: str = "Neg", dtype: int = TensorProto.FLOAT
) -> bytes:
    """One operator on x (batch, 4); y has x's type and shape."""
    return serialize(
        [helper.make_node(operator, ["x"], ["y"])],
        [helper.make_tensor_value_info("x", dtype, [batch, 4])],
        [helper.make_tensor_value_info("y", dtype, [batch, 4])],
        {},
    )


def tokenizer_json(
    words: Sequence[str] = WORDS, *, truncation: int | None = None, padding: int | None = None
) -> bytes:
    """A WordPiece tokenizer of a few words, with whatever a training run left in its settings.

    The first four words are padding, unknown, beginning and end.
    """
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    if truncation is not None:
        tokenizer.enable_truncation(truncation)
    if padding is not None:
        tokenizer.enable_padding(length=padding, pad_id=0, pad_token="[PAD]")
    return tokenizer.to_str().encode()


def text_config(tokenizer: bytes | None = None, **changes: Any) -> TextConfig:
    digest = hashlib.sha256(tokenizer or tokenizer_json()).hexdigest()
    return TextConfig(**{"max_length": 8, "tokenizer_sha256": digest, **changes})


def encode(array: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def pictures(count: int, *, seed: int = 0, size: tuple[int, int] = (9, 7)) -> list[bytes]:
    """PNG files of random pixels; `size` is (height, width)."""
    random = np.random.default_rng(seed)
    return [encode(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(count)]


@dataclass(frozen=True)
class Parts:
    """What `write_bundle` takes."""

    manifest: Manifest
    files: dict[str, bytes | Path]

    def write(self, directory: Path, *, overwrite: bool = False) -> Bundle:
        return write_bundle(
            directory, manifest=self.manifest, files=self.files, overwrite=overwrite
        )


def image_parts(*, name: str = "digits", seed: int = 0, **lineage: Any) -> Parts:
    """An image classifier with golden answers, ready to be written."""
    return classifier_parts(
        image_model(seed=seed),
        ImagePreprocessor(IMAGE),
        name=name,
        samples=pictures(3, seed=seed),
        lineage=lineage,
    )


def text_parts(
    *, name: str = "reviews", seed: int = 0, tokenizer: bytes | None = None, **lineage: Any
) -> Parts:
    """A text classifier with golden answers and its tokenizer."""
    tokenizer = tokenizer or tokenizer_json()
    return classifier_parts(
        text_model(seed=seed),
        TextPreprocessor(text_config(tokenizer), tokenizer),
        name=name,
        samples=["the good film", "bad"],
        assets={"tokenizer.json": tokenizer},
        lineage=lineage,
    )


def classifier_parts(
    model: bytes,
    preprocessor: DataPreprocessor,
    *,
    name: str,
    samples: list[Any],
    labels: tuple[str, ...] = LABELS,
    assets: Mapping[str, bytes] | None = None,
    lineage: Mapping[str, Any] | None = None,
    certified: bool = False,
) -> Parts:
    """Any model that gives `logits`, with its golden answers to all samples and to the first."""
    engine = OnnxEngine(model, provider="cpu", threads=1)
    rows = [preprocessor(sample) for sample in samples]
    batches = [preprocessor.collate(rows), preprocessor.collate(rows[:1])]
    golden, golden_files = write_golden(
        [(batch, engine.predict_batch(batch)) for batch in batches],
        samples=samples,
        atol=1e-5,
        rtol=1e-5,
    )
    manifest = Manifest(
        name=name,
        task=f"{preprocessor.config.kind}-classification",
        labels=labels,
        inputs=preprocessor.input_specs,
        outputs=(replace(LOGITS, shape=(-1, len(labels))),),
        preprocessing=preprocessor.config,
        default_variant="fp32",
        variants=(Variant(name="fp32", file="model.onnx", certified=certified),),
        golden=golden,
        lineage=json.loads(json.dumps(lineage or {})),
    )
    return Parts(manifest, {"model.onnx": model, **golden_files, **(assets or {})})
