"""A loaded bundle: it answers batches like its engine, and tells whose fault a failure is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bundle.archive import write_bundle
from bundle.errors import BundleError, IntegrityError
from bundle.model import Model
from bundle.uri import resolve
from serving.batch import Item
from serving.catalog import Catalog
from serving.codec.request import Sample
from serving.errors import BadRequestError, RefusedSampleError, UnknownTargetError
from serving.job import FAILED, OK, REFUSED, Job
from serving.loop import execute
from serving.metrics import MetricsCollector
from serving.models import LoadedModel, load_model
from serving.served_model import ServedModel
from serving.streams import Turn
from tests.bare_graphs import (
    convolved_onnx,
    cross_onnx,
    reshaped_onnx,
    squeezed_onnx,
    waves_onnx,
)
from tests.served_bundles import POISON, double_onnx, image_bundle, logarithm_onnx, text_bundle
from tests.tiny_bundle import encode

TEXTS = ["the film was good", "bad", "the plot was bad the film was good"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    image_bundle(folder / "image")
    text_bundle(folder / "text")
    (folder / "double.onnx").write_bytes(double_onnx())
    (folder / "fixed.onnx").write_bytes(double_onnx(shape=[2, 3]))
    (folder / "log.onnx").write_bytes(logarithm_onnx())
    return folder


def load(path, *, batch_size: int = 8, **options) -> LoadedModel:
    return load_model(
        resolve(str(path)),
        variant="",
        provider="cpu",
        fallback=False,
        threads=1,
        batch_size=batch_size,
        **options,
    )


def served(path, **options) -> tuple[LoadedModel, ServedModel]:
    model = load(path, **options)
    return model, ServedModel(model.info)


def job(number, tensors, model) -> Item[Job]:
    return Item(
        Job("link", number, model.key, tensors, foretold=0.0),
        group="g",
        samples=len(next(iter(tensors.values()))),
        arrived=0.0,
        due=0.0,
        deadline=9e9,
    )


def run(model, parts):
    items = [job(number, part.tensors, model) for number, part in enumerate(parts)]
    turn = Turn(items, shared=False, began=0.0, ends=0.0)
    answers = execute(turn, {model.key: model}, MetricsCollector())[0]["link"]
    return {fields["id"]: (fields, tensors) for fields, tensors in answers}


def test_a_batch_of_texts_is_padded_as_preprocessing_pads_it(folder):
    model, face = served(folder / "text")
    parts = [face.to_parts([Sample("text", text)], batch_size=8)[0] for text in TEXTS]
    joined = model.run([part.tensors for part in parts])
    rows = [model.preprocessor(text) for text in TEXTS]
    expected = model.engine.predict_batch(model.preprocessor.collate(rows))["logits"]
    found = np.concatenate([outputs["logits"] for outputs in joined])
    assert found.tobytes() == expected.tobytes()


def test_answers_are_those_of_the_model_in_process(folder):
    for name, samples in (
        ("text", [Sample("text", text) for text in TEXTS]),
        ("image", [Sample("image", encode(np.full((8, 8), s, np.uint8))) for s in (1, 99, 200)]),
        ("double.onnx", [Sample("inputs", {"x": [0.1, 2, 3, i]}) for i in range(3)]),
    ):
        model, face = served(folder / name)
        [part] = face.to_parts(samples, batch_size=8)
        [outputs] = model.run([part.tensors])
        expected = Model.load(folder / name, provider="cpu", threads=1).predict_batch(
            [{sample.field: sample.value} for sample in samples]
        )
        found = dict(zip(part.indices, face.to_answers(outputs, part), strict=True))
        assert [found[index] for index in range(len(samples))] == expected


def test_samples_of_different_shapes_become_parts_that_remember_their_places(folder, tmp_path):
    (tmp_path / "any.onnx").write_bytes(double_onnx(shape=["batch", "length"]))
    _, face = served(tmp_path / "any.onnx")
    samples = [Sample("inputs", {"x": [1.0] * length}) for length in (1, 2, 1, 1)]
    parts = face.to_parts(samples, batch_size=2)
    assert sorted(part.indices for part in parts) == [(0, 2), (1,), (3,)]


def test_a_model_without_batch_dimension_gets_one_sample_at_a_time(folder):
    model, face = served(folder / "fixed.onnx")
    samples = [Sample("inputs", {"x": [[1, 2, 3], [4, 5, index]]}) for index in range(2)]
    parts = face.to_parts(samples, batch_size=8)
    assert [part.indices for part in parts] == [(0,), (1,)]
    answers = [
        face.to_answers(*pair)
        for pair in zip(model.run([p.tensors for p in parts]), parts, strict=True)
    ]
    assert answers[1] == [{"outputs": {"y": [[2.0, 4.0, 6.0], [8.0, 10.0, 2.0]]}}]


def test_parts_of_a_model_without_batch_dimension_may_be_answered_in_other_shapes(tmp_path):
    (tmp_path / "squeezed.onnx").write_bytes(squeezed_onnx([-1, 2], ["N", 2]))
    model = load(tmp_path / "squeezed.onnx")
    parts = [{"x": np.ones((1, rows, 2), np.float32)} for rows in (1, 3)]
    assert [answer["y"].shape for answer in model.run(parts)] == [(1, 2), (1, 3, 2)]


def test_a_network_of_pictures_has_a_probe_although_one_pixel_is_too_small(tmp_path):
    (tmp_path / "convolved.onnx").write_bytes(convolved_onnx())
    model = load(tmp_path / "convolved.onnx")
    assert model.probe["x"].shape == (1, 1, 32, 32)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (cross_onnx(), "cross: its requests run one by one: 'a' has 'pictures' rows"),
        (reshaped_onnx([-1, 7], ["N", 3], ["N", 7]), "cross: its requests run together: only"),
        (double_onnx(), ""),
    ],
)
def test_it_is_told_where_requests_do_not_share_a_run_or_maybe_should_not(
    model, told, tmp_path, caplog
):
    caplog.set_level("INFO", logger="serving")
    (tmp_path / "cross.onnx").write_bytes(model)
    load(tmp_path / "cross.onnx")
    assert [record.getMessage().startswith(told) for record in caplog.records] == [True] * bool(
        told
    )


@pytest.mark.parametrize(
    ("name", "sample", "field"),
    [
        ("image", Sample("image", b"no picture", "instances[2]"), "instances[2].image"),
        ("image", Sample("text", "words"), "text"),
        ("text", Sample("image", b"x"), "image"),
        ("text", Sample("text", "   "), "text"),
        ("double.onnx", Sample("text", "words"), "text"),
        ("double.onnx", Sample("inputs", {"x": [1]}, "instances[0]"), "instances[0].inputs.x"),
        ("double.onnx", Sample("inputs", {}), "inputs.x"),
        ("double.onnx", Sample("inputs", {"x": [1] * 4, "z": 1}), "inputs"),
    ],
)
def test_a_sample_that_cannot_become_tensors_is_named(folder, name, sample, field):
    _, face = served(folder / name)
    with pytest.raises(BadRequestError) as caught:
        face.to_parts([sample], batch_size=8)
    assert (caught.value.code, caught.value.field) == ("invalid_input", field)


def token_ids(*ids: int) -> Sample:
    return Sample("inputs", {"input_ids": list(ids), "attention_mask": [1] * len(ids)})


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("text", Sample("text", TEXTS[0])),
        ("text", token_ids(2, 4, 3)),
        ("image", Sample("image", encode(np.full((8, 8), 9, np.uint8)))),
        ("double.onnx", Sample("inputs", {"x": [0.1, 2, 3, 4]})),
    ],
)
def test_the_part_of_a_lone_sample_is_half_of_that_of_two_such(folder, name, sample):
    _, face = served(folder / name)
    [lone] = face.to_parts([sample], batch_size=8)
    [both] = face.to_parts([sample, sample], batch_size=8)
    assert lone._replace(tensors=both.tensors, indices=(0, 1)) == both
    assert lone.indices == (0,)
    assert list(lone.tensors) == list(both.tensors)
    for key, array in lone.tensors.items():
        assert array.dtype == both.tensors[key].dtype
        np.testing.assert_array_equal(array, both.tensors[key][:1])


def test_one_poisoned_item_fails_alone(folder):
    model, face = served(folder / "text")
    samples = [token_ids(4, 5, 6), token_ids(4, POISON, 6), token_ids(7, 8, 9)]
    parts = [face.to_parts([sample], batch_size=8)[0] for sample in samples]
    answers = run(model, parts)
    assert [answers[number][0]["status"] for number in range(3)] == [OK, REFUSED, OK]
    alone = model.run([parts[2].tensors])[0]["logits"]
    assert answers[2][1]["logits"].tobytes() == alone.tobytes()


def test_the_poisoned_sample_of_an_item_is_named(folder):
    model, face = served(folder / "text")
    samples = [token_ids(4), token_ids(5), token_ids(POISON)]
    answers = run(model, face.to_parts(samples, batch_size=8))
    assert (answers[0][0]["status"], answers[0][0]["index"]) == (REFUSED, 2)


def test_tensors_that_do_not_fit_each_other_are_the_inputs_fault(folder):
    _, face = served(folder / "text")
    sample = Sample("inputs", {"input_ids": [4, 5, 6], "attention_mask": [1, 1]}, "instances[1]")
    with pytest.raises(
        BadRequestError, match=r"has shape \[2\], but inputs.input_ids has \[3\]"
    ) as e:
        face.to_parts([sample], batch_size=8)
    assert e.value.field == "instances[1].inputs.attention_mask"


def test_a_model_that_no_longer_answers_its_probe_is_at_fault(folder):
    model, face = served(folder / "text")
    broken = LoadedModel(**{**vars(model), "probe": {"input_ids": np.zeros((1, 1))}})
    answers = run(broken, face.to_parts([token_ids(POISON)], batch_size=8))
    assert answers[0][0]["status"] == FAILED


def test_an_answer_that_is_not_finite_names_its_sample(folder):
    model, face = served(folder / "log.onnx")
    samples = [Sample("inputs", {"x": [1.0, value]}) for value in (1.0, -1.0)]
    [part] = face.to_parts(samples, batch_size=8)
    [outputs] = model.run([part.tensors])
    with pytest.raises(RefusedSampleError) as caught:
        face.to_answers(outputs, part)
    assert caught.value.index == 1


def test_load_model_refuses_a_bundle_whose_golden_answers_differ(tmp_path):
    bundle = image_bundle(tmp_path / "good")
    other = image_bundle(tmp_path / "other", seed=7)
    files = {name: bundle.file(name) for name in bundle.manifest.files}
    files["model.onnx"] = other.file("model.onnx")
    write_bundle(tmp_path / "bad", manifest=replace(bundle.manifest, files={}), files=files)
    with pytest.raises(IntegrityError, match="golden"):
        load(tmp_path / "bad")


@pytest.mark.parametrize("damage", ["changed", "stray", "manifest", "link", "gone"])
def test_load_model_refuses_a_damaged_bundle(tmp_path, damage):
    bundle = image_bundle(tmp_path / "bundle")
    model = bundle.file("model.onnx")
    if damage == "changed":
        content = model.read_bytes()
        model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "stray":
        (tmp_path / "bundle" / "extra").write_bytes(b"")
    elif damage == "manifest":
        (tmp_path / "bundle" / "manifest.json").write_text("{")
    elif damage == "link":
        model.rename(tmp_path / "elsewhere")
        model.symlink_to(tmp_path / "elsewhere")
    else:
        model.unlink()
    with pytest.raises(BundleError):
        load(tmp_path / "bundle")


def test_load_model_refuses_a_file_that_is_no_model(tmp_path):
    (tmp_path / "garbage.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError):
        load(tmp_path / "garbage.onnx")


def test_catalog_finds_by_name_and_version_and_takes_the_first_for_none(folder):
    catalog = Catalog()
    infos = [load(folder / name).info for name in ("text", "image")]
    catalog.update(map(ServedModel, infos))
    assert catalog.find(None, None).info == infos[0]
    assert catalog.find("shades", None).info == infos[1]
    assert catalog.find("shades", infos[1].version).info == infos[1]
    with pytest.raises(UnknownTargetError, match="no model 'x'") as caught:
        catalog.find("x", None)
    assert caught.value.remedy == "the models are moods, shades"
    with pytest.raises(UnknownTargetError, match="no version '9'"):
        catalog.find("shades", "9")
    for target in (("n" * 5_000, None), ("shades", "9" * 5_000)):
        with pytest.raises(UnknownTargetError) as caught:
            catalog.find(*target)
        assert len(str(caught.value)) < 150


def test_catalog_tells_when_what_has_left_is_needed_no_more(folder):
    catalog, told = Catalog(), []
    catalog.on_unused = lambda: told.append(True)
    served = ServedModel(load(folder / "image").info)
    catalog.update([served])
    with catalog.using(served):
        with catalog.using(served):
            assert catalog.users(served.info.key) == 2
        catalog.update([])
        assert catalog.get(served.info.key) is None
        assert told == []
    assert told == [True]


def test_a_model_that_computes_long_is_held_twice_and_answers_alike(tmp_path):
    (tmp_path / "waves.onnx").write_bytes(waves_onnx(50_000, deep=40))
    model = load(tmp_path / "waves.onnx", streams=True)
    assert model.narrow is not None
    assert model.narrow.metadata()["threads"] == 1
    part = {"x": np.linspace(0, 1, 50_000, dtype=np.float32)[np.newaxis]}
    [alone], [beside] = model.run([part]), model.run([part], shared=True)
    np.testing.assert_allclose(alone["y"], beside["y"], rtol=1e-6)


@pytest.mark.parametrize("options", [{"streams": False}, {"streams": True}])
def test_a_model_that_is_quick_or_has_no_streams_is_held_once(folder, options):
    assert load(folder / "double.onnx", **options).narrow is None
