"""`audioptq bench`: how fast a denoising step is in every form, side by side on this machine."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audioptq.commands.arguments import whole_number
from audioptq.commands.recipes import LIBRARY, read_mapping
from audioptq.errors import UserError

if TYPE_CHECKING:
    from audioptq.bench.plan import BenchModel

DESCRIPTION = """Measures a guided denoising step of each model in each form, in turns with eager float32, so that whatever else
the machine does meets both. Forms are eager_fp32 (which all are compared with), eager_bf16, compiled_bf16, torchao_int8,
torchao_int8_compiled, torchao_int4, and recipes of the library, in simulated and integer compute. A form that cannot run here is
listed with its reason. Writes steps.parquet, profile.parquet, bench.md, roofline.svg and ratios.svg."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the arguments."""
    parser = commands.add_parser(
        "bench", help="measure how fast a model's forms are on this machine", description=DESCRIPTION
    )
    parser.add_argument("--models", nargs="+", required=True, metavar="[NAME=]DIR", help="directories of models")
    what = "of these models, those whose weights are random"
    parser.add_argument("--random-weights", nargs="*", default=[], metavar="NAME", help=what)
    parser.add_argument("--text-encoder", metavar="DIR", help="the text encoder of the models that have one")
    parser.add_argument(
        "--forms",
        nargs="+",
        metavar="FORM",
        help="references, recipes, or e.g. w4a8_sqs:integer (default: all that `run` names)",
    )
    parser.add_argument(
        "--recipes", metavar="FILE", help="YAML file whose `recipes` are the library (default: ./config.yaml)"
    )
    parser.add_argument(
        "--latents", type=whole_number, nargs="+", default=[1024, 216], help="frames (default: 1024 216)"
    )
    parser.add_argument("--batch", type=whole_number, nargs="+", default=[1, 4], help="clips of a step (default: 1 4)")
    parser.add_argument("--repeats", type=whole_number, default=7, help="rounds of each form and size (default: 7)")
    parser.add_argument("--steps", type=whole_number, default=16, help="of the schedule (default: 16)")
    parser.add_argument(
        "--limit",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="give a form up that takes longer for one answer (default: 120)",
    )
    parser.add_argument("--threads", type=whole_number, help="of each process (default: torch's choice)")
    parser.add_argument(
        "--generations", action="store_true", help="time whole generations too, as on a GPU is done anyway"
    )
    parser.add_argument("-o", "--output", default="results/bench", help="folder to write to (default: results/bench)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measures, and prints the page.

    Raises:
        UserError: If something cannot be done as asked; before the work where that can be known.
    """
    if not options.limit > 0:
        raise UserError(f"--limit is {options.limit:g}: give the seconds after which a form is given up.")
    models = _models(options)
    library = _library(options.recipes)

    from audioptq.bench.plan import REFERENCES, BenchSettings, choose_forms
    from audioptq.bench.run import PAGE, run_bench
    from audioptq.sampling.sampler import DEFAULT_SAMPLER

    recipes = library.get("recipes") or {}
    names = options.forms or [*REFERENCES, *(name for name in library.get("run") or recipes if name != "fp32")]
    settings = BenchSettings(
        models=models,
        forms=choose_forms(names, recipes),
        latents=tuple(options.latents),
        batches=tuple(options.batch),
        repeats=options.repeats,
        sampler=DEFAULT_SAMPLER.record() | (library.get("sampler") or {}) | {"steps": options.steps},
        limit_seconds=options.limit,
        threads=options.threads,
        generations=options.generations or None,
    )
    run_bench(settings, options.output)
    print((Path(options.output) / PAGE).read_text(encoding="utf-8"))


def _models(options: argparse.Namespace) -> "tuple[BenchModel, ...]":
    from audioptq.bench.plan import BenchModel
    from audioptq.models.registry import family_of

    pairs = [text.rpartition("=")[::2] for text in options.models]
    folders = {name or Path(folder).resolve().name: folder for name, folder in pairs}
    unknown = set(options.random_weights) - set(folders)
    if unknown or len(folders) < len(pairs):
        raise UserError(
            f"--random-weights names {', '.join(sorted(unknown))}, but the models are {', '.join(folders)}."
            if unknown
            else f"Two of the models have the same name, of {', '.join(folders)}: name them, as in mini=models/mini."
        )
    for folder in folders.values():
        family_of(folder)  # said before anything is measured
    return tuple(
        BenchModel(name, folder, "random" if name in options.random_weights else "trained", options.text_encoder)
        for name, folder in folders.items()
    )


def _library(path: str | None) -> dict[str, Any]:
    return read_mapping(path or LIBRARY) if path or Path(LIBRARY).is_file() else {}
