"""From a config to a proved checkpoint: models, training, checkpoints, tracking."""
