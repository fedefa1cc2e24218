"""Integers of 4, 3 and 2 bits in bytes, along the last axis (a weight's input channels).

4 bits go two to a byte and 2 bits four to a byte, the first value in the lowest bits, two's complement. 3 bits do not
divide a byte, so they are stored as two planes, one of the 2 low bits and one of the sign bits: 3 bits each all the
same.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

PLANES = {8: (8,), 4: (4,), 3: (2, 1), 2: (2,)}


def pack(qdata: Tensor, bits: int) -> Tensor:
    """Packs int8 `[..., n]` into uint8 `[..., packed_width(n, bits)]`; 8 bits are returned as they are.

    >>> pack(torch.tensor([[1, -1, 7]], dtype=torch.int8), bits=4)
    tensor([[241,   7]], dtype=torch.uint8)
    """
    if bits == 8:
        return qdata
    unsigned = (qdata & (2**bits - 1)).to(torch.uint8)
    packed, shift = [], 0
    for width in PLANES[bits]:
        packed.append(_pack_plane((unsigned >> shift) & (2**width - 1), width))
        shift += width
    return torch.cat(packed, -1)


def unpack(packed: Tensor, bits: int, n: int) -> Tensor:
    """The int8 `[..., n]` that `pack` was given."""
    if bits == 8:
        return packed
    *lower, top = packed.view(torch.int8).split([_plane_bytes(n, width) for width in PLANES[bits]], -1)
    # The sign bit is in the top plane: its fields are shifted down with their sign, those of a lower plane without.
    values = _unpack_plane(top, PLANES[bits][-1], n)
    for plane, width in zip(lower, PLANES[bits][:-1], strict=True):
        values = (values << width) | (_unpack_plane(plane, width, n) & (2**width - 1))
    return values


def packed_width(n: int, bits: int) -> int:
    """Bytes that `n` values take.

    >>> packed_width(5, bits=4), packed_width(8, bits=3), packed_width(9, bits=2)
    (3, 3, 3)
    """
    return sum(_plane_bytes(n, width) for width in PLANES[bits])


def _plane_bytes(n: int, width: int) -> int:
    return -(-n * width // 8)


def _pack_plane(values: Tensor, width: int) -> Tensor:
    fields = pad(values, (0, -values.shape[-1] % (8 // width))).unflatten(-1, (-1, 8 // width))
    packed = torch.zeros_like(fields[..., 0])
    for index in range(8 // width):
        packed |= fields[..., index] << (index * width)
    return packed


def _unpack_plane(plane: Tensor, width: int, n: int) -> Tensor:
    if width == 4:
        # Three times as fast as what follows: both values at once, in the two bytes of an int16.
        pairs = plane.view(torch.uint8).to(torch.int16)
        spread = (pairs << 4).bitwise_or_(pairs).bitwise_and_(0x0F0F).view(torch.int8)
        return spread.bitwise_xor_(8).sub_(8)[..., :n]
    fields = [(plane << (8 - end)) >> (8 - width) for end in range(width, 9, width)]
    return torch.stack(fields, -1).flatten(-2)[..., :n]
