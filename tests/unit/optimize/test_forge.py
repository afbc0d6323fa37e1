from __future__ import annotations

import numpy as np

from optimize.forge import describe_material, watch
from optimize.gate import Source
from optimize.passes.base import Calibration, Material, TransformerShape, Tuning


def material(**changes) -> Material:
    batches = [{"image": np.zeros((2, 1))}, {"image": np.ones((2, 1))}]
    fields = {"samples": 4, "batches": lambda: iter(batches)}
    return Material(
        **{
            "calibration": Calibration(split="train", fingerprint="c", **fields),
            "tuning": Tuning(split="val", fingerprint="t", **fields),
            "transformer": TransformerShape(heads=2, hidden_size=8),
            **changes,
        }
    )


def test_only_what_is_read_counts_as_a_source():
    watched, sources = watch(material())
    assert sources == []
    for _ in range(2):
        assert len(list(watched.tuning.batches())) == 2
    assert sources == [Source(use="tuning", split="val", fingerprint="t")]
    list(watched.calibration.batches())
    assert {source.use for source in sources} == {"tuning", "calibration"}


def test_watched_material_is_described_as_the_original():
    watched, _ = watch(material())
    assert describe_material(watched) == describe_material(material())
    assert describe_material(material(threads=2)) != describe_material(material())
    assert describe_material(material(transformer=None))["transformer"] is None
