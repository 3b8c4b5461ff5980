"""From raw folders to batches: sources, records, splits, images, augmentation."""
