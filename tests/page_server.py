"""A server worth looking at: digits in two versions that share the traffic and one that is refused,
texts, and a bare file.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper
from PIL import Image

from bundle.preprocessing.config import ImageConfig
from bundle.preprocessing.image import ImagePreprocessor
from tests.followed_model import NAME, FollowedModel
from tests.running_server import running_server
from tests.served_bundles import double_onnx, text_bundle, value
from tests.tiny_bundle import Parts, classifier_parts, encode, serialize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running_server import RunningServer

SIDE = 8
LABELS = tuple(str(digit) for digit in range(10))


@contextmanager
def page_server(folder: Path, empty_registry: Path, **environment: str) -> Iterator[RunningServer]:
    """`digits` (1 and 2; 3 is damaged), `moods` and `double`."""
    from mlflow.tracking import MlflowClient  # takes seconds

    model = FollowedModel.create(folder, empty_registry, versions=0)
    model.register(digits_parts(samples=300))
    model.register(digits_parts(samples=1500))
    damaged = model.artifacts(model.register(digits_parts(samples=200))) / "model.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    model.registry.split(NAME, {1: 70, 2: 30})
    MlflowClient(model.registry.uri).set_registered_model_alias(NAME, "challenger", "3")
    text_bundle(folder / "text")
    (folder / "double.onnx").write_bytes(double_onnx())
    with running_server(
        *("--model", f"models:/{NAME}", "--model", str(folder / "text")),
        *("--model", str(folder / "double.onnx"), "--threads", "1", "--guardrail", "off"),
        folder=folder,
        environment=model.environment | environment,
    ) as server:
        yield server


def digit_png(index: int, *, side: int = 224) -> bytes:
    """A handwritten digit of scikit-learn's, as an image of that size."""
    pixels = np.uint8(_digits().images[index] * 255 / 16)
    return encode(
        np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
    )


def digit_label(index: int) -> str:
    """What its writer meant."""
    return str(_digits().target[index])


def digits_parts(*, samples: int) -> Parts:
    """A logistic regression on so many of the digits."""
    from sklearn.linear_model import LogisticRegression

    digits = _digits()
    found = LogisticRegression(max_iter=500)
    found.fit(digits.data[:samples] / 16, digits.target[:samples])
    model = serialize(
        [
            helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["real", "scale"], ["scaled"]),
            helper.make_node("Flatten", ["scaled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        ],
        inputs=[value("image", TensorProto.UINT8, ["batch", 1, SIDE, SIDE])],
        outputs=[value("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        weights={
            "scale": np.float32(1 / 255),
            "weights": found.coef_.T.astype(np.float32),
            "bias": found.intercept_.astype(np.float32),
        },
    )
    preprocessor = ImagePreprocessor(ImageConfig(height=SIDE, width=SIDE, channels=1))
    return classifier_parts(
        model,
        preprocessor,
        name=NAME,
        samples=[digit_png(index) for index in range(3)],
        labels=LABELS,
        certified=True,
    )


@cache
def _digits() -> Any:
    from sklearn.datasets import load_digits

    return load_digits()
