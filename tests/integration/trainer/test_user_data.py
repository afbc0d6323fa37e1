"""Whole runs on what users bring: folders of images, tables, data sets saved to disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import datasets
import pytest

from tests.tiny_checkpoint import train_tiny
from tests.unit.trainer.data.making import picture, write_images

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = (
    "model=mlp",
    "model.hidden=[16]",
    "data.height=8",
    "data.width=8",
    "data.batch_size=8",
    "trainer.max_epochs=2",
)
TEXTS = (
    "model=bert_tiny",
    "model.width=16",
    "model.heads=2",
    "model.layers=1",
    "model.feed_forward=32",
    "data.max_length=16",
    "data.batch_size=8",
    "trainer.max_epochs=1",
)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def _trained(folder: Path, *overrides: str) -> dict:
    train_tiny(folder, "trainer.threads=1", *overrides)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert {"val/accuracy", "test/accuracy"} <= summary["metrics"].keys()
    return summary


@pytest.mark.parametrize(
    ("balance", "cache_bytes", "steps"), [("weights", 2**20, 12), ("oversample", 0, 24)]
)
def test_run_trains_on_a_folder_of_images_with_rare_classes_and_corrupt_files(
    tmp_path: Path, balance: str, cache_bytes: int, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "photos"
    write_images(root / "common", count=60)
    write_images(root / "rare", count=6, start=60)
    (root / "common" / "broken.png").write_bytes(picture(0)[:20])
    summary = _trained(
        tmp_path / "run",
        "data=image_folder",
        *IMAGES,
        f"data.root={root}",
        f"data.balance={balance}",
        f"data.cache_bytes={cache_bytes}",
        "data.on_error=skip",
        "data.num_workers=2",
    )
    assert summary["steps"] == steps  # of 48 common and 4 rare samples, or of 48 of each
    skipped = [r.getMessage() for r in caplog.records if "were skipped" in r.getMessage()]
    assert ["1 of 67 samples" in message for message in skipped] == [True]
    assert "common/broken.png" in skipped[0]


def test_run_trains_on_a_table_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    table = tmp_path / "reviews.csv"
    lines = [f"{('good', 'dull')[n % 2]} film, number {n};{n % 2}" for n in range(40)]
    table.write_text("\n".join(["review;stars", *lines]), encoding="utf-8-sig")
    columns = ("data.text_column=review", "data.label_column=stars")
    _trained(tmp_path / "run", "data=text_table", f"data.root={table}", *columns, *TEXTS)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_run_trains_on_a_data_set_saved_to_disk(tmp_path: Path, kind: str) -> None:
    if kind == "image":
        samples = [{"bytes": picture(n), "path": None} for n in range(40)]
        features = {"image": datasets.Image(), "label": datasets.Value("int64")}
    else:
        samples = [f"{('good', 'dull')[n % 2]} film, number {n}" for n in range(40)]
        features = {"text": datasets.Value("string"), "label": datasets.Value("int64")}
    saved = datasets.Dataset.from_dict(
        {kind: samples, "label": [n % 2 for n in range(40)]}, features=datasets.Features(features)
    )
    saved.save_to_disk(tmp_path / "saved")
    model = IMAGES if kind == "image" else TEXTS
    options = (f"data.root={tmp_path / 'saved'}", f"data.kind={kind}", f"data.input_column={kind}")
    _trained(tmp_path / "run", "data=hf", *model, *options)
