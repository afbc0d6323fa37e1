from __future__ import annotations

import logging
import os

import pytest

from tests.unit.trainer.data.making import picture, write_images
from trainer.data.sources.image_folder import ImageFolderSource
from trainer.errors import DataError


def test_image_folder_takes_classes_from_folders_sorted(image_root):
    corpus = ImageFolderSource(str(image_root)).load()

    assert corpus.classes == ("Katze", "犬")
    assert corpus.labels.tolist() == [0] * 8 + [1] * 8
    assert corpus.names[0] == "Katze/0.png"
    assert corpus.raw[0] == picture(0)
    assert corpus.given is None
    assert [len(corpus.raw[2:4]), len(corpus.raw)] == [2, 16]


def test_image_folder_takes_the_splits_when_the_top_folders_name_them(tmp_path):
    for start, split in enumerate(("train", "Validation", "test")):
        write_images(tmp_path / split / "a", count=2, start=start * 10)
        write_images(tmp_path / split / "b", count=1, start=start * 10 + 5)

    corpus = ImageFolderSource(str(tmp_path)).load()

    assert corpus.classes == ("a", "b")
    assert dict(zip(corpus.names, corpus.given.tolist(), strict=True)) == {
        "Validation/a/10.png": 1,
        "Validation/a/11.png": 1,
        "Validation/b/15.png": 1,
        "test/a/20.png": 2,
        "test/a/21.png": 2,
        "test/b/25.png": 2,
        "train/a/0.png": 0,
        "train/a/1.png": 0,
        "train/b/5.png": 0,
    }


def test_image_folder_reads_nested_folders_but_not_hidden_ones(tmp_path):
    write_images(tmp_path / "a" / "deep" / "deeper", count=1)
    write_images(tmp_path / "a" / ".thumbnails", count=1)
    write_images(tmp_path / "b", count=1)
    (tmp_path / "b" / ".DS_Store").write_bytes(b"x")
    write_images(tmp_path / ".cache", count=1)

    corpus = ImageFolderSource(str(tmp_path)).load()

    assert corpus.names == ["a/deep/deeper/0.png", "b/0.png"]


@pytest.mark.parametrize("name", ["notes.txt", "scan.pdf", "logo.eps"])
def test_image_folder_reports_files_that_are_no_images(name, image_root, caplog):
    (image_root / "Katze" / name).write_text("hello")

    with caplog.at_level(logging.WARNING):
        corpus = ImageFolderSource(str(image_root)).load()

    assert len(corpus) == 16
    assert "1 files are no images" in caplog.text
    assert f"Katze/{name}" in caplog.text


def test_image_folder_names_the_folder_when_it_is_missing(tmp_path):
    root = tmp_path / "nirgends"
    with pytest.raises(DataError, match="there is no such folder") as error:
        ImageFolderSource(str(root)).load()
    assert str(error.value).startswith(f"data.root={root}")
    assert error.value.field == "data.root"
    assert "sub-folder" in error.value.remedy


def test_image_folder_says_so_when_it_is_a_file(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match="is not a folder"):
        ImageFolderSource(str(tmp_path / "x.png")).load()


def test_image_folder_says_so_when_it_has_no_folders(tmp_path):
    (tmp_path / "x.png").write_bytes(picture(0))
    with pytest.raises(DataError, match="has no sub-folders"):
        ImageFolderSource(str(tmp_path)).load()


def test_image_folder_names_the_class_when_it_is_empty(image_root):
    (image_root / "leer").mkdir()
    with pytest.raises(DataError, match="'leer' has no image in it"):
        ImageFolderSource(str(image_root)).load()


def test_image_folder_says_so_when_split_folders_hold_no_classes(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="the folders test, train have no sub-folders"):
        ImageFolderSource(str(tmp_path)).load()


def test_pipe_is_an_error_and_not_waited_for(image_root):
    os.mkfifo(image_root / "Katze" / "pipe.png")
    corpus = ImageFolderSource(str(image_root)).load()
    with pytest.raises(OSError, match="not a regular file"):
        corpus.raw[corpus.names.index("Katze/pipe.png")]
