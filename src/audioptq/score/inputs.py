"""What a metric is computed from, matched clip by clip: manifests and embeddings."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from audioptq.score.embeddings import Embeddings
from audioptq.score.usable import damaged

PROMPT_COLUMNS = ("clip_id", "reference_id")
MANIFEST_COLUMNS = ("clip_id", "status")
AUDIO_COLUMNS = (*MANIFEST_COLUMNS, "caption", "seed", "path", "sample_rate", "n_samples", "gain")


@dataclass(frozen=True)
class ScoreInputs:
    """All that a metric may need; which fields are set depends on the metric.

    Attributes:
        prompts: The prompts, one per clip: the clips, in the order of the table's rows, and their clusters.
        manifest: The recipe's clips.
        baseline: Full precision's clips (same clip ids, same seed).
        generated: Embeddings of the recipe's clips.
        target: Embeddings of what the metric compares them with: captions, references or full precision's clips.
        n_replicates: Bootstrap replicates of a set-level metric.
        seed: Seed of the bootstrap.
        across_seeds: Whether full precision's clips may have another seed, as for the noise floor.
    """

    prompts: pd.DataFrame
    manifest: pd.DataFrame
    baseline: pd.DataFrame | None = None
    generated: Embeddings | None = None
    target: Embeddings | None = None
    n_replicates: int = 200
    seed: int = 0
    across_seeds: bool = False


def embedding_pair(inputs: ScoreInputs) -> tuple[Embeddings, Embeddings]:
    """The two embedding files of a metric that has them: (generated, target)."""
    if inputs.generated is None or inputs.target is None:
        raise ValueError("this metric needs `generated` and `target` embeddings")
    return inputs.generated, inputs.target


def check_clips(found: Iterable[str], expected: Iterable[str], source: str) -> None:
    """Raises DamagedArtifactError, naming `source`, unless both are the same set of clips."""
    found, expected = set(found), set(expected)
    if found == expected:
        return
    missing, foreign = sorted(expected - found), sorted(found - expected)
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(expected)} clips are missing from it (first: {missing[0]!r})")
    if foreign:
        parts.append(f"it has {len(foreign)} clips that are not among the prompts (first: {foreign[0]!r})")
    raise damaged(source, " and ".join(parts))
