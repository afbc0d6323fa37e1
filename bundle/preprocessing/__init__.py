"""From one raw sample to tensors: the only implementation, for training, evaluation and serving."""
