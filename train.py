"""Train a model: `python train.py [model=… data=…] [field=value …]`; `--help` lists them all.

python train.py                            a small ResNet on handwritten digits
python train.py model=bert                 MiniLM on BBC news
python train.py -m model=resnet_tiny,mlp seed=1,2
"""

from __future__ import annotations

import os

from bundle.command import run_command


def main() -> None:
    """Entry point of `trainyard-train`."""
    # OpenMP reads this when torch is loaded. Its threads otherwise spin while they wait for each
    # other, and a step takes twenty times as long as soon as another process needs a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from trainer.command import main as train

    run_command(train)


if __name__ == "__main__":
    main()
