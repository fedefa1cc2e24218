"""Generation: clips of a recipe, in shards of fixed batches that can be resumed batch by batch."""
