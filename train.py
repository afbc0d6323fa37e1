"""Train a model: `python train.py [model=… data=…] [field=value …]`; `--help` lists them all.

python train.py                            a small ResNet on handwritten digits
python train.py model=bert                 MiniLM on BBC news
python train.py -m model=resnet_tiny,mlp seed=1,2
"""

from __future__ import annotations

from bundle.command import run_command
from trainer.command import main as train


def main() -> None:
    """Entry point of `trainyard-train`."""
    run_command(train)


if __name__ == "__main__":
    main()
