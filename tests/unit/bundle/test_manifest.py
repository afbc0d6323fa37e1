from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import ManifestError, NotFoundError, UnsafePathError
from bundle.manifest import (
    SCHEMA,
    FileEntry,
    GateResult,
    Golden,
    GoldenAnswers,
    Manifest,
    TensorSpec,
    Variant,
)
from bundle.model_name import check_model_name
from bundle.preprocessing.config import ImageConfig, TextConfig
from bundle.tensor import DTYPES

SHA = "0" * 64
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SPECS = st.lists(
    st.builds(
        TensorSpec,
        name=TEXT,
        dtype=st.sampled_from(DTYPES),
        shape=st.lists(st.integers(-1, 2**40), max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda spec: spec.name,
).map(tuple)
GATES = st.builds(
    GateResult,
    budget=st.none() | FINITE,
    samples=st.integers(0, 10**9),
    delta=st.none() | FINITE,
    bound=st.none() | FINITE,
    agreement=st.none() | FINITE,
    batch_invariant=st.none() | st.booleans(),
    reason=st.text(st.characters(exclude_categories=["Cs"])),
)


@st.composite
def manifests(draw):
    labels = tuple(draw(st.lists(TEXT, unique=True, max_size=5)))
    logits = TensorSpec(name="logits", dtype="float32", shape=(-1, len(labels)))
    entry = FileEntry(sha256=SHA, bytes=draw(st.integers(0, 2**50)))
    names = draw(st.lists(TEXT, min_size=1, max_size=3, unique=True))
    variants = tuple(
        Variant(
            name=name,
            file=None if index and draw(st.booleans()) else "model.onnx",
            precision=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
            bytes=entry.bytes,
            sha256=SHA,
            certified=draw(st.booleans()),
            gate=draw(GATES),
        )
        for index, name in enumerate(names)
    )
    preprocessing = draw(
        st.sampled_from(
            [
                None,
                ImageConfig(height=3, width=4, resize="crop"),
                TextConfig(max_length=9, tokenizer_sha256=SHA),
            ]
        )
    )
    golden = draw(st.none() | st.just(Golden(samples="golden.json", count=2, atol=0.1, rtol=0)))
    files = ("model.onnx", "golden.npz", "golden.json", "tokenizer.json", "licence/LICENSE")
    return Manifest(
        name="model",
        task="text-classification" if labels else "tensor",
        labels=labels,
        inputs=draw(SPECS),
        outputs=(logits,) if labels else draw(SPECS),
        preprocessing=preprocessing,
        default_variant=names[0],
        variants=variants,
        golden=golden,
        lineage=draw(st.dictionaries(TEXT, st.none() | FINITE | TEXT | st.lists(TEXT))),
        files=dict.fromkeys(files, entry),
    )


def example(**changes):
    entry = FileEntry(sha256=SHA, bytes=3)
    manifest = Manifest(
        name="digits",
        task="tensor",
        inputs=(TensorSpec(name="x", dtype="float32", shape=(-1, 4)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 4)),),
        default_variant="fp32",
        variants=(Variant(name="fp32", file="model.onnx", bytes=3, sha256=SHA),),
        files={"model.onnx": entry},
    )
    return replace(manifest, **changes)


@settings(max_examples=60)
@given(manifests())
def test_manifest_survives_its_own_json(manifest):
    text = manifest.to_json()

    assert Manifest.from_json(text) == manifest
    assert Manifest.from_json(text).to_json() == text
    assert text.endswith("}\n")
    assert json.loads(text)["schema"] == 1  # the oldest that can express it


def test_manifest_has_the_keys_that_users_rely_on():
    document = example().to_dict()

    assert set(document) == {
        *("schema", "name", "task", "labels", "inputs", "outputs", "preprocessing"),
        *("default_variant", "variants", "golden", "lineage", "files"),
    }
    assert set(document["variants"][0]) == {
        *("name", "file", "format", "precision", "bytes", "sha256", "certified", "gate"),
    }
    assert set(document["variants"][0]["gate"]) == {
        *("budget", "samples", "delta", "bound", "agreement", "batch_invariant", "reason"),
    }


def test_limits_of_the_gate_are_there_where_it_had_some_and_need_the_newest_schema():
    limited = GateResult(budget=0.005, agreement_limit=0.98, batch_flips_limit=0)
    (fp32,) = example().variants
    manifest = replace(example(), variants=(replace(fp32, gate=limited),))

    document = manifest.to_dict()
    assert document["schema"] == SCHEMA == 3
    assert document["variants"][0]["gate"] == {
        **example().to_dict()["variants"][0]["gate"],
        "budget": 0.005,
        "agreement_limit": 0.98,
        "batch_flips_limit": 0.0,
    }
    assert Manifest.from_json(manifest.to_json()) == manifest


def changed(path, value):
    document = example(
        golden=Golden(count=1, atol=0, rtol=0),
        files={**example().files, "golden.npz": FileEntry(sha256=SHA, bytes=1)},
    ).to_dict()
    *parents, key = path
    place = document
    for parent in parents:
        place = place[parent]
    if value is KeyError:
        del place[key]
    else:
        place[key] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("schema",), "1", "schema"),
        (("schema",), 0, "schema"),
        (("schema",), KeyError, "schema"),
        (("name",), 7, "name"),
        (("name",), "a/b", "name"),
        (("task",), "speech", "task"),
        (("labels",), "cat", "labels"),
        (("labels",), ["cat", "cat"], "labels"),
        (("labels",), ["cat"], "labels"),
        (("inputs",), [], "inputs"),
        (("inputs", 0, "dtype"), "float31", "inputs[0].dtype"),
        (("inputs", 0, "shape"), [-2], "inputs[0].shape"),
        (("inputs", 0, "shape"), [1.5], "inputs[0].shape[0]"),
        (("inputs", 0, "shape"), None, "inputs[0].shape"),
        (("outputs", 0, "shape"), None, "outputs[0].shape"),
        (("inputs", 0, "name"), KeyError, "inputs[0].name"),
        (("inputs", 0, "extra"), 1, "inputs[0].extra"),
        (("preprocessing",), {"kind": "audio"}, "preprocessing.kind"),
        (("preprocessing",), [], "preprocessing"),
        (("default_variant",), "int8", "default_variant"),
        (("variants",), [], "default_variant"),
        (("variants", 0, "file"), None, "default_variant"),
        (("variants", 0, "file"), "gone.onnx", "files"),
        (("variants", 0, "format"), "pickle", "variants[0].format"),
        (("variants", 0, "bytes"), -1, "variants[0].bytes"),
        (("variants", 0, "bytes"), 4, "variants.sha256"),
        (("variants", 0, "sha256"), "1" * 64, "variants.sha256"),
        (("variants", 0, "certified"), 1, "variants[0].certified"),
        (("variants", 0, "gate"), None, "variants[0].gate"),
        (("variants", 0, "gate", "samples"), True, "variants[0].gate.samples"),
        (("variants", 0, "gate", "agreement_limit"), "1", "variants[0].gate.agreement_limit"),
        (("golden", "count"), 0, "golden.count"),
        (("golden", "atol"), -1, "golden.atol"),
        (("golden", "tensors"), "gone.npz", "files"),
        (("lineage",), None, "lineage"),
        (("files",), {}, "files"),
        (("files", "model.onnx", "sha256"), "xyz", "files.model.onnx.sha256"),
        (("files", "model.onnx", "bytes"), 1.0, "files.model.onnx.bytes"),
        (("comment",), "hello", "comment"),
    ],
)
def test_manifest_names_the_field_that_is_wrong(path, value, field):
    with pytest.raises(ManifestError) as found:
        Manifest.from_dict(changed(path, value))

    assert found.value.field == field


