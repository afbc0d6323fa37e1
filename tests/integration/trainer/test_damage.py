"""A run whose checkpoints were damaged goes on from one that is whole, or not at all."""

from __future__ import annotations

import logging
import os
import shutil
from typing import TYPE_CHECKING

import pytest
import torch

from tests.integration.trainer.conftest import SAVES, STOPPED_AT, stop_at
from tests.training import same, train_tiny, weights
from trainer.checkpoints.checkpoint import verify_checkpoint
from trainer.checkpoints.sharded import MANIFEST, STATE
from trainer.checkpoints.sidecar import sidecar_path
from trainer.errors import CheckpointError
from trainer.events import read_events
from trainer.restore import restore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning"),
]
SHARDS = ("__0_0.distcp", ".metadata", STATE, MANIFEST)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def punch_a_hole(path: Path) -> None:
    """4 KiB of zeros, as after a lost write; all of a smaller file."""
    size = path.stat().st_size
    length = min(4096, size)
    with path.open("r+b") as stream:
        stream.seek((size - length) // 2)
        stream.write(bytes(length))


def delete(path: Path) -> None:
    path.unlink()


def put_something_else(path: Path) -> None:
    path.write_bytes(b"not a checkpoint")


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = (truncate, flip_a_bit, punch_a_hole, delete)


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    """Of a stopped run, whose newest checkpoint has one name only."""
    copy = shutil.copytree(stopped, tmp_path / "run")
    (copy / "checkpoints/best.ckpt").unlink()
    (copy / "checkpoints/best.ckpt.json").unlink()
    return copy


@pytest.fixture(scope="module")
def stopped_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`stopped`, in shards."""
    folder = tmp_path_factory.mktemp("stopped-shards")
    stop_at(folder, STOPPED_AT, *SAVES, "callbacks.sharded=true", "callbacks.save_best=false")
    return folder


@pytest.fixture
def sharded(stopped_shards: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(stopped_shards, tmp_path / "run")


def _fell_back_loudly(
    folder: Path, caplog: pytest.LogCaptureFixture, undisturbed: Path, *options: str
) -> None:
    with caplog.at_level(logging.WARNING):
        train_tiny(folder, *SAVES, *options)
    warnings = [r.getMessage() for r in caplog.records if "quarantine" in r.getMessage()]
    assert len(warnings) == 1
    assert "last.ckpt" in warnings[0]
    kinds = [event["kind"] for event in read_events(folder)]
    assert kinds == ["stop", "quarantine", "fallback", "resume"]
    assert list((folder / "checkpoints/quarantine").iterdir())
    assert same(
        weights(folder / "checkpoints/last.ckpt"), weights(undisturbed / "checkpoints/last.ckpt")
    )


@pytest.mark.parametrize("of", ["checkpoint", "sidecar"])
@pytest.mark.parametrize("damage", [*DAMAGES, put_something_else, empty])
def test_property_03_run_ends_the_same_when_its_newest_checkpoint_is_damaged(
    damage: Callable[[Path], None],
    of: str,
    folder: Path,
    undisturbed: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    last = folder / "checkpoints/last.ckpt"
    damage(last if of == "checkpoint" else sidecar_path(last))
    _fell_back_loudly(folder, caplog, undisturbed)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow, pytest.mark.soak]) for name in SHARDS[1:]]
    + [SHARDS[0]],
)
@pytest.mark.parametrize("damage", DAMAGES)
def test_property_03_sharded_run_ends_the_same_when_a_file_of_its_newest_checkpoint_is_damaged(
    damage: Callable[[Path], None],
    name: str,
    sharded: Path,
    undisturbed: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(sharded / "checkpoints/last.ckpt" / name)
    options = ("callbacks.sharded=true", "callbacks.save_best=false")
    _fell_back_loudly(sharded, caplog, undisturbed, *options)
    assert (sharded / "checkpoints/last.ckpt").is_dir()


def test_property_03_sharded_run_has_the_same_best_when_it_was_stopped(
    tmp_path: Path, undisturbed: Path
) -> None:
    folder = tmp_path / "run"
    stop_at(folder, STOPPED_AT, *SAVES, "callbacks.sharded=true")
    train_tiny(folder, *SAVES, "callbacks.sharded=true")
    restored = restore(folder / "checkpoints/best.ckpt").model.state_dict()
    best = weights(undisturbed / "checkpoints/best.ckpt")
    assert all(torch.equal(best[f"model.{name}"], value) for name, value in restored.items())


def test_property_03_run_ends_the_same_when_all_but_the_oldest_checkpoint_are_damaged(
    folder: Path, undisturbed: Path
) -> None:
    found = [
        *sorted((folder / "checkpoints").glob("step-*.ckpt")),
        folder / "checkpoints/last.ckpt",
    ]
    assert len(found) == 3
    for path in found[1:]:
        flip_a_bit(path)
    step = verify_checkpoint(found[0])["step"]
    train_tiny(folder, *SAVES)
    events = read_events(folder)
    kinds = [event["kind"] for event in events]
    assert kinds == ["stop", "quarantine", "quarantine", "fallback", "resume"]
    assert events[-1]["step"] == step < STOPPED_AT
    assert same(
        weights(folder / "checkpoints/last.ckpt"), weights(undisturbed / "checkpoints/last.ckpt")
    )


@pytest.mark.parametrize("form", ["files", "shards"])
def test_run_refuses_to_start_from_zero_when_all_its_checkpoints_are_damaged(
    form: str, stopped: Path, stopped_shards: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(stopped if form == "files" else stopped_shards, tmp_path / "run")
    found = list((folder / "checkpoints").glob("*.ckpt"))
    for path in found:
        truncate(path if path.is_file() else path / MANIFEST)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="every checkpoint of this run is damaged"):
            train_tiny(folder, *SAVES)
    assert len(list((folder / "checkpoints/quarantine").glob("*.ckpt"))) == len(found)
    train_tiny(folder, *SAVES, "resume=never")
    assert len(list((folder / "checkpoints.1/quarantine").glob("*.ckpt"))) == len(found)
    assert verify_checkpoint(folder / "checkpoints/last.ckpt")["step"] == 20
