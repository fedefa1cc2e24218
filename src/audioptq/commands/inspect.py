"""`audioptq inspect`: what a quantized model's file holds."""

import argparse
import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from audioptq.machine.memory import gigabytes
from audioptq.quantize.file.describe import FileDescription, LayerDescription, describe
from audioptq.quantize.file.tensor_file import TensorFile

HEADER = ("layer", "out x in", "weight", "act", "granularity", "s(t) rows", "rank", "bytes", "SQNR dB")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the arguments."""
    parser = commands.add_parser(
        "inspect",
        help="say what a quantized model's file holds",
        description="Says what a quantized model's file holds, from its header: no tensor is read without --verify.",
    )
    parser.add_argument("weights", help="file of `audioptq quantize` or of the workflow (weights.safetensors)")
    parser.add_argument("--layers", action="store_true", help="a row for every quantized layer")
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    parser.add_argument("--verify", action="store_true", help="read every byte and compare with the digest in the file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints the description.

    Raises:
        UserError: If the file is missing, damaged, or no quantized model.
    """
    described = describe(options.weights)
    if options.verify:
        with TensorFile(options.weights) as file:
            file.verify()
    if options.json:
        print(json.dumps(as_record(described) | {"verified": options.verify}, indent=2, ensure_ascii=False))
        return
    print("\n".join(summary(described)))
    if options.verify:
        print("contents:   match the digest")
    if options.layers:
        print("\n" + "\n".join(layer_table(described.layers)))


def as_record(described: FileDescription) -> dict[str, Any]:
    """The description as JSON holds it, without the model's configuration, which is long."""
    record = {key: value for key, value in described.record.items() if key not in ("layers", "sqnr_db", "model_config")}
    layers = [dataclasses.asdict(layer) for layer in described.layers]
    for layer in layers:
        layer["sqnr_db"] = layer["sqnr_db"] if _is_number(layer["sqnr_db"]) else None
    return {
        "path": str(described.path),
        "bytes": described.n_bytes,
        "header_bytes": described.header_bytes,
        **dataclasses.asdict(described.counts),
        "record": record,
        "layers": layers,
    }


def summary(described: FileDescription) -> Iterator[str]:
    """Lines that say what the file is and where its bytes go."""
    record, recipe = described.record, described.recipe
    yield f"file:       {described.path}, {gigabytes(described.n_bytes)}, format version {record['format_version']}"
    yield f"model:      {record.get('model', 'not recorded')}"
    yield f"recipe:     {recipe.name} (W{recipe.weight_bits}A{recipe.act_bits}, {recipe.compute}): {_recipe(described)}"
    yield f"calibrated: {_calibration(record)}"
    yield f"layers:     {len(described.layers)} quantized, {len(record['cast_layers'])} in bfloat16{_mean_ratio(described.layers)}"
    yield from _smoothing(described.layers)
    everything = {"components": described.counts.components, "kinds": described.counts.parts}
    for title, counts in everything.items():
        yield f"{title}:"
        for name, n_bytes in {**counts, "header": described.header_bytes}.items():
            if n_bytes:
                yield f"  {name:<15}{n_bytes:>15,} bytes {n_bytes / described.n_bytes:>7.1%}"


def layer_table(layers: list[LayerDescription]) -> Iterator[str]:
    """Aligned columns, a row for every layer."""
    rows = [HEADER, *(_cells(layer) for layer in layers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cells(layer: LayerDescription) -> tuple[str, ...]:
    return (
        layer.name,
        f"{layer.shape[0]} x {layer.shape[1]}",
        str(layer.weight_bits),
        str(layer.act_bits),
        layer.granularity or "-",
        str(layer.rows or "-"),
        str(layer.rank or "-"),
        f"{layer.n_bytes:,}",
        f"{layer.sqnr_db:.2f}" if layer.sqnr_db is not None and _is_number(layer.sqnr_db) else "-",
    )


def _recipe(described: FileDescription) -> str:
    """The recipe without what it says of single layers: that may be one entry for each of hundreds."""
    config = described.recipe.to_config()
    overrides, names = config["layers"]["overrides"], {layer.name for layer in described.layers}
    config["layers"]["overrides"] = {glob: entry for glob, entry in overrides.items() if glob not in names}
    n_own = len(overrides) - len(config["layers"]["overrides"])
    return json.dumps(config) + (f"; {n_own} layers with settings of their own" if n_own else "")


def _smoothing(layers: list[LayerDescription]) -> Iterator[str]:
    """How many layers have how many smoothing vectors; nothing where none is smoothed."""
    counts = Counter(layer.rows for layer in layers if layer.rows)
    if counts:
        rows = ", ".join(f"{rows} in {counts[rows]}" for rows in sorted(counts))
        yield f"smoothing:  vectors per layer: {rows} of {len(layers)} layers"


def _calibration(record: dict[str, Any]) -> str:
    noise, sampler = record["levels"], record.get("sampler")
    if noise is None and sampler is None:
        return "no schedule recorded: any will do"
    levels = f"{len(noise)} noise levels from {noise[0]:.6g} to {noise[-1]:.6g}" if noise else "not needed"
    if sampler is None:
        return levels
    settings = f"{sampler['name']}, {sampler['steps']} steps, guidance {sampler['cfg_scale']:g}"
    return f"{levels}; {settings}"


def _mean_ratio(layers: list[LayerDescription]) -> str:
    ratios = [layer.sqnr_db for layer in layers if layer.sqnr_db is not None and _is_number(layer.sqnr_db)]
    return f"; SQNR of the weights {min(ratios):.1f} to {max(ratios):.1f} dB" if ratios else ""


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
