"""The same training through `train.py`'s own path: its config, records, bar and checkpoints."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.loops.request import overrides
from benchmarks.loops.stopwatch import arguments, watch
from trainer.compose import compose
from trainer.run import train
from trainer.schema import register_schemas


def main() -> None:
    """Train and time it."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--save-every", type=int, help="checkpoint so often between epochs, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = overrides(args.model, steps=watch(args), threads=args.threads, folder=folder)
        asked += ["callbacks.async_save=true", "callbacks.save_best=false"]  # nothing is validated
        if args.save_every is not None:
            asked.append(f"callbacks.save_every_steps={args.save_every}")
        train(compose("train", asked, schemas=register_schemas), folder=folder / "run")


if __name__ == "__main__":
    main()
