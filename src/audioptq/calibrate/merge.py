"""One set of activation statistics of several: a calibration may be split over jobs, and is the same."""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor

from audioptq.calibrate.act_stats import ActStats, LayerStats
from audioptq.errors import UserError


def merge_stats(shards: Sequence[ActStats]) -> ActStats:
    """The statistics of all prompts, from those of parts of them: ranges of ranges, exactly.

    Args:
        shards: Of one model and one schedule, at least one; in the order of their prompts.

    Returns:
        Statistics whose metadata are those of the first shard, with the prompts of all and the mean `overhead`.

    Raises:
        UserError: If they are not of one model and one schedule.
    """
    first = shards[0]
    for other in shards[1:]:
        if first.levels != other.levels or first.layers.keys() != other.layers.keys():
            raise UserError(
                "Activation statistics of different models or noise schedules cannot be merged: delete the shards under "
                "`calibrate` in the results and run snakemake again."
            )
    layers = {name: _merge_layer([shard.layers[name] for shard in shards]) for name in first.layers}
    clip_ids = [clip_id for shard in shards for clip_id in shard.metadata.get("clip_ids", [])]
    overhead = sum(shard.metadata.get("overhead", 0.0) for shard in shards) / len(shards)
    return ActStats(first.levels, layers, {**first.metadata, "clip_ids": clip_ids, "overhead": overhead})


def _merge_layer(parts: Sequence[LayerStats]) -> LayerStats:
    def over(kind: str, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return reduce(choose, [getattr(part, kind) for part in parts])

    return LayerStats(over("absmax", torch.maximum), over("min", torch.minimum), over("max", torch.maximum))
