"""Property 10: the exported graph answers as the model does, whatever shape and values it meets."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bundle.engine.onnx import OnnxEngine
from bundle.tensor import TensorSpec
from optimize.passes.export import ExportPass, Lane
from optimize.reference import TorchReference
from trainer.models.bert import Bert
from trainer.models.mlp import MLP
from trainer.models.resnet import ResNet

if TYPE_CHECKING:
    from pathlib import Path

TOLERANCE = 1e-4
CLASSES = 3
VOCABULARY = 50
MAX_LENGTH = 32
PIXELS = TensorSpec(name="image", dtype="uint8", shape=(-1, 1, 8, 8))
TOKENS = [
    TensorSpec(name=name, dtype="int64", shape=(-1, -1)) for name in ("input_ids", "attention_mask")
]

IMAGES = st.integers(1, 9).flatmap(lambda size: arrays(np.uint8, (size, 1, 8, 8)))


@st.composite
def texts(draw: Any) -> dict[str, np.ndarray]:
    """Padded batches: every row has at least one token."""
    size, length = draw(st.integers(1, 9)), draw(st.integers(1, MAX_LENGTH))
    lengths = draw(st.lists(st.integers(1, length), min_size=size, max_size=size))
    ids = draw(arrays(np.int64, (size, length), elements=st.integers(0, VOCABULARY - 1)))
    mask = (np.arange(length) < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": ids, "attention_mask": mask}


def convolution() -> torch.nn.Module:
    return ResNet(num_classes=CLASSES, channels=1, blocks=[1, 1], widths=[4, 8], small_stem=True)


def perceptron() -> torch.nn.Module:
    return MLP(num_classes=CLASSES, channels=1, height=8, width=8, hidden=[16])


def encoder() -> torch.nn.Module:
    return Bert(
        num_classes=CLASSES,
        vocabulary_size=VOCABULARY,
        pad_id=0,
        max_length=MAX_LENGTH,
        width=16,
        layers=2,
        heads=2,
        feed_forward=32,
        max_positions=MAX_LENGTH,
    )


@pytest.fixture(scope="module", params=list(Lane))
def lane(request: pytest.FixtureRequest) -> Lane:
    return request.param


@pytest.fixture(scope="module")
def exported(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Build, export and load a model once for all examples."""
    folder: Path = tmp_path_factory.mktemp("graphs")

    @functools.cache
    def load(build: Any) -> tuple[TorchReference, OnnxEngine]:
        torch.manual_seed(0)
        model = build().eval()
        text = build is encoder
        inputs = TOKENS if text else [PIXELS]
        ones = torch.ones(2, 8, dtype=torch.int64)
        pixels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
        path = folder / f"{build.__name__}-{lane}.onnx"
        path.write_bytes(
            ExportPass(lane=lane, max_length=MAX_LENGTH if text else None).run(
                model,
                {spec.name: ones for spec in TOKENS} if text else {"image": pixels},
                inputs=inputs,
                output=TensorSpec(name="logits", dtype="float32", shape=(-1, CLASSES)),
            )
        )
        return TorchReference(model), OnnxEngine(path, provider="cpu", threads=1)

    return load


def check(exported: Any, build: Any, batch: dict[str, np.ndarray]) -> None:
    reference, engine = exported(build)
    answer = engine.predict_batch(batch)["logits"]
    assert answer.shape == (len(next(iter(batch.values()))), CLASSES)
    np.testing.assert_allclose(answer, reference(batch), rtol=0, atol=TOLERANCE)


@settings(max_examples=40)
@given(images=IMAGES)
def test_property_10_convolution_answers_alike_when_exported(exported, images):
    check(exported, convolution, {"image": images})


@settings(max_examples=40)
@given(images=IMAGES)
def test_property_10_perceptron_answers_alike_when_exported(exported, images):
    check(exported, perceptron, {"image": images})


@settings(max_examples=40)
@given(batch=texts())
def test_property_10_encoder_answers_alike_when_exported(exported, batch):
    check(exported, encoder, batch)
