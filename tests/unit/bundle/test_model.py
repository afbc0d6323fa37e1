from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bundle.errors import InputError, IntegrityError, NotFoundError
from bundle.model import Model
from tests.tiny_bundle import image_model, image_parts, pictures, tensor_model


@pytest.fixture
def image_classifier(image_bundle):
    return Model.load(image_bundle.path, provider="cpu", threads=1)


@pytest.fixture
def text_classifier(text_bundle):
    return Model.load(text_bundle.path, provider="cpu", threads=1)


@pytest.fixture
def bare(tmp_path):
    (tmp_path / "net.onnx").write_bytes(tensor_model())
    return Model.load(tmp_path / "net.onnx", provider="cpu", threads=1)


def test_image_gives_a_label_and_probabilities(image_classifier):
    answer = image_classifier.predict({"image": pictures(1)[0]})

    assert set(answer) == {"prediction"}
    assert answer["prediction"]["label"] in ("cat", "dog", "owl")
    assert sum(answer["prediction"]["probabilities"].values()) == pytest.approx(1)
    json.dumps(answer)


def test_batch_answers_in_order_and_as_alone(image_classifier):
    samples = [{"image": picture} for picture in pictures(5, seed=4)]

    batch = image_classifier.predict_batch(samples)

    for sample, answer in zip(samples, batch, strict=True):
        alone = image_classifier.predict(sample)["prediction"]
        assert alone["label"] == answer["prediction"]["label"]
        assert alone["probabilities"] == pytest.approx(answer["prediction"]["probabilities"])


def test_texts_of_mixed_length_are_padded_together(text_classifier):
    samples = [{"text": text} for text in ("good", "the bad bad film", "film")]

    batch = text_classifier.predict_batch(samples)

    for sample, answer in zip(samples, batch, strict=True):
        alone = text_classifier.predict(sample)["prediction"]["probabilities"]
        assert alone == pytest.approx(answer["prediction"]["probabilities"])


def test_tensors_and_raw_samples_may_be_mixed(text_classifier):
    tensors = {"input_ids": [2, 4, 3], "attention_mask": [1, 1, 1]}

    raw, ready = text_classifier.predict_batch([{"text": "good"}, {"inputs": tensors}])

    assert raw == ready


def test_bare_model_takes_and_gives_tensors(bare):
    assert bare.name == "net"
    assert bare.predict({"inputs": {"x": [1, 2, 3, 4]}}) == {
        "outputs": {"y": [-1.0, -2.0, -3.0, -4.0]}
    }


def test_bare_model_takes_samples_of_different_shapes(tmp_path):
    from onnx import TensorProto, helper

    from tests.tiny_bundle import serialize

    shape = ["batch", "width"]
    model = serialize(
        [helper.make_node("Neg", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        {},
    )
    (tmp_path / "m.onnx").write_bytes(model)
    samples = [{"inputs": {"x": x}} for x in ([1], [1, 2], [3])]

    answers = Model.load(tmp_path / "m.onnx", provider="cpu").predict_batch(samples)

    assert [answer["outputs"]["y"] for answer in answers] == [[-1], [-1, -2], [-3]]


def test_name_in_front_of_the_uri_wins(image_bundle):
    model = Model.load(f"pets={image_bundle.path}", provider="cpu")

    assert model.name == "pets"
    assert model.manifest.name == "digits"
    assert len(model.version) == 12


@pytest.mark.parametrize(
    ("sample", "field", "message"),
    [
        ({}, "image", "has image or inputs, got none of them"),
        ({"text": "hello"}, "text", "has image or inputs, got text"),
        ({"image": b"", "inputs": {}}, "inputs", "got inputs and image"),
        ({"image": b"no image"}, "image", "no known format"),
        ({"inputs": [1]}, "inputs", "inputs must be an object of tensors, got list"),
        ({"inputs": {}}, "inputs.image", "is missing"),
        ({"inputs": {"image": [[[0]]]}}, "inputs.image", "has shape"),
        ({"inputs": {"image": np.zeros((3, 6, 5))}}, "inputs.image", "expected uint8"),
    ],
)
def test_bad_sample_names_its_field(sample, field, message, image_classifier):
    with pytest.raises(InputError, match=message) as found:
        image_classifier.predict(sample)
    assert found.value.field == field

    with pytest.raises(InputError, match=r"^instances\[1\]: ") as found:
        image_classifier.predict_batch([{"image": pictures(1)[0]}, sample])
    assert found.value.field == f"instances[1].{field}"


def test_bare_model_takes_no_raw_sample(bare):
    with pytest.raises(InputError, match="has inputs, got image"):
        bare.predict({"image": pictures(1)[0]})


def test_empty_batch_is_refused(image_classifier):
    with pytest.raises(InputError, match="instances is empty"):
        image_classifier.predict_batch([])


def test_model_with_wrong_golden_answers_is_refused(tmp_path):
    parts = image_parts(seed=1)
    replace(parts, files={**parts.files, "model.onnx": image_model(seed=2)}).write(tmp_path / "b")

    with pytest.raises(IntegrityError, match="golden"):
        Model.load(tmp_path / "b", provider="cpu")


def test_missing_model_is_named(tmp_path):
    with pytest.raises(NotFoundError, match="nothing"):
        Model.load(tmp_path / "nothing")
