from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from bundle.tensor import TensorSpec
from optimize.passes.base import Calibration, Material, TransformerShape, Tuning
from optimize.passes.export import ExportPass, Lane
from optimize.probes import example_batch

LOGITS = TensorSpec(name="logits", dtype="float32", shape=(-1, 3))


def written(case, *, lane: Lane, opset: int = 18) -> bytes:
    example = example_batch(case.rows, case.preprocessor, max_length=case.max_length)
    return ExportPass(opset=opset, lane=lane, max_length=case.max_length).run(
        case.model,
        {name: torch.from_numpy(array) for name, array in example.items()},
        inputs=case.preprocessor.input_specs,
        output=LOGITS,
    )


def material_of(case, *, split: str = "val", fingerprint: str = "5eed") -> Material:
    def batches():
        for start in (0, 2):
            yield case.preprocessor.collate(case.rows[start : start + 2])

    samples = {"split": split, "fingerprint": fingerprint, "samples": 4, "batches": batches}
    transformer = TransformerShape(heads=2, hidden_size=16) if case.max_length else None
    return Material(
        calibration=Calibration(**samples),
        tuning=Tuning(**samples),
        transformer=transformer,
        threads=1,
    )


@pytest.fixture(scope="session")
def outliers(text_case):
    """The text case with weights as a trained model has them: some channels far larger."""
    generator = np.random.default_rng(0)
    model = copy.deepcopy(text_case.model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                factors = generator.lognormal(size=(parameter.shape[0], 1))
                parameter.mul_(torch.from_numpy(factors.astype(np.float32)))
    return dataclasses.replace(text_case, model=model)


@pytest.fixture(scope="session")
def text_graph(outliers) -> bytes:
    return written(outliers, lane=Lane.torchscript)


@pytest.fixture(scope="session")
def image_graph(image_case) -> bytes:
    return written(image_case, lane=Lane.dynamo)


@pytest.fixture
def text_material(text_case) -> Material:
    return material_of(text_case)


@pytest.fixture
def image_material(image_case) -> Material:
    return material_of(image_case)
