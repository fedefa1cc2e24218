"""Generates one shard of clips, batch by batch; what a killed run has finished is taken back, nothing stale is.

Which clips form a batch is fixed by the shard, never by what is left to do, so a resumed run computes the very numbers of
an undisturbed one. A finished batch leaves a record beside its clips; it is taken back only if the record was made from the
same recipe, weights, prompts, seed and sampler, and the files still have the contents it names.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from audioptq.audio.clips import clip_file_name, write_clip
from audioptq.console import progress
from audioptq.errors import DamagedArtifactError
from audioptq.files.artifacts import digest, file_digest, read_parquet, write_parquet
from audioptq.machine.device import synchronise
from audioptq.models.base import AudioModel
from audioptq.sampling.sampler import SamplerSettings, check_lengths, sample

PROMPT_COLUMNS = ["clip_id", "caption", "reference_id", "seconds_total"]


@dataclass(frozen=True)
class GenerationSettings:
    """All that decides what a clip sounds like, beside its prompt and its id.

    Attributes:
        sampler: Schedule and solver.
        seed: Of the noise.
        batch_size: Clips per pass; fixed for a run, since matrix kernels round differently for different sizes.
        bit_depth: Of the stored FLAC, 16 or 24.
        made_from: Digests of the recipe, the weights file and the library files behind the clips.
    """

    sampler: SamplerSettings
    seed: int
    batch_size: int
    bit_depth: int
    made_from: dict[str, str]


def generate_shard(
    model: AudioModel, prompts: pd.DataFrame, settings: GenerationSettings, *, clips_dir: str | Path, shard: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Generates the clips of a shard.

    Args:
        model: With the recipe's weights.
        prompts: Rows of the shard, in order (`clip_id, caption, reference_id, seconds_total`).
        settings: See `GenerationSettings`.
        clips_dir: Folder for clips and batch records; shared by the shards of one recipe and seed.
        shard: Name of the shard, for its batch records.

    Returns:
        The manifest, a row per prompt in order, and its metadata. Its paths are relative to the parent of `clips_dir`, where the
        manifest is meant to lie, so that the folder can be moved.

    Raises:
        UserError: If a prompt asks for a longer clip than the model makes.
    """
    check_lengths(model, prompts["seconds_total"])
    clips_dir = Path(clips_dir)
    batches = [
        prompts.iloc[first : first + settings.batch_size] for first in range(0, len(prompts), settings.batch_size)
    ]
    manifests = []
    for index, batch in enumerate(progress(batches, f"generate {shard}", unit="batch")):
        record = clips_dir / f"{shard}-batch-{index:03d}.parquet"
        fingerprint = digest([asdict(settings), batch[PROMPT_COLUMNS].to_dict("records")])
        manifest = _finished(record, fingerprint)
        if manifest is None:
            manifest = _generate_batch(model, batch, settings, clips_dir).assign(batch=index)
            write_parquet(record, manifest, {"fingerprint": fingerprint})
        manifests.append(manifest)
    metadata = {**asdict(settings), "sampler": settings.sampler.record(), "n_clips": len(prompts)}
    return pd.concat(manifests, ignore_index=True), metadata


def _finished(record: Path, fingerprint: str) -> pd.DataFrame | None:
    """The manifest of a batch that is done, whole and current; else None, and the batch is generated anew."""
    if not record.exists():
        return None
    try:
        manifest, metadata = read_parquet(record, ["path", "sha256"])
        clips = zip(manifest["path"], manifest["sha256"], strict=True)
        whole = all(file_digest(record.parent.parent / path) == sha256 for path, sha256 in clips)
    except DamagedArtifactError:
        return None
    return manifest if whole and metadata.get("fingerprint") == fingerprint else None


def _generate_batch(
    model: AudioModel, batch: pd.DataFrame, settings: GenerationSettings, clips_dir: Path
) -> pd.DataFrame:
    clip_ids = batch["clip_id"].tolist()
    lengths = [round(seconds * model.sample_rate) for seconds in batch["seconds_total"]]
    synchronise(model.device)
    started = time.perf_counter()
    latents = sample(
        model, batch["caption"].tolist(), batch["seconds_total"].tolist(),
        clip_ids=clip_ids, seed=settings.seed, settings=settings.sampler,
    )  # fmt: skip
    with torch.inference_mode():
        audio = (
            model.decode(latents, max(lengths)).float().cpu().numpy()
        )  # on the CPU: all that a GPU had to do is done
    seconds = (time.perf_counter() - started) / len(batch)
    rows = []
    for clip_id, caption, reference_id, length, samples in zip(
        clip_ids, batch["caption"], batch["reference_id"], lengths, audio, strict=True
    ):
        trimmed: np.ndarray = samples[:, :length]
        clip = write_clip(clips_dir / clip_file_name(clip_id), trimmed, model.sample_rate, settings.bit_depth)
        row = {"clip_id": clip_id, "caption": caption, "reference_id": reference_id, "seed": settings.seed}
        row["dropped_words"] = len(model.dropped_words(caption))
        rows.append({**row, **asdict(clip), "path": f"{clips_dir.name}/{Path(clip.path).name}", "seconds": seconds})
    return pd.DataFrame(rows)
