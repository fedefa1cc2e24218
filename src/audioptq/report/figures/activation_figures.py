"""Figures of what makes a model hard to quantize: range over timesteps, one activation map, and smoothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from audioptq.errors import UserError
from audioptq.report.figures.style import ALPHA, BLUE, INK, SIGMA, VERMILION, drawing


def activation_range(
    path: str | Path, levels: np.ndarray, ranges: Mapping[str, np.ndarray], title: str, symbol: str = SIGMA
) -> None:
    """Range of one layer's input over denoising (figure 2 of the audio-DiT paper).

    Band from the smallest channel minimum to the largest channel maximum, line at the median over channels of absmax.

    Args:
        path: Where the SVG goes.
        levels: Noise levels `[timestep]`, in the order of denoising, so that time runs to the right.
        ranges: `min`, `max` and `absmax`, each `[timestep, channel]`.
        title: The layer, as titles name it.
        symbol: What a noise level is called.
    """
    step = np.arange(len(levels))
    low, high = ranges["min"].min(axis=1), ranges["max"].max(axis=1)
    with drawing(path, 6.4, 3.2) as figure:
        axes = figure.subplots()
        median = np.median(ranges["absmax"], axis=1)
        axes.fill_between(step, low, high, color=BLUE, alpha=0.22, lw=0, label="least minimum to greatest maximum")
        axes.plot(step, median, color=VERMILION, lw=1.6, label="median over channels of the largest |X|")
        axes.axhline(0.0, color=INK, lw=0.6)
        shown = np.unique(np.linspace(0, len(levels) - 1, min(8, len(levels))).round().astype(int))
        axes.set_xticks(shown, [f"{levels[index]:.3g}" for index in shown])
        axes.set_xlabel(f"noise level {symbol} (denoising runs to the right)")
        axes.set_ylabel("input activation")
        axes.set_title(f"Input range of {title}", fontsize=9)
        axes.legend(fontsize=8, loc="upper left")
        axes.margins(x=0.01, y=0.2)


def activation_map(path: str | Path, activation: np.ndarray, place: str) -> None:
    """Magnitude of one layer's input, tokens by channels, with each channel's maximum above it (figure 1 of the paper).

    Args:
        path: Where the SVG goes.
        activation: Input of the layer `[tokens, channels]` at one timestep.
        place: Layer and moment (see `where`).

    Raises:
        UserError: If `activation` is not a finite matrix.
    """
    magnitude = _magnitude(activation, "activation")
    with drawing(path, 7.2, 4.2) as figure:
        top, axes = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.4))
        _bars(top, magnitude.max(axis=0), VERMILION)
        top.set_ylabel("|X|max")
        top.set_title(f"|X| entering {place}", fontsize=9)
        # The 99.5th percentile as the ceiling: a single outlier would otherwise leave the rest of the map black.
        ceiling = float(np.percentile(magnitude, 99.5)) or 1.0
        image = axes.imshow(
            magnitude, aspect="auto", origin="lower", cmap="magma", norm=Normalize(0, ceiling), interpolation="nearest",
            extent=(-0.5, magnitude.shape[1] - 0.5, -0.5, magnitude.shape[0] - 0.5),
        )  # fmt: skip
        axes.grid(visible=False)
        axes.set_xlabel("input channel")
        axes.set_ylabel("token")
        figure.colorbar(image, ax=axes, label="|X|", extend="max", pad=0.01)


def smoothing(path: str | Path, activation: np.ndarray, weight: np.ndarray, alpha: float, place: str) -> None:
    """|X| and |W| per input channel before and after smoothing (figure 3 of the paper).

    `s_j = absmax_j(X)^alpha / absmax_j(W)^(1-alpha)`, then `X/s` and `W*s` (eqs. 3 and 4). Each panel shows each
    channel's maximum and its median magnitude; a flat outline is easy to quantize, a spike is not.

    Args:
        path: Where the SVG goes.
        activation: Input of the layer `[tokens, channels]`.
        weight: Weight of the layer `[out, channels]`.
        alpha: Strength of the smoothing, 0 to 1.
        place: As for `activation_map`.

    Raises:
        UserError: If a matrix is not finite or their channels differ.
    """
    before_x, before_w = _magnitude(activation, "activation"), _magnitude(weight, "weight")
    if before_x.shape[1] != before_w.shape[1]:
        raise UserError(
            f"The activation map has {before_x.shape[1]} channels and the weight {before_w.shape[1]}: they are not of "
            "one layer. Write both from the same layer, or leave the weight out."
        )
    tiny = np.finfo(np.float64).tiny
    act_absmax, weight_absmax = (np.maximum(matrix.max(axis=0), tiny) for matrix in (before_x, before_w))
    smooth_scale = act_absmax**alpha / weight_absmax ** (1 - alpha)
    with drawing(path, 7.2, 4.6) as figure:
        grid = figure.subplots(2, 2, sharex=True)
        after = (before_x / smooth_scale, before_w * smooth_scale)
        for row, (when, matrices) in enumerate({"before": (before_x, before_w), "after": after}.items()):
            for column, (name, colour) in enumerate((("|X|", VERMILION), ("|W|", BLUE))):
                axes, peak = grid[row, column], matrices[column].max(axis=0)
                _bars(axes, peak, colour)
                axes.plot(np.arange(len(peak)), np.median(matrices[column], axis=0), color=INK, lw=0.7)
                spread = peak.max() / max(float(np.median(peak)), tiny)
                axes.set_title(f"{name} {when} smoothing (largest to median: {spread:.1f})", fontsize=8.5)
                axes.set_ylabel(name)
        for axes in grid[1]:
            axes.set_xlabel("input channel")
        figure.suptitle(f"{place}, {ALPHA} = {alpha:g} (bars: maximum, line: median)", fontsize=9)


def where(metadata: Mapping[str, Any], title: str, symbol: str = SIGMA) -> str:
    """Layer and moment as a phrase: `qkv of block 3 at σ = 0.72 (step 12 of 20)`.

    Args:
        metadata: Of an activation map.
        title: The layer's.
        symbol: What a noise level is called.
    """
    level = metadata.get("level", metadata.get("sigma"))
    if level is not None:
        title += f" at {symbol} = {float(level):.3g}"
    if "step" in metadata:
        title += f" (step {metadata['step']}" + (f" of {metadata['n_steps']})" if "n_steps" in metadata else ")")
    return title


def _bars(axes: Axes, heights: np.ndarray, colour: str) -> None:
    axes.fill_between(np.arange(len(heights)), heights, step="mid", color=colour, alpha=0.75, lw=0)
    axes.set_ylim(0, float(heights.max()) * 1.08 or 1.0)
    axes.set_xlim(-0.5, len(heights) - 0.5)


def _magnitude(matrix: np.ndarray, name: str) -> np.ndarray:
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise UserError(
            f"The {name} of the activation map must be a finite matrix, and is of shape {tuple(matrix.shape)}"
            f"{'' if np.isfinite(matrix).all() else ' with values that are not finite'}. Calibrate again to rebuild it."
        )
    return np.abs(matrix)
