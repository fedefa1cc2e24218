"""What a layer's matrix is multiplied by: the tokens of a linear layer, the patches of a convolution.

A patch is all that an output position of a convolution sees of its input: `[in * taps]`, in the order of the matrix's columns.
Inputs are quantized before they become patches, so that an element is rounded once; zeros that pad are integers, too.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor
from torch.nn.functional import pad

from audioptq.quantize.arithmetic.granularity import PerAxes, act_granularity
from audioptq.quantize.layers.kinds import KINDS, Geometry
from audioptq.quantize.recipe.specs import ActivationSpec

# About so many elements of patches are made, multiplied and let go at a time: at least a row of positions. Which are together
# depends on the layer and the length of a clip alone.
PATCHES_AT_ONCE = 2**22
# Tokens or patches, their scale (None where a product needs none), and the same of the raw input where a branch reads it.
Piece = tuple[Tensor, Tensor | None, Tensor | None]


class Tokens:
    """The input of a linear layer, `[batch, ..., in]`, which is multiplied as it is."""

    has_tokens = True

    def per_channel(self, vector: Tensor) -> Tensor:
        """A value per input channel, in a shape that broadcasts against the input."""
        return vector

    def absmax(self, x: Tensor, spec: ActivationSpec) -> Tensor:
        """Ranges of a live input, in a shape that broadcasts against it."""
        return act_granularity(spec).absmax(x)

    def flat(self, integers: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Integers as `[tokens, in]`, and their scales as float32 `[tokens, 1]`."""
        per_token = scale.float().expand(*integers.shape[:-1], 1).reshape(-1, 1)
        return integers.flatten(0, -2), per_token

    def pieces(self, operand: Tensor, scale: Tensor | None, raw: Tensor | None) -> Iterator[Piece]:
        """All of it at once."""
        yield operand, scale, raw

    def join(self, outputs: Iterable[Tensor], x: Tensor) -> Tensor:
        """The output `[batch, ..., out]` of the input `x`."""
        (y,) = outputs
        return y.view(*x.shape[:-1], y.shape[-1])


class Patches:
    """The input of a convolution, `[batch, in, *size]`, clip by clip: a clip's output depends on no other's.

    Ranges are those of a clip: a product takes in the channels of many positions, which no scale per position can factor out of
    the sum.
    """

    has_tokens = False

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry

    def per_channel(self, vector: Tensor) -> Tensor:
        """See `Tokens.per_channel`."""
        return vector.view(-1, *[1] * KINDS[self.geometry.kind].dims)

    def absmax(self, x: Tensor, spec: ActivationSpec) -> Tensor:
        """One range for each clip, or for each channel of a clip."""
        return PerAxes((0, 1) if spec.granularity == "per_channel" else (0,)).absmax(x)

    def flat(self, integers: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Integers as they are, and a scale per clip, float32 `[batch]`."""
        return integers, scale.float().flatten()

    def pieces(self, operand: Tensor, scale: Tensor | None, raw: Tensor | None) -> Iterator[Piece]:
        """Patches `[positions, in * taps]` of some positions of one clip at a time, and the clip's scale `[1]`."""
        for clip in range(len(operand)):
            own = None if scale is None else scale[clip].flatten() if scale.ndim else scale
            raws = iter(()) if raw is None else self._of_clip(raw[clip])
            for patches in self._of_clip(operand[clip]):
                yield patches, own, next(raws, None)

    def join(self, outputs: Iterable[Tensor], x: Tensor) -> Tensor:
        """The output `[batch, out, *size]` of the input `x`, from those of its pieces in order.

        Raises:
            ValueError: If `x` is no batch of inputs.
        """
        kind, dims = self.geometry.kind, KINDS[self.geometry.kind].dims
        channels = self.geometry.in_channels
        if (
            x.ndim != dims + 2 or x.shape[1] != channels
        ):  # patches of other channels might have the right length by chance
            raise ValueError(f"a quantized {kind} takes [batch, {channels}{', size' * dims}], not {list(x.shape)}")
        size = self._out_size(x.shape[2:])
        positions, start, y = math.prod(size), 0, x.new_empty(0)
        for output in outputs:
            if start == 0:
                y = output.new_empty(len(x), self.geometry.out_channels, positions)
            clip, first = divmod(start, positions)
            y[clip, :, first : first + len(output)] = output.T
            start += len(output)
        return y.view(len(x), self.geometry.out_channels, *size)

    def _of_clip(self, x: Tensor) -> Iterator[Tensor]:
        """Patches of one clip `[in, *size]`, some rows of output positions at a time."""
        geometry = self.geometry
        size = self._out_size(x.shape[1:])
        step = geometry.stride
        if geometry.is_transposed:
            x, step = self._spread(x), (1,) * len(size)
        else:
            x = _padded(x, geometry.padding)
        channels, *along = x.stride()
        by_position = [stride * by for stride, by in zip(along, step, strict=True)]
        by_tap = [stride * dilation for stride, dilation in zip(along, geometry.dilation, strict=True)]
        view = x.as_strided((*size, len(x), *geometry.kernel), (*by_position, channels, *by_tap))
        rows = max(1, PATCHES_AT_ONCE // (math.prod(size[1:]) * geometry.shape[1]))
        for first in range(0, size[0], rows):
            patches = view[first : first + rows]
            if geometry.is_transposed:  # the first tap is the furthest ahead of the position that it spreads
                patches = patches.flip([-1 - axis for axis in range(len(size))])
            yield patches.reshape(-1, geometry.shape[1])

    def _spread(self, x: Tensor) -> Tensor:
        """What a plain convolution of stride 1 makes a transposed one's output of: zeros between positions and around."""
        geometry = self.geometry
        sizes = [(size - 1) * by + 1 for size, by in zip(x.shape[1:], geometry.stride, strict=True)]
        spread = x.new_zeros(len(x), *sizes)
        spread[(slice(None), *(slice(None, None, by) for by in geometry.stride))] = x
        spans = [dilation * (size - 1) for dilation, size in zip(geometry.dilation, geometry.kernel, strict=True)]
        around = [
            (span - before, span - after + extra)
            for span, (before, after), extra in zip(spans, geometry.padding, geometry.output_padding, strict=True)
        ]
        return _padded(spread, around)

    def _out_size(self, size: Sequence[int]) -> tuple[int, ...]:
        geometry = self.geometry
        found = []
        for axis, length in enumerate(size):
            span = geometry.dilation[axis] * (geometry.kernel[axis] - 1)
            zeros = sum(geometry.padding[axis])
            if geometry.is_transposed:
                found.append((length - 1) * geometry.stride[axis] + span - zeros + geometry.output_padding[axis] + 1)
            else:
                found.append((length + zeros - span - 1) // geometry.stride[axis] + 1)
        if min(found) < 1:
            raise ValueError(f"an input of size {tuple(size)} is smaller than the kernel {geometry.kernel}")
        return tuple(found)


def layout_of(geometry: Geometry) -> Tokens | Patches:
    """How inputs of a layer are multiplied by its matrix."""
    return Tokens() if not geometry.kernel else Patches(geometry)


def _padded(x: Tensor, zeros: Sequence[tuple[int, int]]) -> Tensor:
    """Zeros before and after each axis but the first; a number below zero cuts off."""
    if not any(number for pair in zeros for number in pair):
        return x.contiguous()
    return pad(x, [number for pair in reversed(zeros) for number in pair]).contiguous()
