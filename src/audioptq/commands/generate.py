"""`audioptq generate`: a clip from a quantized model and a caption."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audioptq.commands.arguments import whole_number

if TYPE_CHECKING:
    from audioptq.audio.clips import ClipRecord
    from audioptq.generate import TextToAudio

SAMPLER_HELP = "default: as in the file's calibration; without one, for the v objective"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the arguments."""
    parser = commands.add_parser(
        "generate",
        help="make a clip of a caption with a quantized model",
        description="Makes a clip of a caption with a quantized model. A file that is there already is replaced.",
    )
    parser.add_argument("weights", help="file of `audioptq quantize` or of the workflow (weights.safetensors)")
    parser.add_argument("caption", help="what is to be heard, in quotes")
    parser.add_argument("-o", "--output", required=True, help="clip to write, .flac or .wav")
    parser.add_argument("--seconds", type=float, help="length (default: 10, or the longest that the model makes)")
    parser.add_argument("--seed", type=int, default=1000, help="of the noise (default: 1000)")
    parser.add_argument("--clip-id", default="clip", help="the noise depends on seed and clip id (default: clip)")
    parser.add_argument(
        "--count",
        type=whole_number,
        default=1,
        metavar="N",
        help="clips, with seeds SEED, SEED + 1 and so on: out-SEED.flac",
    )
    parser.add_argument("--steps", type=whole_number, help=f"denoising steps ({SAMPLER_HELP} 16)")
    parser.add_argument("--cfg-scale", type=float, help=f"strength of the guidance ({SAMPLER_HELP} 3)")
    parser.add_argument("--sampler", help=f"such as dpmpp-3m-sde, ddim or ping-pong ({SAMPLER_HELP} dpmpp-3m-sde)")
    parser.add_argument("--bit-depth", type=int, choices=(16, 24), default=24, help="of the clip (default: 24)")
    parser.add_argument(
        "--compute",
        choices=("simulated", "integer"),
        default="simulated",
        help="integer: on integers in the layers where this machine can; standard error says in how many (default: simulated)",
    )
    parser.add_argument("--text-encoder", metavar="DIR", help="the model's T5, for Stable Audio Open")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Generates the clips and says what they were made with.

    Raises:
        UserError: If something cannot be done as asked; before the work where that can be known.
    """
    from audioptq.generate import TextToAudio
    from audioptq.generate.text_to_audio import check_suffix

    check_suffix(options.output)
    started = time.perf_counter()
    generator = TextToAudio.load(options.weights, options.text_encoder, options.compute)
    print(f"loaded {options.weights} in {time.perf_counter() - started:.1f} s; {generator.note}", file=sys.stderr)
    _warn_of_words(generator, options.caption)
    chosen = {"name": options.sampler, "steps": options.steps, "cfg_scale": options.cfg_scale}
    sampler = {key: value for key, value in chosen.items() if value is not None}
    for seed in range(options.seed, options.seed + options.count):
        started = time.perf_counter()
        clip = generator.save(
            options.caption, _path(options, seed), bit_depth=options.bit_depth, seconds=options.seconds, seed=seed,
            clip_id=options.clip_id, **sampler,
        )  # fmt: skip
        print("\n".join(_said(generator, clip, seed, sampler, time.perf_counter() - started)))


def _path(options: argparse.Namespace, seed: int) -> Path:
    path = Path(options.output)
    return path if options.count == 1 else path.with_stem(f"{path.stem}-{seed}")


def _warn_of_words(generator: "TextToAudio", caption: str) -> None:
    dropped = generator.model.dropped_words(caption)
    if dropped:
        words = ", ".join(dict.fromkeys(dropped))
        print(f"Warning: the model does not know these words, and does not hear them: {words}.", file=sys.stderr)


def _said(
    generator: "TextToAudio", clip: "ClipRecord", seed: int, sampler: dict[str, Any], seconds: float
) -> list[str]:
    settings, recipe = generator.sampler.changed(sampler), generator.recipe
    lines = [
        f"{clip.path}: {clip.n_samples / clip.sample_rate:.2f} s at {clip.sample_rate} Hz, in {seconds:.1f} s",
        f"  {generator.record.get('model', 'model')} {recipe.name} (W{recipe.weight_bits}A{recipe.act_bits}, {generator.compute}), "
        f"{settings.name}, {settings.steps} steps, guidance {settings.cfg_scale:g}, seed {seed}",
    ]
    if clip.status != "ok":
        lines.append(f"  Warning: the clip is {clip.status.replace('_', '-')}.")
    return lines
