"""From a config to a proved checkpoint: models, training, checkpoints, tracking."""

from trainer.torchmetrics_import import spare

spare()
