import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audioptq.quantize.arithmetic.packing import pack, packed_width, unpack
from audioptq.quantize.arithmetic.primitives import qmax


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 16, 17])
def test_every_value_at_every_position_comes_back(bits, n):
    lowest = -(2 ** (bits - 1))
    for value in range(lowest, qmax(bits) + 1):
        qdata = torch.full((2, n), lowest, dtype=torch.int8)
        for position in range(n):
            row = qdata.clone()
            row[:, position] = value
            packed = pack(row, bits)
            assert packed.shape == (2, packed_width(n, bits))
            assert torch.equal(unpack(packed, bits, n), row)
            if bits == 8:
                break


@settings(derandomize=True, deadline=None)
@given(st.data())
def test_random_matrices_come_back(data):
    bits, n = data.draw(st.sampled_from([4, 3, 2])), data.draw(st.integers(1, 40))
    integer = st.integers(-qmax(bits), qmax(bits))
    rows = data.draw(st.lists(st.lists(integer, min_size=n, max_size=n), min_size=1, max_size=4))
    qdata = torch.tensor(rows, dtype=torch.int8)
    assert torch.equal(unpack(pack(qdata, bits), bits, n), qdata)


def test_two_int4_share_a_byte_the_first_in_the_low_half():
    packed = pack(torch.tensor([[3, -2, 5]], dtype=torch.int8), 4)
    assert packed.dtype == torch.uint8
    assert packed.tolist() == [[(0xE << 4) | 0x3, 0x5]]


@pytest.mark.parametrize(("bits", "width"), [(8, 64), (4, 32), (3, 24), (2, 16)])
def test_sixty_four_values_take_their_bits_and_no_more(bits, width):
    assert packed_width(64, bits) == width
