"""Data modules under a real Trainer: the epochs it counts, and where it goes on after a stop."""

from __future__ import annotations

import logging
import multiprocessing

import pytest
import pytorch_lightning as pl
import torch

from tests.unit.trainer.data.making import image_module

# Lightning 2.6 asks torch's trees in a way that torch 2.13 calls deprecated.


class Recorder(pl.LightningModule):
    """Trains one weight and remembers the batches it was given."""

    def __init__(self, *, looks_ahead: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.looks_ahead = looks_ahead
        self.seen: list[tuple[int, bytes]] = []
        self.validated: list[int] = []

    def training_step(self, batch, batch_idx):
        content = batch["image"].numpy().tobytes() + batch["label"].numpy().tobytes()
        self.seen.append((self.current_epoch, content))
        return (self.weight - batch["image"].float().mean()).square().sum()

    def validation_step(self, batch, batch_idx):
        self.validated.append(len(batch["label"]))

    def configure_optimizers(self):
        if self.looks_ahead:
            # Lightning sets the loaders up here, before it has read the checkpoint's progress.
            assert self.trainer.estimated_stepping_batches > 0
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Saving(pl.Callback):
    """Saves a checkpoint after each step, where ModelCheckpoint would, and after each epoch."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer, *args):
        trainer.save_checkpoint(self.folder / f"step={trainer.global_step}.ckpt")

    def on_train_epoch_end(self, trainer, *args):
        trainer.save_checkpoint(self.folder / f"epoch={trainer.current_epoch}.ckpt")


def fit(tmp_path, *, module, model, max_epochs=3, ckpt_path=None, callbacks=(), **options):
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=max_epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=list(callbacks),
        use_distributed_sampler=False,
        **options,
    )
    trainer.fit(model, datamodule=module, ckpt_path=ckpt_path)
    return trainer


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    model = Recorder()
    fit(tmp_path_factory.mktemp("whole"), module=image_module(), model=model)
    return model.seen


def test_every_epoch_of_a_fit_has_another_order(uninterrupted):
    assert len(uninterrupted) == 12
    assert len({content for _, content in uninterrupted}) == 12


def test_fit_sees_the_same_batches_with_loader_processes(tmp_path, uninterrupted):
    model = Recorder()
    fit(tmp_path, module=image_module(num_workers=2), model=model)
    assert model.seen == uninterrupted


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("looks_ahead", [False, True])
@pytest.mark.parametrize("step", [3, 4, 6])
def test_fit_goes_on_with_the_next_batch_when_it_was_stopped(
    tmp_path, uninterrupted, step, looks_ahead, num_workers
):
    """Step 4 is the last of an epoch; the others are in the middle of one."""
    saving = Saving(tmp_path)
    fit(tmp_path, module=image_module(), model=Recorder(), callbacks=[saving], max_steps=step)
    model = Recorder(looks_ahead=looks_ahead)

    fit(
        tmp_path,
        module=image_module(num_workers=num_workers),
        model=model,
        ckpt_path=tmp_path / f"step={step}.ckpt",
    )

    assert model.seen == uninterrupted[step:]


def test_fit_goes_on_with_the_next_epoch_when_one_was_finished(tmp_path, uninterrupted):
    saving = Saving(tmp_path)
    fit(tmp_path, module=image_module(), model=Recorder(), callbacks=[saving], max_epochs=2)
    model = Recorder()

    fit(
        tmp_path,
        module=image_module(num_workers=2),
        model=model,
        ckpt_path=tmp_path / "epoch=1.ckpt",
    )

    assert model.seen == uninterrupted[8:]


def test_loader_made_while_a_fit_runs_starts_at_the_first_batch(tmp_path):
    lengths = []

    class Looking(pl.Callback):
        def on_train_batch_end(self, trainer, *args):
            lengths.append(len(list(trainer.datamodule.train_dataloader())))

    fit(tmp_path, module=image_module(), model=Recorder(), callbacks=[Looking()], max_epochs=1)
    assert lengths == [4, 4, 4, 4]


def test_loader_can_be_read_after_a_fit(tmp_path):
    module = image_module()
    trainer = fit(tmp_path, module=module, model=Recorder(), max_epochs=1)
    assert len(list(module.train_dataloader())) == 4
    assert len(list(trainer.train_dataloader)) == 4


def test_fit_leaves_no_loader_process_behind(tmp_path):
    before = set(multiprocessing.active_children())
    module = image_module(num_workers=2)
    trainer = fit(tmp_path, module=module, model=Recorder(), max_epochs=2)
    assert set(multiprocessing.active_children()) <= before
    assert trainer.state.finished


def test_validation_sees_every_sample_once(tmp_path):
    model = Recorder()
    fit(tmp_path, module=image_module(val_fraction=0.25), model=model, max_epochs=1)
    assert model.validated[-2:] == [8, 4]


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero:UserWarning")
def test_validation_is_left_out_when_there_is_no_split(tmp_path):
    model = Recorder()
    fit(tmp_path, module=image_module(val_fraction=0.0), model=model, max_epochs=1)
    assert model.validated == []


def test_overfitting_sees_the_same_batch_in_every_epoch(tmp_path):
    model = Recorder()
    module = image_module(augmentation=None)
    fit(tmp_path, module=module, model=model, overfit_batches=1)
    assert len(model.seen) == 3
    assert len({content for _, content in model.seen}) == 1
