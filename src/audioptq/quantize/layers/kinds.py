"""Kinds of layers that can be quantized: a table, and what a layer of each kind is as a matrix with a geometry."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from audioptq.site import Part, Site


@dataclass(frozen=True)
class LayerKind:
    """One kind.

    Attributes:
        module: The class of torch that it is.
        dims: Axes of the input beside batch and channels that the kernel moves along.
        is_transposed: Whether the kernel spreads each input position over the output, in place of gathering it.
    """

    module: type[nn.Module]
    dims: int
    is_transposed: bool = False


KINDS = {
    "linear": LayerKind(nn.Linear, 0),
    "conv1d": LayerKind(nn.Conv1d, 1),
    "conv2d": LayerKind(nn.Conv2d, 2),
    "conv_transpose1d": LayerKind(nn.ConvTranspose1d, 1, is_transposed=True),
    "conv_transpose2d": LayerKind(nn.ConvTranspose2d, 2, is_transposed=True),
}


class NotQuantizableError(Exception):
    """Why a layer can only stay in float, as a clause."""


@dataclass(frozen=True)
class Geometry:
    """What a layer is beside its numbers: all that a file must say of it.

    Every weight is worked on as a matrix `[out, in * taps]`, the taps of an input channel next to each other, as
    `weight.flatten(1)` of a convolution's `[out, in, *kernel]`. The tuples are empty for a linear layer, whose one tap is its
    input channel.

    Attributes:
        kind: A key of `KINDS`.
        out_channels: Of the output.
        in_channels: Of the input.
        kernel: Size along each axis.
        stride: Along each axis.
        padding: Zeros before and after each axis; of a transposed convolution what is cut off the output.
        output_padding: What a transposed convolution adds after each axis; else zeros.
        dilation: Distance of the taps along each axis.
        parts: Labelled pieces of which the input's channels are concatenated; empty for one piece.
    """

    kind: str
    out_channels: int
    in_channels: int
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    output_padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a layer of the unknown kind {self.kind!r}")
        dims = KINDS[self.kind].dims
        axes = (self.kernel, self.stride, self.padding, self.output_padding, self.dilation)
        if any(len(values) != dims for values in axes):
            raise ValueError(f"a {self.kind} whose geometry is not of {dims} axes")
        sizes = (self.out_channels, self.in_channels, *self.kernel, *self.stride, *self.dilation)
        if not all(isinstance(size, int) and size >= 1 for size in sizes):
            raise ValueError(f"a {self.kind} with a size below 1")
        rest = (*self.output_padding, *(zeros for pair in self.padding for zeros in pair))
        if not all(isinstance(size, int) and size >= 0 for size in rest):
            raise ValueError(f"a {self.kind} with a padding below 0")
        if self.parts and sum(part.size for part in self.parts) != self.in_channels:
            raise ValueError(f"parts {parts_text(self.parts)} that do not add up to {self.in_channels} input channels")

    @property
    def taps(self) -> int:
        """Columns of the matrix for each input channel."""
        return math.prod(self.kernel)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix."""
        return self.out_channels, self.in_channels * self.taps

    @property
    def part_sizes(self) -> tuple[int, ...]:
        """Channels of each part; empty for an input of one piece."""
        return tuple(part.size for part in self.parts)

    @property
    def is_transposed(self) -> bool:
        """Whether it is a transposed convolution."""
        return KINDS[self.kind].is_transposed

    def matrix(self, weight: Tensor) -> Tensor:
        """A weight as torch's layer has it, as the matrix `[out, in * taps]`."""
        return (weight.transpose(0, 1) if self.is_transposed else weight).flatten(1)

    def columns(self, vector: Tensor) -> Tensor:
        """A value per input channel `[in]`, repeated for the taps of each: `[in * taps]`."""
        return vector if self.taps == 1 else vector.repeat_interleave(self.taps)

    def to_record(self) -> dict[str, Any]:
        """What a file says of the layer."""
        record: dict[str, Any] = {"kind": self.kind, "shape": [self.out_channels, self.in_channels, *self.kernel]}
        if self.kernel:
            record |= {"stride": [*self.stride], "padding": [[*pair] for pair in self.padding]}
            record |= {"output_padding": [*self.output_padding], "dilation": [*self.dilation]}
        return record | ({"parts": [[part.label, part.size] for part in self.parts]} if self.parts else {})

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Geometry":
        """Reads what `to_record` wrote.

        Raises:
            ValueError, TypeError, KeyError: If it is no such record.
        """
        out_channels, in_channels, *kernel = record["shape"]
        axes = {name: tuple(record.get(name, ())) for name in ("stride", "output_padding", "dilation")}
        padding = tuple((before, after) for before, after in record.get("padding", ()))
        parts = tuple(Part(str(label), int(size)) for label, size in record.get("parts", ()))
        return cls(record["kind"], out_channels, in_channels, tuple(kernel), padding=padding, parts=parts, **axes)


def read_geometry(module: nn.Module, site: Site) -> Geometry:
    """The geometry of a layer of a model.

    Raises:
        NotQuantizableError: If it is of no kind that is known here, or computes what its kind does not.
    """
    kind = KINDS[site.kind]
    if not isinstance(module, kind.module) or type(module).forward is not kind.module.forward:
        raise NotQuantizableError(f"is a {type(module).__name__}, which the kind {site.kind} does not describe")
    own: Any = module
    if (
        own._forward_pre_hooks or own._forward_hooks
    ):  # such as the weight of torch.nn.utils.weight_norm, made in every call
        raise NotQuantizableError("has hooks that may change its weight, its input or its output")
    if getattr(own, "groups", 1) != 1:
        raise NotQuantizableError(f"is a convolution in {own.groups} groups")
    if getattr(own, "padding_mode", "zeros") != "zeros":
        raise NotQuantizableError(f"pads with the mode {own.padding_mode}, not with zeros")
    sizes = {"in_channels": own.weight.shape[1], "out_channels": own.weight.shape[0]}
    if kind.is_transposed:
        sizes = {"in_channels": own.weight.shape[0], "out_channels": own.weight.shape[1]}
    axes: dict[str, Any] = {}
    if kind.dims:
        axes = {name: tuple(getattr(own, name)) for name in ("stride", "output_padding", "dilation")}
        axes |= {"kernel": tuple(own.kernel_size), "padding": _padding(own)}
    try:
        return Geometry(site.kind, parts=site.parts, **sizes, **axes)
    except ValueError as error:
        raise NotQuantizableError(f"is {error}") from error


def parts_text(parts: tuple[Part, ...]) -> str:
    """`up 144 | skip 96`; empty for an input of one piece."""
    return " | ".join(f"{part.label} {part.size}" for part in parts)


def _padding(module: Any) -> tuple[tuple[int, int], ...]:
    if module.padding == "valid":
        return tuple((0, 0) for _ in module.kernel_size)
    if module.padding == "same":
        spans = [dilation * (size - 1) for dilation, size in zip(module.dilation, module.kernel_size, strict=True)]
        return tuple((span // 2, span - span // 2) for span in spans)
    return tuple((zeros, zeros) for zeros in module.padding)
