"""Clips of a test as they are handed out: one loudness within a prompt, and a record of every level change."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from audioptq.audio.clips import ListedClip
from audioptq.errors import UserError
from audioptq.listen.plan import Slot
from audioptq.listen.stimuli.anchors import ANCHORS_HZ, low_pass
from audioptq.listen.stimuli.finished_run import BASELINE, FinishedRun
from audioptq.listen.stimuli.level import Levelled, match

BIT_DEPTH = 24


def prepare_clips(
    run: FinishedRun, prompts: Sequence[str], recipes: Sequence[str], anchors: Sequence[str], slots: Mapping[str, Slot]
) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[NDArray[np.float64], int]]]:
    """What the key says of each token, and the audio behind it with its sample rate.

    Raises:
        UserError: If the clips of a prompt cannot be switched between, or have no loudness.
        DamagedArtifactError: If a clip is damaged.
    """
    clips, audio = {}, {}
    for clip_id in prompts:
        levelled, rate, gains = _levelled(run, clip_id, recipes, anchors)
        for name in sorted(name for name, slot in slots.items() if slot.clip_id == clip_id):
            slot, made = slots[name], levelled[slots[name].variant]
            source = run.clips[slot.variant if slot.variant in run.clips else BASELINE][clip_id]
            audio[name] = (made.audio, rate)
            clips[name] = {
                "clip_id": clip_id,
                "variant": slot.variant,
                "role": slot.role,
                "sample_rate": rate,
                "channels": len(made.audio),
                "loudness_lufs": round(made.loudness_lufs, 3),
                "generated_lufs": round(made.before_lufs - gains[slot.variant], 3),
                "gain_db": round(made.gain_db + gains[slot.variant], 3),
                "source_sha256": source["sha256"],
            }
    return clips, audio


def _levelled(
    run: FinishedRun, clip_id: str, recipes: Sequence[str], anchors: Sequence[str]
) -> tuple[dict[str, Levelled], int, dict[str, float]]:
    """Clips of one prompt at one loudness, their sample rate, and the dB that storing them had already changed."""
    waves, rates, gains = {}, set(), {}
    for recipe in recipes:
        row = run.clips[recipe][clip_id]
        waves[recipe], rate = ListedClip.of(row).read()
        rates.add((rate, waves[recipe].shape))
        gains[recipe] = 20 * float(np.log10(row["gain"]))
    if len(rates) > 1:
        raise UserError(
            f"The clips of the prompt {clip_id!r} differ in sample rate, channels or length, so that no one could switch between "
            "them. Build the test from recipes of one run."
        )
    for anchor in anchors:
        waves[anchor], gains[anchor] = low_pass(waves[BASELINE], rate, ANCHORS_HZ[anchor]), gains[BASELINE]
    try:
        return match(waves, rate), rate, gains
    except ValueError as error:
        raise UserError(
            f"The prompt {clip_id!r} cannot be asked about: {error}. Name other prompts with --prompts."
        ) from error


def flac(audio: NDArray[np.float64], sample_rate: int) -> bytes:
    """24-bit FLAC of `[channels, samples]`, without a word of what it is."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(audio, -1.0, 1.0).T, sample_rate, format="FLAC", subtype=f"PCM_{BIT_DEPTH}")
    return buffer.getvalue()
