"""One set of activation statistics of several: a calibration may be split over jobs, and is the same."""

from collections.abc import Sequence

from audioptq.calibrate.act_stats import ActStats, LayerStats
from audioptq.calibrate.statistics import statistic
from audioptq.errors import UserError
from audioptq.noise_levels import listed


def merge_stats(shards: Sequence[ActStats]) -> ActStats:
    """The statistics of all prompts, from those of parts of them, each statistic by its own rule.

    Args:
        shards: Of one model and one schedule, at least one; in the order of their prompts.

    Returns:
        Statistics whose metadata are those of the first shard, with the prompts of all and the mean `overhead`.

    Raises:
        UserError: If they are not of one model, one objective and schedule, and the same statistics.
    """
    first = shards[0]
    for other in shards[1:]:
        if difference := _difference(first, other):
            raise UserError(
                f"Activation statistics cannot be merged: {difference}. Delete the shards under `calibrate` in the results and run "
                "snakemake again."
            )
    layers = {}
    for layer in first.layers:
        parts = [shard.layers[layer] for shard in shards]
        merged = [statistic(name).merge(parts) for name in first.statistics]
        layers[layer] = LayerStats(**{name: tensor for tensors in merged for name, tensor in tensors.items()})
    clip_ids = [clip_id for shard in shards for clip_id in shard.metadata.get("clip_ids", [])]
    overhead = sum(shard.metadata.get("overhead", 0.0) for shard in shards) / len(shards)
    metadata = {**first.metadata, "clip_ids": clip_ids, "overhead": overhead}
    return ActStats(first.levels, layers, metadata, first.statistics)


def _difference(one: ActStats, other: ActStats) -> str | None:
    """Why two shards are not of one calibration, as a clause; None if they are."""
    if one.levels.objective != other.levels.objective:
        return (
            f"one shard was made under the objective {one.levels.objective!r}, another under {other.levels.objective!r}"
        )
    if one.levels != other.levels:
        return f"one shard was made at the noise levels {listed(one.levels.values)}, another at {listed(other.levels.values)}"
    if one.statistics != other.statistics:
        return f"one shard has the statistics {', '.join(one.statistics)}, another {', '.join(other.statistics)}"
    if one.layers.keys() != other.layers.keys():
        return f"they are of different models: not all have layer {min(one.layers.keys() ^ other.layers.keys())}"
    return None
