from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto

from bundle.archive import Bundle, open_bundle, write_bundle
from bundle.engine.onnx import OnnxEngine
from bundle.engine.select import load_engine
from bundle.errors import IntegrityError
from bundle.golden import (
    check_golden,
    read_golden,
    read_samples,
    write_answers,
    write_golden,
)
from bundle.manifest import Manifest, Variant
from bundle.preprocessing.config import ImageConfig
from bundle.preprocessing.image import ImagePreprocessor
from bundle.preprocessing.select import create_preprocessor
from tests.tiny_bundle import image_model, image_parts, pictures, tensor_model


def loaded(bundle):
    preprocessor = create_preprocessor(bundle.manifest.preprocessing, assets=bundle.path)
    return load_engine(bundle, provider="cpu", threads=1), preprocessor


def rewritten(parts, folder, **files):
    """The parts with other contents of some files."""
    named = {name.replace("_", "."): content for name, content in files.items()}
    return replace(parts, files={**parts.files, **named}).write(folder)


def archive(arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["image_bundle", "text_bundle"])
def test_golden_answers_are_reproduced(kind, request):
    bundle = request.getfixturevalue(kind)

    check_golden(bundle, *loaded(bundle))

    assert len(read_golden(bundle)) == bundle.manifest.golden.count == 2


def test_golden_samples_come_back_as_they_were(image_bundle, text_bundle):
    assert read_samples(image_bundle) == pictures(3)
    assert read_samples(text_bundle) == ["the good film", "bad"]


def test_bundle_without_golden_answers_passes(tmp_path):
    parts = image_parts()
    files = {"model.onnx": parts.files["model.onnx"]}
    bundle = replace(parts, manifest=replace(parts.manifest, golden=None), files=files).write(
        tmp_path / "b"
    )

    check_golden(bundle, *loaded(bundle))

    assert read_golden(bundle) == read_samples(bundle) == []


def test_other_weights_are_found_by_their_answers(tmp_path):
    bundle = rewritten(image_parts(seed=1), tmp_path / "b", model_onnx=image_model(seed=2))

    with pytest.raises(IntegrityError, match="golden batch 0, output 'logits': differs by up to"):
        check_golden(bundle, *loaded(bundle))


def test_another_variant_is_compared_by_shape_only(tmp_path):
    parts = image_parts(seed=1)
    variants = (*parts.manifest.variants, Variant(name="int8", file="int8.onnx"))
    files = {**parts.files, "int8.onnx": image_model(seed=2)}
    bundle = replace(parts, manifest=replace(parts.manifest, variants=variants), files=files).write(
        tmp_path / "b"
    )

    check_golden(bundle, load_engine(bundle, variant="int8", provider="cpu"), variant="int8")


def test_other_preprocessing_is_found_by_the_raw_samples(image_bundle):
    engine, _ = loaded(image_bundle)
    other = ImagePreprocessor(ImageConfig(height=6, width=5, interpolation="nearest"))

    with pytest.raises(IntegrityError, match="preprocessing turns the golden samples") as found:
        check_golden(image_bundle, engine, other)

    assert found.value.remedy


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04 no zip", "cannot be read"),
        (archive({"0/input/image": np.zeros((1, 3, 6, 5), np.uint8)}), "has no batch 0"),
        (archive({"2/input/image": np.zeros(1)}), "unknown array '2/input/image'"),
        (archive({"x": np.zeros(1)}), "unknown array 'x'"),
        (archive({f"{'9' * 5000}/input/image": np.zeros(1)}), "unknown array"),
        (archive({"\u0660/input/image": np.zeros(1)}), "unknown array"),
        (archive({"0/side/x": np.zeros(1)}), "unknown array"),
        (archive({"0/input/image": np.array([{}], dtype=object)}), "cannot be read"),
    ],
)
def test_golden_tensors_that_cannot_be_read_are_refused(content, message, tmp_path):
    bundle = rewritten(image_parts(), tmp_path / "b", golden_npz=content)

    with pytest.raises(IntegrityError, match=message):
        check_golden(bundle, *loaded(bundle))


def test_compressed_golden_tensors_are_refused_unread(tmp_path):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{"0/input/image": np.zeros(50_000_000, np.uint8)})
    bundle = rewritten(image_parts(), tmp_path / "b", golden_npz=buffer.getvalue())

    with pytest.raises(IntegrityError, match="is compressed"):
        read_golden(bundle)


def test_golden_array_that_claims_to_be_huge_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(8))
    claim = b"(99999999999999,), }"
    header = buffer.getvalue().replace(b"(8,), }".ljust(len(claim)), claim)
    assert claim in header
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("0/input/image.npy", header)
    bundle = rewritten(image_parts(), tmp_path / "b", golden_npz=content.getvalue())

    with pytest.raises(IntegrityError, match="cannot be read"):
        read_golden(bundle)


@pytest.mark.parametrize(
    "document",
    [
        {},
        [1],
        [{}],
        [{"image": 1}],
        [{"image": "not base64!"}],
        [{"text": "a", "image": ""}],
        [{"audio": ""}],
    ],
)
def test_golden_samples_that_cannot_be_read_are_refused(document, tmp_path):
    content = json.dumps(document).encode()
    bundle = rewritten(image_parts(), tmp_path / "b", golden_json=content)

    with pytest.raises(IntegrityError, match=r"golden\.json"):
        check_golden(bundle, *loaded(bundle))


