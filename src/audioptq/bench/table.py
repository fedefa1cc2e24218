"""The bench's table: ratios with their intervals, what a form moves and computes, and the same as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audioptq.bench.operations import BFLOAT16, FLOAT32, INT8, Widths, total_bytes
from audioptq.bench.plan import STEP, Form
from audioptq.machine.memory import gigabytes

DRAWS = 2000
COVERAGE = (2.5, 97.5)
KEYS = ("model", "weights", "statistics", "form", "compute", "what", "latents", "batch")
NUMBERS = (
    "seconds", "ratio", "ratio_low", "ratio_high", "rounds", "peak_bytes", "file_bytes", "quantized_layers",
    "integer_layers", "operations", "moved_bytes", "load_seconds",
)  # fmt: skip
COLUMNS = (*KEYS, *NUMBERS, "note", "reason")


def ratio(pairs: Sequence[tuple[float, float]], seed: int) -> dict[str, float]:
    """How many times as fast as the baseline: the median over rounds of `baseline / own`, each from one round.

    Args:
        pairs: Seconds of the baseline and of the form, by round.
        seed: Of the bootstrap.

    Returns:
        `seconds` (median of the form's), `ratio`, `ratio_low` and `ratio_high` (95 % bootstrap over rounds; NaN of a single
        one), and `rounds`.
    """
    baseline, own = np.asarray(pairs).T
    quotients, rounds = baseline / own, len(pairs)
    draws = np.random.default_rng(seed).integers(0, rounds, (DRAWS, rounds))
    low, high = np.percentile(np.median(quotients[draws], axis=1), COVERAGE) if rounds > 1 else (np.nan, np.nan)
    found = {"seconds": np.median(own), "ratio": np.median(quotients), "ratio_low": low, "ratio_high": high}
    return {name: float(value) for name, value in found.items()} | {"rounds": rounds}


def finished(row: Mapping[str, Any], form: Form, counts: Mapping[str, Any] | None, seed: int) -> dict[str, Any]:
    """A row of `measure.Turns` as the table has it: `COLUMNS`, without those that it has no value for."""
    done = {name: row[name] for name in COLUMNS if name in row}
    if "pairs" in row:
        done |= ratio(row["pairs"], seed)
        if counts is not None:
            done["operations"] = counts["operations"]
            done["moved_bytes"] = total_bytes(counts, widths_of(form.compute, form.dtype))
    return done


def widths_of(compute: str, dtype: str) -> Widths:
    """Bytes of the values that a form computes with: a simulated form has its integers in floats."""
    if compute == "integer":
        return INT8
    return BFLOAT16 if dtype == "bfloat16" else FLOAT32


def as_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The table, in the order of the rows."""
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    texts = ["note", "reason", "statistics"]
    frame[texts] = frame[texts].astype(object).where(frame[texts].notna(), None)
    return frame.astype(dict.fromkeys(NUMBERS, "float64"))


def as_markdown(table: pd.DataFrame, profile: pd.DataFrame, metadata: Mapping[str, Any]) -> str:
    """A page: the machine, a table for every model and size, what did not run, and where the time went."""
    machine = metadata["machine"]
    lines = [
        "# Bench",
        "",
        f"{machine['device'] if machine['device'] != 'cpu' else machine['processor']} "
        f"({', '.join(machine['instruction_sets'])}), {machine['threads']} of {machine['cores']} cores, torch {machine['torch']}, "
        f"{metadata['date']}, load average {metadata['load_before'][0]:.1f} before and {metadata['load_after'][0]:.1f} after.",
        f"At best: {', '.join(_ceilings(metadata['ceilings']))}.",
        "",
    ]
    keys = ["model", "weights", "what", "latents", "batch"]
    for (model, weights, what, latents, batch), rows in table.groupby(keys, sort=False):
        noun = "a guided step" if what == STEP else "a whole generation"
        lines += [f"## {model}: {noun}, {latents} latents, batch {batch}", ""]
        if weights == "random":
            lines += ["The weights are random: they serve for speed and size, and say nothing of quality.", ""]
        ran = rows[rows["reason"].isna()]
        header = "form", "compute", "seconds", "times as fast as fp32", "GOP/s", "peak memory", "over fp32", "file"
        lines += [*_table(header, 2, (_cells(row, ran["peak_bytes"].iloc[0]) for row in ran.to_dict("records"))), ""]
    failed = table[table["reason"].notna()]
    if len(failed):
        lines += ["## Not run", ""]
        for (model, form, compute, reason), rows in failed.groupby(["model", "form", "compute", "reason"], sort=False):
            sizes = ", ".join(f"{row.latents} x {row.batch}" for row in rows.itertuples())
            lines.append(f"- {model}, {form}, {compute} ({sizes}): {' '.join(reason.split())}")
        lines.append("")
    if len(profile):
        kinds, keys = list(profile["kind"].unique()), ["model", "form", "compute", "latents", "batch"]
        shares = ((key, rows.set_index("kind")["share"]) for key, rows in profile.groupby(keys, sort=False))
        cells = ([*map(str, key), *(f"{100 * share[kind]:.0f}" for kind in kinds)] for key, share in shares)
        lines += ["## Where the time of a step goes, in per cent", "", *_table((*keys, *kinds), 3, cells)]
    return "\n".join(lines).rstrip() + "\n"


def _cells(row: Mapping[Any, Any], full_precision_peak: float) -> list[str]:
    interval = "" if np.isnan(row["ratio_low"]) else f" ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
    rate = row["operations"] / row["seconds"] / 1e9
    peak, size = row["peak_bytes"], row["file_bytes"]
    return [
        row["form"],
        row["compute"],
        f"{row['seconds']:.3g}",
        f"{row['ratio']:.2f}{interval}",
        "" if np.isnan(rate) else f"{rate:.0f}",
        "" if np.isnan(peak) else gigabytes(int(peak)),
        "" if np.isnan(peak) else f"{peak / full_precision_peak:.2f}",
        "" if np.isnan(size) else gigabytes(int(size)),
    ]


def _table(header: Sequence[str], n_words: int, rows: Any) -> Iterator[str]:
    """A table in Markdown; columns behind the first `n_words` are numbers."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * n_words}{'---:|' * (len(header) - n_words)}"
    for cells in rows:
        yield f"| {' | '.join(cells)} |"


def _ceilings(ceilings: Mapping[str, Any]) -> Iterator[str]:
    for name, found in ceilings["products"].items():
        rate = found["per_second"]
        yield f"{name} products {rate / 1e9:.0f} GOP/s" if rate else f"no {name} products ({found['by']})"
    for name, rate in ceilings["bandwidth"].items():
        yield f"{name} {rate / 1e9:.0f} GB/s"