def test_manifest_asks_for_an_upgrade_when_its_schema_is_newer():
    document = changed(("schema",), SCHEMA + 1) | {"something": "new"}

    with pytest.raises(ManifestError, match="newer") as found:
        Manifest.from_dict(document)

    assert "upgrade" in found.value.remedy


@pytest.mark.parametrize("name", ["../model.onnx", "/model.onnx", "a\\b", "manifest.json"])
def test_manifest_refuses_names_that_leave_the_bundle(name):
    document = changed(("variants", 0, "file"), name)
    document["files"][name] = document["files"]["model.onnx"]

    with pytest.raises(UnsafePathError, match=r"manifest\.json"):
        Manifest.from_dict(document)


def test_manifest_refuses_labels_that_do_not_fit_the_logits():
    with pytest.raises(ManifestError, match=r"first output has shape \[-1, 4\]") as found:
        example(task="image-classification", labels=("a", "b"))

    assert found.value.field == "outputs"


@pytest.mark.parametrize("lineage", [{"when": object()}, {"loss": float("nan")}])
def test_manifest_refuses_to_write_lineage_that_is_not_json(lineage):
    with pytest.raises(ManifestError, match="lineage is not JSON"):
        example(lineage=lineage).to_json()


def test_manifest_lists_its_variants_when_asked_for_an_unknown_one():
    with pytest.raises(NotFoundError, match="no variant 'int8'") as found:
        example().variant("int8")

    assert found.value.remedy == "choose one of fp32"


