from __future__ import annotations

import torch

from trainer.metrics.train_window import TrainWindow


def batches(*seeds: int) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    made = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(6, 3, generator=generator)
        labels = torch.randint(0, 3, (6,), generator=generator)
        made.append((torch.rand((), generator=generator), logits, labels))
    return made


def fed(*seeds: int, into: TrainWindow | None = None) -> TrainWindow:
    window = into or TrainWindow()
    for batch in batches(*seeds):
        window.add(*batch)
    return window


def restored(window: TrainWindow, **where: int) -> TrainWindow:
    again = TrainWindow()
    again.restore(window.state(torch.device("cpu")), **where)
    return again


def test_window_goes_on_from_a_checkpoint_bit_by_bit():
    window = fed(1, 2)
    window.read_at = 10
    again = restored(window, rank=0, world_size=1)
    assert again.read_at == 10
    assert fed(3, into=again).read(20) == fed(1, 2, 3).read(20)


def test_window_of_another_number_of_processes_is_counted_once():
    window = fed(1, 2)
    state = window.state(torch.device("cpu"))
    shares = [TrainWindow(), TrainWindow()]
    for rank, share in enumerate(shares):
        share.restore(state, rank=rank, world_size=2)
    total = torch.tensor([share.state(torch.device("cpu"))["sums"][0] for share in shares])
    assert total.sum(dim=0).tolist() == state["sums"][0]


def test_each_process_takes_its_own_sums_back():
    both = {"read_at": 5, "sums": [[1.0, 2.0, 4.0], [3.0, 1.0, 4.0]]}
    second = TrainWindow()
    second.restore(both, rank=1, world_size=2)
    assert second.read(10) == (0.75, 0.25)


def test_window_that_was_just_read_is_empty_after_a_checkpoint():
    window = fed(1)
    window.read(10)
    again = restored(window, rank=0, world_size=1)
    assert fed(2, into=again).read(20) == fed(2).read(20)
