"""Property 11: a shipped quantized variant keeps the accuracy, as a server would answer with it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from bundle.archive import open_bundle
from bundle.model import Model
from optimize.optimizer import ModelOptimizer
from optimize.progress import StageProgress
from optimize.schema import ExportConfig, Exporter, OptimizeConfig, Target
from tests.tiny_checkpoint import IMAGES, train_tiny
from trainer.restore import restore

BUDGET = 0.02
QUANTIZED = ("int8-static", "int8-mixed")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """On real digits, 719 of which it has not seen."""
    return train_tiny(
        tmp_path_factory.mktemp("trained") / "run",
        *IMAGES,
        *("model.hidden=[64]", "data.test_fraction=0.4"),
        *("optim.lr=5e-3", "trainer.max_epochs=15", "trainer.threads=1"),
    )


@pytest.fixture(scope="module")
def bundle(checkpoint, tmp_path_factory):
    settings = OptimizeConfig(threads=1, recipes=list(QUANTIZED), exporter=Exporter.torchscript)
    settings.gate.budget = BUDGET
    settings.benchmark.enabled = False
    settings.cache.folder = None
    config = ExportConfig(
        checkpoint=str(checkpoint),
        output=str(tmp_path_factory.mktemp("exported") / "bundle"),
        register=None,
        target=Target.cpu,
        optimize=settings,
    )
    outcome = ModelOptimizer(config, progress=StageProgress()).run()
    return open_bundle(outcome.bundle.path)


@pytest.fixture(scope="module")
def correct(checkpoint, bundle):
    """Variant → whether each test image is answered rightly, as a client would ask."""
    data = restore(checkpoint).data()
    samples = data.samples("test")
    images = [{"image": png(samples.raw[index])} for index in range(len(samples))]
    truth = [data.labels[label] for label in samples.labels.tolist()]
    found = {}
    for variant in bundle.manifest.variants:
        if variant.file is not None:
            model = Model.load(bundle.path, variant=variant.name, provider="cpu", threads=1)
            answers = model.predict_batch(images)
            labels = [answer["prediction"]["label"] for answer in answers]
            found[variant.name] = np.array(labels) == np.array(truth)
    return found


def png(pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def test_property_11_a_quantized_variant_is_shipped(bundle, correct):
    assert correct["fp32"].mean() > 0.9
    reasons = {v.name: v.gate.reason for v in bundle.manifest.variants}
    assert set(correct) & set(QUANTIZED), reasons


def test_property_11_shipped_variants_lose_no_more_than_the_budget(bundle, correct):
    for name, right in correct.items():
        assert right.mean() >= correct["fp32"].mean() - BUDGET, name


def test_property_11_manifest_tells_the_change_that_a_client_meets(bundle, correct):
    for name, right in correct.items():
        gate = bundle.manifest.variant(name).gate
        assert gate.samples == len(right) == 719
        change = right.mean() - correct["fp32"].mean()
        assert gate.delta == pytest.approx(change, abs=1.5 / 719)  # a tie may fall either way
        assert gate.bound <= gate.delta
        assert gate.bound >= -(gate.budget or 1)
