"""What every evaluator has to show before its numbers count: shapes, finite values, repeatability, and that it listens."""

from collections.abc import Mapping

import numpy as np
import torch

from audioptq.embed.base import Clip, Evaluator
from audioptq.errors import DamagedArtifactError

RATE_HZ = 44100


def probe(seconds: float = 10.0, sample_rate: int = RATE_HZ) -> tuple[Clip, Clip]:
    """A 440 Hz tone and white noise, stereo."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    tone = np.stack([0.5 * np.sin(2 * np.pi * 440 * time)] * 2).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(tone.shape).astype(np.float32) / 8
    return (tone, sample_rate), (noise, sample_rate)


def check_audio(
    name: str,
    evaluator: Evaluator,
    shapes: Mapping[str, tuple[int, ...]],
    seconds: float = 10.0,
    sample_rate: int = RATE_HZ,
) -> None:
    """Embeds a tone and noise and checks what comes out.

    Args:
        name: The evaluator's id, for the error.
        evaluator: Under test.
        shapes: Expected shape of each tensor of a clip of that length.
        seconds: Length of the two sounds.
        sample_rate: Theirs; the evaluator's own spares the start of a resampler that a run may not need.

    Raises:
        DamagedArtifactError: If a shape is another one, a value is not finite, the tone is embedded as the noise is, or a
            second run differs from the first.
    """
    tone, noise = probe(seconds, sample_rate)
    first, second, again = *evaluator.embed([tone, noise]), evaluator.embed([tone])[0]
    for key, shape in shapes.items():
        if tuple(first[key].shape) != shape:
            raise refused(name, f"{key} of a clip of {seconds:g} s has shape {tuple(first[key].shape)}, not {shape}")
        if not (first[key].isfinite().all() and second[key].isfinite().all()):
            raise refused(name, f"{key} of a plain sound is not finite")
        if torch.allclose(first[key], second[key], rtol=1e-3, atol=0):
            raise refused(name, f"{key} is the same for a tone and for noise")
        # Not bit by bit: another number of clips in a batch may round differently.
        if not torch.allclose(first[key], again[key], rtol=1e-3, atol=1e-5):
            raise refused(name, f"{key} of the same clip changes from one run to the next")


def check_silence(name: str, evaluator: Evaluator, sample_rate: int = RATE_HZ) -> None:
    """Embeds a tenth of a second of silence, which evaluators pad to their shortest.

    Silent clips are excluded before, but a reference or a batch may hold one.

    Raises:
        DamagedArtifactError: If a value is not finite.
    """
    silence = (np.zeros((1, sample_rate // 10), dtype=np.float32), sample_rate)
    for key, tensor in evaluator.embed([silence])[0].items():
        if not tensor.isfinite().all():
            raise refused(name, f"{key} of silence is not finite")


def refused(name: str, why: str) -> DamagedArtifactError:
    """The error of an evaluator that failed its own test."""
    return DamagedArtifactError(
        f"The evaluator {name} failed its self-test: {why}. Its numbers would mean nothing, so nothing was scored. Most often "
        "its weights are of another network or incomplete: see docs/weights.md, and replace the files."
    )
