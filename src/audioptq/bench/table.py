"""The bench's table: ratios with their intervals, what a form moves and computes, and the same as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audioptq.bench.operations import BFLOAT16, FLOAT32, INT8, Widths, total_bytes, total_operations
from audioptq.bench.plan import STEP, BenchSettings, Case
from audioptq.machine.memory import gigabytes

DRAWS = 2000
COVERAGE = (2.5, 97.5)
KEYS = ("model", "weights", "statistics", "form", "compute", "what", "latents", "batch")
NUMBERS = (
    "seconds", "ratio", "ratio_low", "ratio_high", "rounds", "peak_bytes", "file_bytes", "quantized_layers",
    "integer_layers", "operations", "moved_bytes", "load_seconds",
)  # fmt: skip
COLUMNS = (*KEYS, *NUMBERS, "note", "reason")


def ratio(baseline: Sequence[float], own: Sequence[float], seed: int) -> dict[str, float]:
    """How many times as fast as the baseline: the median over rounds of `baseline / own`, each from one round.

    Args:
        baseline: Seconds of the baseline, by round.
        own: Seconds of the form in the same rounds.
        seed: Of the bootstrap.

    Returns:
        `seconds` (median of `own`), `ratio`, `ratio_low` and `ratio_high` (95 % bootstrap over rounds; NaN of a single one),
        and `rounds`.
    """
    quotients = np.asarray(baseline) / np.asarray(own)
    rounds = len(quotients)
    draws = np.random.default_rng(seed).integers(0, rounds, (DRAWS, rounds))
    low, high = np.percentile(np.median(quotients[draws], axis=1), COVERAGE)
    if rounds == 1:
        low = high = np.nan
    return {
        "seconds": float(np.median(own)),
        "ratio": float(np.median(quotients)),
        "ratio_low": float(low),
        "ratio_high": float(high),
        "rounds": rounds,
    }


def finished(row: Mapping[str, Any], counts: Mapping[Case, Any], settings: BenchSettings) -> dict[str, Any]:
    """A row of `measure.Turns` as the table has it: `COLUMNS`, without those that it has no value for."""
    done = {name: row[name] for name in COLUMNS if name in row}
    case = Case(row["latents"], row["batch"], row["what"])
    if "own_seconds" in row:
        done |= ratio(row["baseline_seconds"], row["own_seconds"], settings.seed)
    if case in counts and "own_seconds" in row:
        done["operations"] = total_operations(counts[case])
        done["moved_bytes"] = total_bytes(counts[case], widths_of(row["compute"], row["dtype"]))
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
        f"At best: {_ceilings(metadata['ceilings'])}.",
        "",
    ]
    keys = ["model", "weights", "what", "latents", "batch"]
    for (model, weights, what, latents, batch), rows in table.groupby(keys, sort=False):
        noun = "A guided step" if what == STEP else "A whole generation"
        lines += [f"## {model}: {noun.lower()}, {latents} latents, batch {batch}", ""]
        if weights == "random":
            lines += ["The weights are random: they serve for speed and size, and say nothing of quality.", ""]
        lines += [*_rows(rows), ""]
    return "\n".join([*lines, *_not_run(table), *_shares(profile)]).rstrip() + "\n"


def _rows(rows: pd.DataFrame) -> Iterator[str]:
    yield "| form | compute | seconds | times as fast as fp32 | GOP/s | peak memory | over fp32 | file |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    ran = rows[rows["reason"].isna()]
    full = ran["peak_bytes"].iloc[0] if len(ran) else np.nan
    for row in ran.to_dict("records"):
        interval = "" if np.isnan(row["ratio_low"]) else f" ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        cells = [
            row["form"],
            row["compute"],
            f"{row['seconds']:.3g}",
            f"{row['ratio']:.2f}{interval}",
            "" if np.isnan(row["operations"]) else f"{row['operations'] / row['seconds'] / 1e9:.0f}",
            "" if np.isnan(row["peak_bytes"]) else gigabytes(int(row["peak_bytes"])),
            "" if np.isnan(row["peak_bytes"]) else f"{row['peak_bytes'] / full:.2f}",
            "" if np.isnan(row["file_bytes"]) else gigabytes(int(row["file_bytes"])),
        ]
        yield f"| {' | '.join(cells)} |"


def _not_run(table: pd.DataFrame) -> Iterator[str]:
    failed = table[table["reason"].notna()]
    if len(failed):
        yield "## Not run"
        yield ""
        for (model, form, compute, reason), rows in failed.groupby(["model", "form", "compute", "reason"], sort=False):
            sizes = ", ".join(f"{row.latents} x {row.batch}" for row in rows.itertuples())
            yield f"- {model}, {form}, {compute} ({sizes}): {' '.join(reason.split())}"
        yield ""


def _shares(profile: pd.DataFrame) -> Iterator[str]:
    if len(profile):
        kinds = list(profile["kind"].unique())
        yield "## Where the time of a step goes, in per cent"
        yield ""
        yield f"| model | form | compute | latents | batch | {' | '.join(kinds)} |"
        yield f"|---|---|---|---:|---:|{'---:|' * len(kinds)}"
        keys = ["model", "form", "compute", "latents", "batch"]
        for key, rows in profile.groupby(keys, sort=False):
            shares = rows.set_index("kind")["share"]
            yield f"| {' | '.join([*map(str, key), *(f'{100 * shares[kind]:.0f}' for kind in kinds)])} |"


def _ceilings(ceilings: Mapping[str, Any]) -> str:
    products = [
        f"{name} products {found['per_second'] / 1e9:.0f} GOP/s"
        if found["per_second"]
        else f"no {name} products ({found['by']})"
        for name, found in ceilings["products"].items()
    ]
    return ", ".join([*products, *(f"{name} {rate / 1e9:.0f} GB/s" for name, rate in ceilings["bandwidth"].items())])