def test_golden_sample_that_preprocessing_refuses_is_an_integrity_error(tmp_path):
    content = json.dumps([{"image": ""}]).encode()
    bundle = rewritten(image_parts(), tmp_path / "b", golden_json=content)

    with pytest.raises(IntegrityError, match="refused by preprocessing"):
        check_golden(bundle, *loaded(bundle))


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({"image": np.zeros((1, 3, 6, 6), np.uint8)}, {"logits": np.zeros(1)}, "cannot be run"),
        ({"image": np.zeros((1, 3, 6, 5), np.uint8)}, {"scores": np.zeros(1)}, "no output"),
        ({"image": np.zeros((1, 3, 6, 5), np.uint8)}, {"logits": np.zeros((1, 4))}, "shape"),
        ({"image": np.zeros((1, 3, 6, 5), np.uint8)}, {"logits": np.ones((1, 3), int)}, "dtype"),
    ],
)
def test_golden_answers_that_do_not_fit_are_refused(inputs, outputs, message, tmp_path):
    parts = image_parts()
    golden, files = write_golden([(inputs, outputs)], atol=0, rtol=0)
    bundle = replace(
        parts,
        manifest=replace(parts.manifest, golden=golden),
        files={"model.onnx": parts.files["model.onnx"], **files},
    ).write(tmp_path / "b")

    with pytest.raises(IntegrityError, match=message):
        check_golden(bundle, *loaded(bundle))


def test_golden_files_are_the_same_bytes_each_time():
    assert image_parts().files == image_parts().files


def test_golden_string_is_not_the_beginning_of_another(tmp_path):
    model = tensor_model(operator="Identity", dtype=TensorProto.STRING)
    whole, cut = (np.array([["owls", "a", "b", text]], dtype=object) for text in ("dogs", "dog"))
    engine = OnnxEngine(model, provider="cpu", threads=1)
    manifest = Manifest(
        name="strings",
        task="tensor",
        inputs=engine.inputs,
        outputs=engine.outputs,
        default_variant="fp32",
        variants=(Variant(name="fp32", file="model.onnx"),),
    )
    for expected in (whole, cut):
        golden, files = write_golden([({"x": whole}, {"y": expected})], atol=0, rtol=0)
        bundle = write_bundle(
            tmp_path / "b",
            manifest=replace(manifest, golden=golden),
            files={"model.onnx": model, **files},
            overwrite=True,
        )
        if expected is whole:
            check_golden(bundle, engine)
    with pytest.raises(IntegrityError, match="output 'y': other values"):
        check_golden(bundle, engine)


def test_golden_strings_survive(tmp_path):
    strings = np.array(["a", "größe"], dtype=object)
    golden, files = write_golden([({"x": strings}, {"y": strings})], atol=0, rtol=0)
    parts = image_parts()
    (tmp_path / "golden.npz").write_bytes(files["golden.npz"])
    written = replace(parts.manifest, golden=golden, files={"golden.npz": None, "model.onnx": None})

    ((inputs, outputs),) = read_golden(Bundle(tmp_path, written))

    assert inputs["x"].tolist() == outputs["y"].tolist() == ["a", "größe"]


def two_variants(folder, *, answers_of=2, **limits) -> Bundle:
    """fp32 and an int8 whose golden answers are those of the weights of seed `answers_of`."""
    parts = image_parts(seed=1)
    entry, files = write_answers(
        "int8",
        [
            OnnxEngine(image_model(seed=answers_of), provider="cpu").predict_batch(inputs)
            for inputs, _ in read_golden(parts.write(folder / "inputs"))
        ],
        **{"atol": 1e-5, "rtol": 1e-5, **limits},
    )
    manifest = replace(
        parts.manifest,
        variants=(*parts.manifest.variants, Variant(name="int8", file="int8.onnx")),
        golden=replace(parts.manifest.golden, answers={"int8": entry}),
    )
    contents = {**parts.files, **files, "int8.onnx": image_model(seed=2)}
    return replace(parts, manifest=manifest, files=contents).write(folder / "b")


def test_another_variant_is_held_to_its_own_golden_answers(tmp_path):
    bundle = open_bundle(two_variants(tmp_path).path)
    _, preprocessor = loaded(bundle)

    check_golden(bundle, load_engine(bundle), preprocessor)
    check_golden(bundle, load_engine(bundle, variant="int8"), preprocessor, variant="int8")
    assert json.loads((bundle.path / "manifest.json").read_text())["schema"] == 2


def test_another_variant_is_refused_when_its_own_answers_differ(tmp_path):
    bundle = two_variants(tmp_path, answers_of=3)

    with pytest.raises(IntegrityError, match="output 'logits': differs by up to"):
        check_golden(bundle, load_engine(bundle, variant="int8"), variant="int8")


def test_another_variant_may_miss_its_answers_by_its_own_tolerance(tmp_path):
    bundle = two_variants(tmp_path, answers_of=3, atol=1e3)

    check_golden(bundle, load_engine(bundle, variant="int8"), variant="int8")
