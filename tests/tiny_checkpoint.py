"""Checkpoints as train.py leaves them, trained for a moment, for tests that export one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from filelock import FileLock

from tests.session_folder import session_folder
from trainer.compose import compose
from trainer.run import train
from trainer.schema import register_schemas

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

IMAGES = ("data=digits", "model=mlp", "model.hidden=[16]")
WORDS = {
    "good": ["superb", "warm", "clever", "bright", "lovely", "touching"],
    "bad": ["dull", "cold", "clumsy", "dreary", "awful", "shallow"],
}


def texts(folder: Path) -> tuple[str, ...]:
    """Overrides for a small BERT on a table of texts that is written into `folder`."""
    generator = random.Random(0)
    lines = ["text,label"]
    for index in range(120):
        label = ("good", "bad")[index % 2]
        words = generator.choices(WORDS[label] + ["film", "scene", "actor"], k=1 + index % 9)
        lines.append(f"{' '.join(words)} number {index},{label}")
    table = folder / "reviews.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sizes = ("model.width=16", "model.heads=2", "model.layers=1", "model.feed_forward=32")
    return (
        "model=bert_tiny",
        *sizes,
        "data=text_table",
        f"data.root={table}",
        "data.max_length=16",
    )


def train_tiny(folder: Path, *overrides: str) -> Path:
    """Train one epoch; the run's best checkpoint."""
    settings = (
        "trainer.max_epochs=1",
        "trainer.progress=none",
        "trainer.report=false",
        "tracking=none",
    )
    cfg = compose("train", [*settings, *overrides], schemas=register_schemas)
    train(cfg, folder=folder)
    return folder / "checkpoints" / "best.ckpt"


def shared_checkpoint(factory: pytest.TempPathFactory, kind: str) -> Path:
    """The best checkpoint of a model on `kind` ("images" or "texts"), trained once a session."""
    folder = session_folder(factory) / f"trained-{kind}"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        checkpoint = folder / "run" / "checkpoints" / "best.ckpt"
        if checkpoint.is_file():
            return checkpoint
        return train_tiny(folder / "run", *(IMAGES if kind == "images" else texts(folder)))
