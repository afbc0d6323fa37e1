from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from optimize.cache import ContentCache
from optimize.forge import Forge, Graph, describe_material, watch
from optimize.gate import Source
from optimize.passes.base import Calibration, Material, TransformerShape, Tuning
from optimize.progress import StageProgress
from optimize.schema import OptimizeConfig


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
    assert sources == [Source(use="tuning", split="val", fingerprint="t", samples=4)]
    list(watched.calibration.batches())
    assert {source.use for source in sources} == {"tuning", "calibration"}


def test_watched_material_is_described_as_the_original():
    watched, _ = watch(material())
    assert describe_material(watched) == describe_material(material())
    assert describe_material(material(threads=2)) != describe_material(material())
    assert describe_material(material(transformer=None))["transformer"] is None


@pytest.fixture
def forge(tmp_path):
    return Forge(
        SimpleNamespace(),
        OptimizeConfig(),
        folder=tmp_path,
        cache=ContentCache(tmp_path / "cache"),
        progress=StageProgress(),
    )


@pytest.mark.parametrize("learns", [True, False])
def test_pass_is_done_again_for_other_material_only_if_it_learns_from_it(learns, forge, tmp_path):
    @dataclass(frozen=True)
    class Pass:
        learns: ClassVar[bool]
        name: str = "pass"
        version: int = 3

        def parameters(self):
            return {"kind": ("a", "b")}

        def run(self, graph, material):
            material.note("chosen", ["a"])
            return graph + b"!"

    Pass.learns = learns
    (tmp_path / "graph").write_bytes(b"graph")
    graph = Graph(path=tmp_path / "graph", sha256="a", bytes=5, steps=())

    made = [
        forge._apply(Pass(), graph, material(threads=threads), variant="v").steps[0]
        for threads in (1, 1, 2)
    ]

    assert [step.found for step in made] == [False, True, not learns]
    told = {
        "name": "pass",
        "version": 3,
        "parameters": {"kind": ["a", "b"]},
        "notes": {"chosen": ["a"]},  # also where it was found
    }
    assert [step.to_dict() for step in made] == [told] * 3
