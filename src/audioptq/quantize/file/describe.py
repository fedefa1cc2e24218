"""What a quantized model's file says of itself, from its header alone: no tensor is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audioptq.files.artifacts import read_parquet
from audioptq.quantize.file.size import ByteCounts, count_bytes, matrix_shape
from audioptq.quantize.file.tensor_file import TensorFile
from audioptq.quantize.recipe.recipe import FLOAT_BITS, QuantRecipe


@dataclass(frozen=True)
class LayerDescription:
    """One quantized layer.

    Attributes:
        name: In the network.
        kind: Of layer: linear, conv2d, ...
        shape: Of its weight as a matrix: output channels, and input channels times the positions of its kernel.
        weight_bits: Of a stored weight.
        act_bits: Of an activation.
        granularity: Of the weight's scales; None for a weight in float.
        rows: Smoothing vectors; 0 without smoothing.
        rank: Of the low-rank branch; 0 without one.
        n_bytes: Of all its tensors.
        sqnr_db: Signal-to-quantization-noise ratio of its weight, dB; None if not recorded.
    """

    name: str
    kind: str
    shape: tuple[int, int]
    weight_bits: int
    act_bits: int
    granularity: str | None
    rows: int
    rank: int
    n_bytes: int
    sqnr_db: float | None


@dataclass(frozen=True)
class FileDescription:
    """A quantized model's file.

    Attributes:
        path: The file.
        n_bytes: Its size.
        header_bytes: Of that, what is not tensors.
        record: Its metadata.
        recipe: What was done to the model.
        counts: Bytes of the tensors.
        layers: The quantized layers.
    """

    path: Path
    n_bytes: int
    header_bytes: int
    record: dict[str, Any]
    recipe: QuantRecipe
    counts: ByteCounts
    layers: list[LayerDescription]


def describe(path: str | Path) -> FileDescription:
    """Reads the header of a file; the ratios of its layers come from it, or from a `layers.parquet` beside it.

    Raises:
        DamagedArtifactError: If it is missing, cut off, or no quantized model.
        UserError: If it is of another format version.
    """
    with TensorFile(path) as file:
        record = file.record
        recipe = QuantRecipe.from_config(record["recipe_name"], record["recipe"])
        sizes = {name: entry.nbytes for name, entry in file.entries.items()}
        counts = count_bytes(sizes, record["layers"], record.get("components", {}))
        ratios = _ratios(file)
        layers = [_layer(file, name, recipe, ratios.get(name)) for name in record["layers"]]
        return FileDescription(file.path, file.path.stat().st_size, file.header_bytes, record, recipe, counts, layers)


def _layer(file: TensorFile, name: str, recipe: QuantRecipe, sqnr_db: float | None) -> LayerDescription:
    spec = recipe.for_layer(name)
    own = {key.removeprefix(f"{name}."): entry for key, entry in file.entries.items() if key.startswith(f"{name}.")}
    layer = file.record["layers"][name]
    return LayerDescription(
        name=name,
        kind=layer["kind"],
        shape=matrix_shape(layer),
        weight_bits=spec.weight.bits if spec.weight else FLOAT_BITS[spec.dtype],
        act_bits=spec.activation.bits if spec.activation else FLOAT_BITS[spec.dtype],
        granularity=spec.weight.granularity if spec.weight else None,
        rows=own["smooth_scale"].shape[0] if "smooth_scale" in own else 0,
        rank=own["low_rank.a"].shape[1] if "low_rank.a" in own else 0,
        n_bytes=sum(entry.nbytes for entry in own.values()),
        sqnr_db=sqnr_db,
    )


def _ratios(file: TensorFile) -> dict[str, float | None]:
    recorded = file.record.get("sqnr_db")
    if recorded is not None:
        return dict(zip(sorted(file.record["layers"]), recorded, strict=True))
    beside = file.path.with_name("layers.parquet")
    if not beside.is_file():
        return {}
    table, _ = read_parquet(beside, ["layer", "sqnr_db"])
    return dict(zip(table["layer"], table["sqnr_db"].astype(float), strict=True))
