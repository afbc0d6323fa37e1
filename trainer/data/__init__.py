"""From files and packages to batches: sources, splits, order, augmentation, data modules."""
