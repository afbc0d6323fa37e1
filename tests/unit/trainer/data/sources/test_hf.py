from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.unit.trainer.data.making import picture
from trainer.data.sources.hf import HfSource
from trainer.errors import DataError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def texts(rows, **features):
    columns = {
        name: [row[position] for row in rows] for position, name in enumerate(("text", "label"))
    }
    return datasets.Dataset.from_dict(columns, **features)


def test_hf_reads_texts_saved_to_disk_with_their_splits(tmp_path):
    labels = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": labels})
    datasets.DatasetDict(
        {
            "train": texts([("naïve", 1), ("b", 0)], features=features),
            "validation": texts([("c", 1)], features=features),
        }
    ).save_to_disk(tmp_path / "ü")

    source = HfSource(str(tmp_path / "ü"), kind="text", input_column="text")
    corpus = source.load()

    assert list(corpus.raw) == ["naïve", "b", "c"]
    assert corpus.classes == ("neg", "pos")
    assert corpus.labels.tolist() == [1, 0, 1]
    assert corpus.given.tolist() == [0, 0, 1]


def test_hf_reads_images_saved_to_disk_as_they_were_encoded(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    images = [{"bytes": picture(number), "path": None} for number in range(3)]
    datasets.Dataset.from_dict(
        {"image": [*images, None], "label": ["a", "b", "a", "b"]}, features=features
    ).save_to_disk(tmp_path / "d")

    corpus = HfSource(str(tmp_path / "d")).load()

    assert corpus.raw[1] == picture(1)
    assert corpus.raw[0:2] == [picture(0), picture(1)]
    assert Image.open(io.BytesIO(corpus.raw[2])).size == (6, 5)
    assert corpus.given is None
    with pytest.raises(OSError, match="there is no image"):
        corpus.raw[3]


def test_hf_reads_local_files(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\nx,a\ny,b\n")
    (tmp_path / "test.csv").write_text("text,label\nz,b\n")

    corpus = HfSource(str(tmp_path), kind="text", input_column="text").load()

    assert list(corpus.raw) == ["x", "y", "z"]
    assert corpus.given.tolist() == [0, 0, 2]


def test_hf_skips_samples_without_a_label_when_asked_to(tmp_path):
    labels = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": labels})
    texts([("a", 1), ("b", -1), ("c", 0)], features=features).save_to_disk(tmp_path / "d")
    options = {"kind": "text", "input_column": "text"}

    with pytest.raises(DataError, match="sample 1: the label is missing"):
        HfSource(str(tmp_path / "d"), **options).load()
    corpus = HfSource(str(tmp_path / "d"), on_error="skip", **options).load()

    assert list(corpus.raw) == ["a", "c"]
    assert corpus.names == ["sample 0", "sample 2"]
    assert corpus.skipped == ("sample 1: the label is missing",)


def test_hf_skips_samples_without_a_text_when_asked_to(tmp_path):
    texts([("a", 1), (None, 0), ("  ", 0), ("c", 0)]).save_to_disk(tmp_path / "d")
    options = {"kind": "text", "input_column": "text"}

    with pytest.raises(DataError, match="sample 1: the text is empty or blank"):
        HfSource(str(tmp_path / "d"), **options).load()
    corpus = HfSource(str(tmp_path / "d"), on_error="skip", **options).load()

    assert list(corpus.raw) == ["a", "c"]
    assert corpus.labels.tolist() == [1, 0]
    assert len(corpus.skipped) == 2


def test_hf_names_the_columns_there_are_when_one_is_missing(tmp_path):
    texts([("a", 1)]).save_to_disk(tmp_path / "d")
    with pytest.raises(DataError, match=r"no column 'image' \(data.input_column\)") as error:
        HfSource(str(tmp_path / "d")).load()
    assert error.value.remedy == "use one of 'text', 'label'"


def test_hf_says_so_when_the_column_holds_something_else(tmp_path):
    datasets.Dataset.from_dict({"image": [1, 2], "label": [0, 1]}).save_to_disk(tmp_path / "d")
    with pytest.raises(DataError, match=r"the column 'image' holds .*int64.*, not images"):
        HfSource(str(tmp_path / "d")).load()


def test_hf_names_the_folder_when_it_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"data\.root=.*: there is no such folder"):
        HfSource(str(tmp_path / "nirgends")).load()


def test_hf_says_so_when_a_name_cannot_be_reached():
    with pytest.raises(DataError, match=r"data\.root=no-such/dataset: cannot be loaded"):
        HfSource("no-such/dataset").load()


def test_hf_says_so_when_nothing_is_for_training(tmp_path):
    datasets.DatasetDict({"test": texts([("a", 1)])}).save_to_disk(tmp_path / "d")
    with pytest.raises(DataError, match="no split named train, only test"):
        HfSource(str(tmp_path / "d"), kind="text", input_column="text").load()
