"""One model in every runtime: what is timed, and what is said of the rest."""

from __future__ import annotations

import dataclasses
import json

import pytest

from bundle.engine.availability import provider_missing
from bundle.engine.plan import plans_missing
from bundle.errors import NotFoundError, RequestError
from bundle.manifest import GateResult, Variant
from optimize.compare import main
from optimize.comparison import BASELINE
from tests.tiny_bundle import image_model, image_parts, text_parts

ABSENT = {
    "onnxruntime cuda": provider_missing("cuda"),
    "onnxruntime tensorrt": provider_missing("tensorrt"),
    "tensorrt": plans_missing(),
}


@pytest.mark.slow
def test_every_runtime_is_timed_or_listed_with_its_reason(tmp_path, capsys):
    text_parts().write(tmp_path / "bundle")
    output = tmp_path / "new" / "comparison.json"

    code = main([
        str(tmp_path / "bundle"), "--batch-sizes", "1,3", "--rounds", "2", "--seconds", "0.01",
        "--threads", "1", "--output", str(output),
    ])  # fmt: skip

    assert code == 0
    table = capsys.readouterr().out.strip()
    assert output.with_suffix(".md").read_text().strip() == table
    figures = json.loads(output.read_text())
    assert set(figures["timings"][BASELINE]) == {"1", "3"}
    assert figures["timings"][BASELINE]["3"]["p50_ms"] > 0
    assert (figures["threads"], figures["rounds"]) == (1, 2)
    assert figures["busy"] == (figures["load"]["others"] > 0.1)
    assert "Medians of 2 interleaved rounds with 1 threads; other processes used" in table
    for name, reason in ABSENT.items():
        if reason is not None:
            assert figures["missing"][name] == reason
            assert f"| {name} | not available: {reason} |" in table
    assert "--checkpoint" in figures["missing"]["torch cpu"]
    assert not {*figures["timings"]} & {*figures["missing"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-sizes", "1,x"], "--batch-sizes 1,x"),
        (["--batch-sizes", "0"], "--batch-sizes 0"),
        (["--batch-sizes", "1,8,1"], "--batch-sizes 1,8,1 names a size more than once"),
        (["--batch-sizes", "5000"], "--batch-sizes 5000 must be numbers from 1 to 4096"),
        (["--rounds", "1"], "--rounds 1 must be 2 or more"),
        (["--seconds", "nan"], "--seconds nan"),
        (["--seconds", "inf"], "--seconds inf"),
        (["--seconds", "-1"], "--seconds -1"),
        (["--output", "x.md"], "--output x.md is where the table goes"),
        (["--output", "/proc/x/y.json"], "output=/proc/x/y.json: nothing can be written in /proc"),
        (["--output", "model.onnx/y.json"], "output=model.onnx/y.json: nothing can be written"),
        (["--output", "."], r"--output \.: a folder has that name"),
        (["--checkpoint", "gone.ckpt"], "checkpoint=gone.ckpt: there is no such file"),
        (["--threads", "0"], "--threads 0"),
        (["--threads", "9999"], "--threads 9999 must be"),
        (["--variant", "int9"], "no variant 'int9'"),
    ],
)
def test_wrong_argument_is_refused_by_name(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(image_model())

    with pytest.raises(RequestError, match=message):
        main([str(tmp_path / "model.onnx"), *arguments])


def test_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(NotFoundError, match=r"gone\.onnx"):
        main([str(tmp_path / "gone.onnx")])


def test_variant_without_a_graph_is_refused_in_its_own_words(tmp_path):
    parts = image_parts()
    refused = Variant(name="int8", file=None, gate=GateResult(reason="not certified: 3 pt lost"))
    variants = (*parts.manifest.variants, refused)
    manifest = dataclasses.replace(parts.manifest, variants=variants)
    dataclasses.replace(parts, manifest=manifest).write(tmp_path / "bundle")
    with pytest.raises(RequestError, match="int8 was refused and has no file: not cert") as caught:
        main([str(tmp_path / "bundle"), "--variant", "int8"])
    assert caught.value.remedy == f"choose one of {parts.manifest.default_variant}"


def test_checkpoint_of_other_weights_is_refused(tmp_path):
    image_parts(checkpoint={"sha256": "0" * 64}).write(tmp_path / "bundle")
    (tmp_path / "other.ckpt").write_bytes(b"other")
    with pytest.raises(RequestError, match="is not the one that the bundle was made of") as caught:
        main([str(tmp_path / "bundle"), "--checkpoint", str(tmp_path / "other.ckpt")])
    assert caught.value.field == "checkpoint"
