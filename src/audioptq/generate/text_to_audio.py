"""A quantized model as a user meets it: captions in, clips out."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audioptq.audio.clips import FORMATS, ClipRecord, write_clip
from audioptq.console import progress
from audioptq.errors import UserError, damaged
from audioptq.generate.load import open_generator
from audioptq.models.base import AudioModel
from audioptq.quantize import QuantRecipe
from audioptq.sampling.sampler import DEFAULTS, SamplerSettings, sample

DEFAULT_SECONDS = 10.0
DEFAULT_SEED = 1000
DEFAULT_CLIP_ID = "clip"


@dataclass(frozen=True)
class TextToAudio:
    """A loaded model and the sampler that it was made for.

    Attributes:
        model: With its recipe applied, on the best device.
        recipe: What was done to it.
        sampler: The settings that its file records.
        record: The file's metadata.
        compute: How its products run: `float`, `simulated` or `integer`.
        note: The same with the reasons, in a line.
    """

    model: AudioModel
    recipe: QuantRecipe
    sampler: SamplerSettings
    record: dict[str, Any]
    compute: str
    note: str = ""

    @classmethod
    def load(
        cls,
        weights: str | Path,
        text_encoder: str | Path | None = None,
        compute: str = "simulated",
    ) -> "TextToAudio":
        """Reads a file of quantized weights; its arguments and errors are those of `open_generator`."""
        opened = open_generator(weights, text_encoder, compute=compute)
        try:
            sampler = recorded_sampler(opened.record, opened.model.objective.name)
        except (UserError, TypeError) as error:  # what no file of ours records
            raise damaged(
                weights, f"the sampler that it records is none ({error})", "Quantize the model again."
            ) from error
        return cls(opened.model, opened.recipe, sampler, opened.record, opened.compute, opened.note)

    @property
    def default_seconds(self) -> float:
        """Ten seconds, or the model's longest clip if that is shorter."""
        return min(DEFAULT_SECONDS, self.model.max_seconds)

    def generate(
        self,
        caption: str,
        *,
        seconds: float | None = None,
        seed: int = DEFAULT_SEED,
        clip_id: str = DEFAULT_CLIP_ID,
        **sampler: Any,
    ) -> np.ndarray:
        """The audio of a caption, float32 `[channels, samples]`, as the model made it (not normalised).

        Args:
            caption: What is to be heard.
            seconds: Length; None for `default_seconds`.
            seed: Of the noise.
            clip_id: Noise depends on (seed, clip_id) alone: with those of a workflow's clip, this is that clip up to rounding.
            **sampler: Fields of `SamplerSettings` in place of those of the file, such as `steps` or `cfg_scale`; with another
                `name`, settings that are not that sampler's are left out.

        Raises:
            UserError: If the model makes no clips of that length, or is quantized for another schedule.
        """
        seconds = self.default_seconds if seconds is None else seconds
        if not 0 < seconds <= self.model.max_seconds:
            raise UserError(
                f"A clip of {seconds:g} seconds is asked for, but this model makes clips of more than 0 and at most "
                f"{self.model.max_seconds:.4g} seconds: ask for one of these."
            )
        settings = self.sampler.changed(sampler)
        with self._step_progress(settings.steps):
            latents = sample(self.model, [caption], [seconds], clip_ids=[clip_id], seed=seed, settings=settings)
        with torch.inference_mode():
            audio = self.model.decode(latents, round(seconds * self.model.sample_rate))
        decoded: np.ndarray = audio[0].float().cpu().numpy()
        return decoded

    def save(self, caption: str, path: str | Path, *, bit_depth: int = 24, **options: Any) -> ClipRecord:
        """Generates a clip and writes it, peak-normalised, as the workflow writes its own; a file that is there is replaced.

        Args:
            caption: What is to be heard.
            path: Ends in `.flac` or `.wav`.
            bit_depth: 24 or 16.
            **options: Of `generate`.
        """
        check_suffix(path)
        return write_clip(path, self.generate(caption, **options), self.model.sample_rate, bit_depth)

    @contextmanager
    def _step_progress(self, steps: int) -> Iterator[None]:
        bar = progress(range(steps), "generate", unit="step")
        with closing(bar), self.model.listening(lambda _level: next(bar, None)):
            yield
            next(bar, None)  # the last step is done too


def recorded_sampler(record: dict[str, Any], objective: str) -> SamplerSettings:
    """The settings that a file records; of one that has only the noise levels of its calibration, a schedule of these."""
    if record.get("sampler"):
        return SamplerSettings(**record["sampler"])
    settings, levels = DEFAULTS[objective], record.get("levels")
    if not levels:
        return settings
    ends = {"sigma_max": levels[0], "sigma_min": levels[-1]} if objective == "v" else {}
    return settings.changed({"steps": len(levels), **ends})


def check_suffix(path: str | Path) -> None:
    """Checks that a clip can be written under this name.

    Raises:
        UserError: If the suffix is of no format that is written here.
    """
    suffix = Path(path).suffix
    if suffix not in FORMATS:
        raise UserError(
            f"{path} ends in {suffix or 'no suffix'!r}, which is no format that clips are written in: name it with "
            f"{' or '.join(FORMATS)} at the end."
        )