def test_gate_refuses_a_bound_that_is_not_a_number():
    with pytest.raises(ManifestError, match=r"gate\.bound=nan"):
        GateResult(bound=float("nan"))


@pytest.mark.parametrize("name", ["digits", "Ünïcode 模型", "a.b-c_d", "x" * 200])
def test_model_name_is_accepted_when_a_registry_can_carry_it(name):
    assert check_model_name(name) == name


@pytest.mark.parametrize(
    "name", ["", " a", "a\n", ".", "..", "a/b", "a:b", "a@b", "a=b", "a'b", 'a"b', "x" * 201]
)
def test_model_name_is_refused_when_a_url_or_registry_cannot_carry_it(name):
    with pytest.raises(ManifestError, match="cannot name a model"):
        check_model_name(name)


def answering(**variants: GoldenAnswers) -> Manifest:
    """fp32 and int8, with golden answers of these besides the default's."""
    entry = FileEntry(sha256=SHA, bytes=3)
    files = dict.fromkeys(("model.onnx", "int8.onnx", "golden.npz", "golden-int8.npz"), entry)
    others = (Variant(name="int8", file="int8.onnx", bytes=3, sha256=SHA),)
    golden = Golden(count=1, atol=0.1, rtol=0.1, answers=variants)
    return example(variants=(*example().variants, *others), golden=golden, files=files)


INT8_ANSWERS = GoldenAnswers(tensors="golden-int8.npz", atol=1, rtol=0)


def test_manifest_is_of_the_schema_that_can_express_it():
    plain, newer = answering().to_dict(), answering(int8=INT8_ANSWERS).to_dict()

    assert (plain["schema"], newer["schema"]) == (1, 2)
    assert "answers" not in plain["golden"]
    assert Manifest.from_dict(newer) == answering(int8=INT8_ANSWERS)
    assert "golden-int8.npz" in answering(int8=INT8_ANSWERS).referenced_files()


@pytest.mark.parametrize("name", ["fp32", "fp16"])
def test_golden_answers_are_refused_of_the_default_and_of_what_has_no_file(name):
    with pytest.raises(ManifestError, match=r"golden\.answers"):
        answering(**{name: INT8_ANSWERS})


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_golden_answers_are_refused_with_a_tolerance_that_is_none(tolerance):
    with pytest.raises(ManifestError, match=r"golden\.answers\.atol"):
        replace(INT8_ANSWERS, atol=tolerance)
