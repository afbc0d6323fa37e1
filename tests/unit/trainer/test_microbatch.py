"""A batch in pieces has the gradient of the whole; one that fails leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from trainer.errors import TrainerError
from trainer.microbatch import MicroBatches

STEP = {"step": 3, "rank": 0}


def batch(count: int = 12) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    return {
        "x": torch.randn(count, 4, generator=generator),
        "label": torch.randint(0, 3, (count,), generator=generator),
    }


class Machine:
    """Computes gradients of `model` with memory for `room` samples at once.

    It runs out after half of the gradients are there, as a real one may.
    """

    def __init__(self, model: nn.Module, *, room: int, total: int = 12) -> None:
        self.model, self.room, self.total = model, room, total
        self.seen: list[tuple[int, int | None]] = []

    def __call__(self, piece: dict[str, torch.Tensor], number: int | None) -> torch.Tensor:
        count = len(piece["label"])
        self.seen.append((count, number))
        logits = self.model(piece["x"])
        loss = functional.cross_entropy(logits, piece["label"], reduction="sum") / self.total
        parameters = list(self.model.parameters())
        if count > self.room:
            loss.backward(inputs=parameters[: len(parameters) // 2])
            raise MemoryError
        loss.backward()
        return logits.detach()


def network(*, batchnorm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    norm = [nn.BatchNorm1d(8)] if batchnorm else []
    return nn.Sequential(nn.Linear(4, 8), *norm, nn.ReLU(), nn.Linear(8, 3))


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def pieces_for(model: nn.Module, events: list[dict[str, object]] | None = None) -> MicroBatches:
    notice = (lambda **fields: events.append(fields)) if events is not None else None
    pieces = MicroBatches(model, notice=notice)
    pieces.prepare(torch.device("cpu"))
    return pieces


def whole(model: nn.Module) -> list[torch.Tensor]:
    Machine(model, room=12)(batch(), None)
    found = [value.clone() for value in gradients(model)]
    model.zero_grad()
    return found


@pytest.mark.parametrize(("room", "sizes"), [(12, [12]), (6, [6, 6]), (3, [3] * 4), (1, [1] * 12)])
def test_pieces_have_the_gradient_of_the_whole_batch_when_memory_is_short(room, sizes):
    model = network()
    expected = whole(model)
    machine = Machine(model, room=room)
    results = pieces_for(model).backward(batch(), machine, **STEP)
    assert [len(logits) for logits in results] == sizes
    for ours, theirs in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=0)


def test_whole_batch_is_computed_as_ever_when_it_fits():
    model = network()
    expected = whole(model)
    machine = Machine(model, room=12)
    pieces_for(model).backward(batch(), machine, **STEP)
    assert machine.seen == [(12, None)]
    assert all(torch.equal(a, b) for a, b in zip(gradients(model), expected, strict=True))


def test_earlier_batches_are_kept_when_a_later_one_fails():
    model = network()
    once = whole(model)
    pieces = pieces_for(model)
    machine = Machine(model, room=12)
    pieces.backward(batch(), machine, **STEP)
    machine.room = 3
    pieces.backward(batch(), machine, **STEP)
    for ours, theirs in zip(gradients(model), once, strict=True):
        torch.testing.assert_close(ours, 2 * theirs, atol=1e-6, rtol=0)


def test_size_is_remembered_and_told_once_a_halving_when_it_was_found():
    model, events = network(), []
    pieces = pieces_for(model, events)
    machine = Machine(model, room=3)
    pieces.backward(batch(), machine, **STEP)
    assert pieces.size == 3
    assert [(event["from"], event["to"]) for event in events] == [(12, 6), (6, 3)]
    assert events[0] == {**STEP, "phase": "train", "from": 12, "to": 6}
    machine.seen.clear()
    pieces.backward(batch(), machine, **STEP)
    assert machine.seen == [(3, 0), (3, 1), (3, 2), (3, 3)]
    assert len(events) == 2


def test_statistics_are_those_of_the_last_attempt_when_the_first_failed():
    model = network(batchnorm=True)
    pieces_for(model).backward(batch(), Machine(model, room=6), **STEP)
    again = network(batchnorm=True)
    again(batch()["x"][:6])
    again(batch()["x"][6:])
    for ours, theirs in zip(model.buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("batchnorm", "smallest"), [(False, "a single sample"), (True, "of 2")])
def test_error_names_the_remedy_when_the_smallest_piece_does_not_fit(batchnorm, smallest):
    model = network(batchnorm=batchnorm)
    with pytest.raises(TrainerError, match=f"{smallest}.* does not fit") as caught:
        pieces_for(model).backward(batch(), Machine(model, room=0), **STEP)
    assert "at step 3" in str(caught.value)
    assert "precision=bf16" in caught.value.remedy


def test_no_piece_is_a_single_sample_when_the_batch_is_odd_and_there_is_batchnorm():
    model = network(batchnorm=True)
    results = pieces_for(model).backward(batch(13), Machine(model, room=3, total=13), **STEP)
    assert [len(logits) for logits in results] == [3, 2, 2, 2, 2, 2]


def test_error_comes_out_when_it_is_no_lack_of_memory():
    model = network()

    def broken(piece, number):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        pieces_for(model).backward(batch(), broken, **STEP)


def test_evaluation_gives_every_answer_when_memory_is_short():
    model, events = network(), []
    pieces = pieces_for(model, events)

    def forward(piece):
        if len(piece["x"]) > 4:
            raise MemoryError
        with torch.no_grad():
            return model(piece["x"])

    logits = pieces.evaluate(batch(), forward, **STEP)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(batch()["x"]))
    assert [(event["phase"], event["to"]) for event in events] == [("evaluate", 6), ("evaluate", 3)]
    assert pieces.size is None
