"""Clips of one prompt at one loudness."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audioptq.listen.stimuli.loudness import integrated_loudness, true_peak_db

TARGET_LUFS = -23.0  # EBU R 128
CEILING_DB = -1.0
TOLERANCE_LU = 0.05
ROUNDS = 8


@dataclass(frozen=True)
class Levelled:
    """Audio `[channels, samples]` as listeners hear it, and what was done to it.

    Attributes:
        audio: float64, full scale is 1.
        before_lufs: Integrated loudness of the clip as it was handed in.
        loudness_lufs: Integrated loudness of `audio`.
        gain_db: Level change between the two.
    """

    audio: NDArray[np.float64]
    before_lufs: float
    loudness_lufs: float
    gain_db: float


def match(clips: Mapping[str, NDArray[np.floating]], sample_rate: int) -> dict[str, Levelled]:
    """Clips by name, all at -23 LUFS, or as far below it together as the peakiest of them needs to stay under -1 dBTP.

    Loudness changes by the gain in dB unless a block crosses the absolute gate with it, so that the gain is found in a few
    rounds.

    Raises:
        ValueError: If a clip has no loudness, as silence has none.
    """
    before = {name: integrated_loudness(audio, sample_rate) for name, audio in clips.items()}
    for name, loudness in before.items():
        if not np.isfinite(loudness):
            raise ValueError(f"{name} has no loudness: all of it is below -70 LUFS")
    room = {name: CEILING_DB - true_peak_db(clips[name]) + before[name] for name in clips}
    target = min(TARGET_LUFS, *room.values())
    return {name: _to(clips[name], sample_rate, before[name], target) for name in clips}


def _to(audio: NDArray[np.floating], sample_rate: int, before: float, target: float) -> Levelled:
    gain, reached = target - before, before
    for _ in range(ROUNDS):
        scaled = audio.astype(np.float64) * 10 ** (gain / 20)
        reached = integrated_loudness(scaled, sample_rate)
        if abs(reached - target) <= TOLERANCE_LU or not np.isfinite(reached):
            break
        gain += target - reached
    return Levelled(scaled, before, reached, gain)
