"""Which figures a report has: those for which there is data, each with its caption."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audioptq.errors import UserError, damaged
from audioptq.files.artifacts import read_tensor_metadata, read_tensors
from audioptq.report.figures import activation_figures, layer_figures
from audioptq.report.figures import table_figures as figures
from audioptq.report.figures.layer_figures import Places
from audioptq.report.figures.style import level_symbol
from audioptq.report.measure.inputs import ReportInputs
from audioptq.report.measure.results import Results

CURE = "Delete it and run snakemake to calibrate again."


@dataclass(frozen=True)
class Drawn:
    """A figure on disk and what is said below it."""

    path: Path
    caption: str

    @property
    def alt(self) -> str:
        """What a reader hears who does not see the figure: the caption's first sentence."""
        return self.caption.partition(". ")[0]


def draw_figures(inputs: ReportInputs, results: Results, folder: Path) -> dict[str, Drawn]:
    """Draws into `folder`; returns the figures by name.

    Raises:
        UserError: If a tensor file or a table of layers is damaged, or one lacks the layer asked for.
    """
    drawn: dict[str, Drawn] = {}
    percent, places = inputs.percent, layer_figures.places_of(results.layers.values())
    calibration = read_tensor_metadata(inputs.act_stats) if inputs.act_stats is not None else {}
    if inputs.act_stats is not None:
        drawn |= _draw_range(inputs.act_stats, inputs.activation_range_layer, places, folder)
    if inputs.activation_map is not None:
        drawn |= _draw_map(inputs.activation_map, calibration, places, folder)
    drawn |= _draw_layers(results.layers, inputs.recipes, places, folder)
    compared = {name: info for name, info in results.metrics.items() if name in set(results.comparisons["metric"])}
    if compared:
        drawn["differences"] = Drawn(
            folder / "differences.svg",
            f"Differences to {inputs.baseline} with {percent} intervals. Dashed lines are the margins that verdicts rest on; the "
            "shaded band is what another seed does. A value at the edge lies outside the panel.",
        )
        figures.differences(drawn["differences"].path, results.comparisons, compared, results.floors, inputs.baseline)
    if results.table["size_bytes"].notna().any() and results.metrics:
        drawn["quality_against_size"] = Drawn(
            folder / "quality_against_size.svg",
            f"Quality against stored size. Upright lines are {percent} intervals; the dashed line is "
            f"{inputs.baseline}, the band what another seed of it gives. Named are the recipes that no other one "
            "betters: none is at most as large and at least as good. A value at the edge lies outside the panel.",
        )
        figures.quality_against_size(
            drawn["quality_against_size"].path, results.table, results.metrics, results.floors, inputs.baseline
        )
    return drawn


def _draw_range(path: str | Path, layer: str | None, places: Places, folder: Path) -> dict[str, Drawn]:
    tensors, metadata = read_tensors(path, framework="np")
    names = [key.removesuffix(".absmax") for key in tensors if key.endswith(".absmax")]
    layer = layer or max(names, key=lambda name: _swing(tensors[f"{name}.absmax"]), default=None)
    kinds = ("min", "max", "absmax")
    levels = tensors.get("levels")
    if levels is None:
        raise damaged(path, "it has no `levels`, as before objectives were recorded", CURE)
    if layer not in names or any(f"{layer}.{kind}" not in tensors for kind in kinds):
        raise UserError(
            f"The activation statistics {path} have no ranges of layer {layer!r}. They have {', '.join(names[:5])}"
            f"{' and more' if len(names) > 5 else ''}. Name one of these as the layer to draw."
        )
    title = layer_figures.layer_title(layer, places)
    figure = Drawn(
        folder / "activation_range.svg",
        f"Input range of {title} while denoising. One static range must cover the widest moment; a range per timestep "
        "need not.",
    )
    ranges = {kind: tensors[f"{layer}.{kind}"] for kind in kinds}
    activation_figures.activation_range(figure.path, levels, ranges, title, level_symbol(metadata))
    return {"activation_range": figure}


def _swing(absmax: NDArray[np.float32]) -> float:
    """How many times larger a layer's widest range is than its narrowest, over the timesteps of `[timestep, channel]`."""
    span = absmax.max(axis=1)
    return float(span.max() / max(span.min(), 1e-12))


def _draw_map(path: str | Path, calibration: Mapping[str, Any], places: Places, folder: Path) -> dict[str, Drawn]:
    tensors, metadata = read_tensors(path, framework="np")
    if "activation" not in tensors:
        why = f"it has no tensor `activation` (it has {', '.join(sorted(tensors))})"
        raise damaged(path, why, CURE)
    title = layer_figures.layer_title(str(metadata.get("layer", "one layer")), places)
    place = activation_figures.where(metadata, title, level_symbol({**calibration, **metadata}))
    drawn = {
        "activation_map": Drawn(
            folder / "activation_map.svg",
            f"Magnitude of the input of {place}. Bright columns are channels far larger than the rest: one scale for "
            "all channels leaves the others few levels.",
        )
    }
    activation_figures.activation_map(drawn["activation_map"].path, tensors["activation"], place)
    if "weight" in tensors:
        drawn["smoothing"] = Drawn(
            folder / "smoothing.svg",
            f"Smoothing of {place}. A factor per channel moves range from the activation to the weight and leaves "
            "their product unchanged.",
        )
        alpha = float(metadata.get("alpha", 0.5))
        activation_figures.smoothing(drawn["smoothing"].path, tensors["activation"], tensors["weight"], alpha, place)
    return drawn


def _draw_layers(
    tables: Mapping[str, pd.DataFrame], recipes: Mapping[str, Any], places: Places, folder: Path
) -> dict[str, Drawn]:
    grids = layer_figures.layer_grids(tables, recipes)
    if not grids:
        return {}
    figure = Drawn(
        folder / "layers.svg",
        "What a smoothing vector per timestep could gain in each layer. A factor per timestep is taken up by dynamic ranges and "
        "one per channel by a static vector: only what depends on timestep and channel together is left, and it counts by "
        "its size in bits, not by its share.",
    )
    layer_figures.layers(figure.path, grids, places)
    return {"layers": figure}
