from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from tests.unit.trainer.data.making import image_module
from trainer.data.augmentation import ImageAugmentation
from trainer.data.dataset import ImageCache, ImageDataset
from trainer.data.loader import BatchLoader, TrainLoader
from trainer.data.sampler import EpochSampler, EvalSampler


def dataset(count=20, **options) -> ImageDataset:
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 6, 6), dtype=np.uint8)
    return ImageDataset(np.arange(count), np.arange(count), store=ImageCache(images), **options)


def train_loader(*, num_workers=0, seed=0, **options) -> TrainLoader:
    augmented = dataset(augmentation=ImageAugmentation(shift=1, rotate=20), seed=seed)
    sampler = EpochSampler(20, batch_size=4, seed=seed)
    return TrainLoader(augmented, sampler, num_workers=num_workers, **options)


def epoch_of(loader: TrainLoader, epoch: int) -> list[dict[str, torch.Tensor]]:
    loader.batch_sampler.set_epoch(epoch)
    return list(loader)


def same(first, second) -> bool:
    return len(first) == len(second) and all(
        one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
        for one, two in zip(first, second, strict=True)
    )


def test_loader_gives_the_epoch_that_is_set_after_the_iterator_was_made():
    loader = train_loader()
    expected = epoch_of(train_loader(), 3)

    iterator = iter(loader)
    loader.batch_sampler.set_epoch(3)

    assert same(list(iterator), expected)


def test_loader_processes_that_live_on_know_the_epoch_too():
    alone, many = train_loader(), train_loader(num_workers=2)
    for epoch in (0, 1, 5):
        assert same(epoch_of(many, epoch), epoch_of(alone, epoch))


def test_loader_goes_on_where_a_state_says():
    loader = train_loader()
    whole = epoch_of(loader, 2)

    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = loader.state_dict()
    resumed = train_loader()
    resumed.load_state_dict(state)

    assert state == {"epoch": 2, "batch": 3}
    assert same(list(resumed), whole[3:])
    assert len(resumed) == 5
    assert same(list(resumed), whole)


def test_loader_state_is_the_next_epoch_when_one_is_done():
    loader = train_loader()
    epoch_of(loader, 2)
    assert loader.state_dict() == {"epoch": 3, "batch": 0}
    resumed = train_loader()
    resumed.load_state_dict(loader.state_dict())
    assert same(list(resumed), epoch_of(train_loader(), 3))


def test_loader_state_counts_batches_taken_not_batches_fetched_ahead():
    loader = train_loader(num_workers=2)
    iterator = iter(loader)
    next(iterator)
    assert loader.state_dict() == {"epoch": 0, "batch": 1}


def test_loader_asks_how_far_the_epoch_is_when_it_starts():
    whole = epoch_of(train_loader(), 0)
    loader = train_loader(progress=lambda _: 2)
    assert same(list(loader), whole[2:])


def test_loader_leaves_the_global_random_generators_alone():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global generator is what is looked at
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    list(train_loader())
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_loader_gives_every_sample_once_in_order(num_workers):
    loader = BatchLoader(dataset(7), EvalSampler(7, batch_size=3), num_workers=num_workers)
    assert len(loader) == 3
    assert [batch["label"].tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5], [6]]


def test_processes_end_before_the_collector_takes_their_pipes(monkeypatch):
    failures = []
    monkeypatch.setattr(threading, "excepthook", failures.append)

    def abandoned() -> list[SimpleNamespace]:
        """A cycle whose pipes the collector meets before the iterator that writes to them."""
        loader = BatchLoader(dataset(2), EvalSampler(2, batch_size=2), num_workers=2)
        list(loader)
        iterator = loader._iterator
        pipes = [
            pipe for queue in iterator._index_queues for pipe in (queue._writer, queue._reader)
        ]
        cycle = SimpleNamespace(**{f"pipe_{n}": pipe for n, pipe in enumerate(pipes)})
        cycle.loader, cycle.iterator, cycle.itself = loader, iterator, cycle
        return [cycle]

    gc.collect()
    before = set(psutil.Process().children())
    holder = abandoned()
    threads = [t for t in threading.enumerate() if t.name == "QueueFeederThread"]
    gc.collect()  # brings the objects into the order in which they are found from the holder
    assert len(set(psutil.Process().children()) - before) == 2
    holder.clear()
    gc.collect()
    threads += [t for t in threading.enumerate() if t.name == "QueueFeederThread"]
    for thread in threads:
        thread.join(timeout=30)
    assert not failures
    assert set(psutil.Process().children()) <= before


def test_dataset_of_one_index_is_a_batch_of_one():
    sample = dataset()[3]
    assert sample["image"].shape == (1, 1, 6, 6)
    assert sample["label"].tolist() == [3]


def test_training_batches_are_the_same_with_and_without_processes_in_a_module():
    batches = []
    for num_workers in (0, 2):
        module = image_module(num_workers=num_workers)
        module.setup()
        loader = module.train_dataloader()
        batches.append([epoch_of(loader, epoch) for epoch in (0, 1)])
    assert same(batches[0][0], batches[1][0])
    assert same(batches[0][1], batches[1][1])
    assert not same(batches[0][0], batches[0][1])


STOPPED_WHILE_STARTING = """
import sys, time
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as Processes
from tests.unit.trainer.data.test_loader import train_loader

def stopped(*args):
    time.sleep(5)  # until they let a first signal pass
    raise SystemExit(143)

Processes._try_put_index = stopped
try:
    list(train_loader(num_workers=2))
except SystemExit as error:
    kept = error  # as the traceback of a run that was stopped is
sys.exit(143)
"""


def test_process_ends_when_it_is_stopped_while_its_loaders_start():
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_WHILE_STARTING],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 143
    assert "Traceback" not in done.stderr
