"""`audioptq quantize`: a quantized model's file from a model directory and a recipe."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audioptq.commands.arguments import whole_number
from audioptq.commands.recipes import find_recipe
from audioptq.errors import UserError
from audioptq.machine.memory import gigabytes

if TYPE_CHECKING:
    from audioptq.calibrate.act_stats import ActStats
    from audioptq.models.base import AudioModel
    from audioptq.quantize import QuantRecipe

SAMPLER = {
    "name": "sampler",
    "steps": "steps",
    "cfg_scale": "cfg_scale",
    "sigma_min": "sigma_min",
    "sigma_max": "sigma_max",
}
DEFAULTS = "default: `sampler` of the library of recipes, else"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the arguments."""
    parser = commands.add_parser(
        "quantize",
        help="quantize a model into one file",
        description="Quantizes a model into one file. A file that is there already is replaced.",
    )
    parser.add_argument("model", help="directory of a model")
    parser.add_argument("recipe", help="name in the library of recipes, or a YAML file with one recipe's sections")
    parser.add_argument("-o", "--output", required=True, help="file to write (weights.safetensors)")
    parser.add_argument(
        "--recipes", metavar="FILE", help="YAML file whose `recipes` are the library (default: ./config.yaml)"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--calibrate", metavar="PROMPTS", help="text file with a caption per line: run the model on them"
    )
    source.add_argument(
        "--stats", metavar="FILE", help="activation statistics of an earlier calibration (act_stats.safetensors)"
    )
    parser.add_argument("--save-stats", metavar="FILE", help="keep the statistics of --calibrate for other recipes")
    parser.add_argument("--name", help="the model's name in the file (default: that of its directory)")
    parser.add_argument("--text-encoder", metavar="DIR", help="the model's T5, for calibrating Stable Audio Open")
    calibration = parser.add_argument_group("calibration")
    calibration.add_argument("--seconds", type=float, help="length of its clips (default: 10, or the model's longest)")
    calibration.add_argument("--seed", type=int, default=5, help="of the noise (default: 5)")
    calibration.add_argument("--batch-size", type=whole_number, default=16, help="captions per pass (default: 16)")
    calibration.add_argument("--sampler", help=f"such as dpmpp-3m-sde, ddim or ping-pong ({DEFAULTS} dpmpp-3m-sde)")
    calibration.add_argument("--steps", type=whole_number, help=f"denoising steps ({DEFAULTS} 16)")
    calibration.add_argument("--cfg-scale", type=float, help=f"strength of the guidance ({DEFAULTS} 3)")
    calibration.add_argument("--sigma-min", type=float, help=f"last noise level, for the v objective ({DEFAULTS} 0.3)")
    calibration.add_argument("--sigma-max", type=float, help=f"first noise level, for the v objective ({DEFAULTS} 500)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Calibrates if need be, quantizes, writes the file and says what it holds.

    Raises:
        UserError: If something cannot be done as asked; before the work where that can be known.
    """
    recipe, sampler = find_recipe(options.recipe, options.recipes)
    _check_source(options, recipe)
    captions = read_captions(options.calibrate) if options.calibrate else []

    from audioptq.machine.device import best_device
    from audioptq.models.registry import open_model
    from audioptq.quantize.to_file import quantize_to_file

    model = open_model(options.model, options.text_encoder, recipe.text_dtype)
    stats = _statistics(options, model, captions, sampler, recipe)
    name = options.name or Path(options.model).resolve().name
    made = quantize_to_file(model, recipe, stats, options.output, name=name, device=best_device())
    layers, size = made.layers, made.size
    full = size["denoiser_fp32"]
    print(
        f"{options.output}: {gigabytes(size['total'])}, {layers['quantized'].sum()} of {len(layers)} layers quantized"
    )
    for component, n_bytes in (size["components"] | {"header": size["parts"]["header"]}).items():
        print(f"  {component:<15}{n_bytes:>15,} bytes")
    print(f"  denoiser over its {full:,} bytes in float32: {size['components']['denoiser'] / full:.3f}")


def read_captions(path: str | Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        UserError: If it cannot be read or has none.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(
            f"The captions {path} cannot be read: {error}. Give a text file with a caption per line."
        ) from error
    captions = [line for line in lines if line]
    if not captions:
        raise UserError(f"{path} holds no captions: write one on each line; the paper calibrates with 50.")
    return captions


def _check_source(options: argparse.Namespace, recipe: "QuantRecipe") -> None:
    if recipe.needs_calibration and not (options.calibrate or options.stats):
        raise UserError(
            f"Recipe {recipe.name} needs activation statistics: calibrate with --calibrate and a text file of captions, or "
            "name the file of an earlier calibration by --stats."
        )
    if options.save_stats and not options.calibrate:
        raise UserError("--save-stats keeps what --calibrate finds: give --calibrate as well, or leave it out.")


def _statistics(
    options: argparse.Namespace,
    model: "AudioModel",
    captions: list[str],
    sampler: dict[str, Any],
    recipe: "QuantRecipe",
) -> "ActStats | None":
    from audioptq.calibrate.act_stats import ActStats

    if options.stats:
        return ActStats.load(options.stats)
    if not captions:
        return None
    import pandas as pd

    from audioptq.calibrate.run import calibrate
    from audioptq.machine.device import best_device
    from audioptq.sampling.settings import DEFAULTS as BY_OBJECTIVE
    from audioptq.sampling.settings import SAMPLERS

    given = {field: getattr(options, option) for field, option in SAMPLER.items()}
    settings = BY_OBJECTIVE[model.objective.name]
    if model.objective.name in SAMPLERS.get(sampler.get("name", settings.name), {}):  # the library's fits the model
        settings = settings.changed(sampler)
    settings = settings.changed({key: value for key, value in given.items() if value is not None})
    model.require_text_encoder()
    seconds = min(10.0, model.max_seconds) if options.seconds is None else options.seconds
    prompts = pd.DataFrame({"clip_id": [f"calibration-{index}" for index in range(len(captions))], "caption": captions})
    stats, _ = calibrate(
        model.to(best_device()), prompts.assign(seconds_total=seconds), settings=settings, seed=options.seed,
        batch_size=options.batch_size, statistics=sorted({"range"} | recipe.needs()),
    )  # fmt: skip
    model.to("cpu")
    if options.save_stats:
        stats.save(options.save_stats)
    return stats
