"""A training loop by hand: DataLoader, AdamW, clipping, a schedule, and no records at all."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.optim import AdamW

from benchmarks.loops import subject
from benchmarks.loops.request import CLIP, RATE, WEIGHT_DECAY
from benchmarks.loops.stopwatch import arguments, watch


def train(model_name: str, *, steps: int) -> None:
    """`steps` steps, epoch after epoch."""
    model = subject.make_model(model_name)
    model.train()
    optimizer = AdamW(model.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = subject.make_schedule(optimizer, steps=steps)
    loader = subject.make_loader()
    step = 0
    while True:
        for images, labels in loader:
            loss = functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            step += 1
            if step == steps:
                return


def main() -> None:
    """Train and time it."""
    args = arguments(__doc__ or "").parse_args()
    torch.set_num_threads(args.threads)
    train(args.model, steps=watch(args))


if __name__ == "__main__":
    main()
