"""Stable Audio Open Small's published geometry with random weights: sizes, seconds and memory of every step of its way.

    python tests/published_model.py /tmp/open_small open_small_full   # writes 2.6 GB
    python benchmarks/stable_audio_open_small.py /tmp/open_small [recipe ...]

Random weights say what fits and how long it takes, and nothing about quality. Each line is printed when it is known.
"""

import platform
import resource
import sys
import time
from pathlib import Path

import pandas as pd
import torch
import yaml

from audioptq.calibrate.act_stats import ActStats
from audioptq.calibrate.run import calibrate
from audioptq.generate import TextToAudio
from audioptq.models.registry import open_model
from audioptq.quantize import QuantRecipe
from audioptq.quantize.to_file import quantize_to_file
from audioptq.sampling.settings import SamplerSettings

ROOT = Path(__file__).parents[1]
SETTINGS = SamplerSettings("ping-pong", steps=8, cfg_scale=1.0)
SECONDS = 524288 / 44100


def calibrated(folder: Path) -> ActStats:
    """Activation statistics of one prompt."""
    started = time.perf_counter()
    model = open_model(folder / "model", folder / "t5")
    print(f"opened in {time.perf_counter() - started:.1f} s", flush=True)
    prompts = pd.DataFrame({"clip_id": ["a"], "caption": ["a dog barks"], "seconds_total": [SECONDS]})
    started = time.perf_counter()
    stats, _ = calibrate(model, prompts, settings=SETTINGS, seed=5, batch_size=1)
    print(f"calibrated on a prompt in {time.perf_counter() - started:.1f} s; layers {len(stats.layers)}", flush=True)
    return stats


def main(folder: Path, names: list[str]) -> None:
    """Calibrates once if a recipe needs it, then quantizes, loads and generates a clip under each recipe."""
    entries = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["recipes"]
    print(
        f"threads {torch.get_num_threads()}, torch {torch.__version__}, {platform.processor() or platform.machine()}",
        flush=True,
    )
    recipes = [QuantRecipe.from_config(name, entries[name]) for name in names]
    stats = calibrated(folder) if any(recipe.needs_calibration for recipe in recipes) else None
    for recipe in recipes:
        path = folder / f"{recipe.name}.safetensors"
        started = time.perf_counter()
        size = quantize_to_file(
            open_model(folder / "model"), recipe, stats, path, name="open_small", sampler=SETTINGS.record()
        ).size
        quantized = time.perf_counter() - started
        started = time.perf_counter()
        generator = TextToAudio.load(path, folder / "t5")
        loaded = time.perf_counter() - started
        levels: list[float] = []
        generator.model.add_step_listener(levels.append)
        started = time.perf_counter()
        audio = generator.generate("a dog barks", seconds=SECONDS)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(
            f"{recipe.name}: file {path.stat().st_size:,} bytes, denoiser {size['components']['denoiser']:,}; "
            f"quantized in {quantized:.1f} s, loaded in {loaded:.1f} s, "
            f"clip {audio.shape} in {time.perf_counter() - started:.1f} s, {len(levels)} steps, "
            f"finite {bool((abs(audio) < float('inf')).all())}; peak of the process so far {peak / 1e9:.2f} GB",
            flush=True,
        )
        path.unlink()
        del generator


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["fp32", "w8a8_sqd", "w8a8_sqs", "w4a8_sqd"])
