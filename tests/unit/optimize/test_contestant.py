from __future__ import annotations

import pytest

from bundle.engine.openvino import openvino_missing
from optimize.contestant import Contestant, Kind, load
from tests.tiny_bundle import tensor_model


@pytest.mark.skipif(openvino_missing() is not None, reason="OpenVINO is not installed")
def test_contestant_is_refused_when_openvino_takes_other_threads(tmp_path):
    (tmp_path / "m.onnx").write_bytes(tensor_model())
    contestant = Contestant(
        name="c", kind=Kind.openvino, path=tmp_path / "m.onnx", sha256="", provider="openvino"
    )
    load(contestant, threads=1)
    with pytest.raises(RuntimeError, match=r"OpenVINO has \d+ threads instead of 10000"):
        load(contestant, threads=10_000)
