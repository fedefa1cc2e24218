"""Products of integers held as floats, against 64-bit integers."""

import pytest
import torch

from audioptq.quantize.arithmetic.exact_sums import exact_linear
from audioptq.quantize.arithmetic.primitives import qmax

# One part, and the first width of two; two parts, and the first width of three; Stable Audio Open's widest.
WIDTHS = [1, 256, 1040, 1041, 1536, 2080, 2081, 6144]


def product(x, weight):
    """Summed in 64-bit integers, rounded to float32 once."""
    return (x.long() @ weight.long().T).float()


def integers(shape, bits, generator):
    return torch.randint(-qmax(bits), qmax(bits) + 1, shape, generator=generator).float()


@pytest.mark.parametrize("bits", [(8, 8), (8, 4), (4, 4)])
@pytest.mark.parametrize("width", [*WIDTHS, 18872, 18873])
def test_sums_are_those_of_integers_to_the_bit(width, bits):
    generator = torch.Generator().manual_seed(width)
    x, weight = integers((7, width), bits[0], generator), integers((5, width), bits[1], generator)
    # The largest sums that there are, of either sign, and a bit less than that, so that the last digit counts.
    x[0], x[1], weight[0] = qmax(bits[0]), -qmax(bits[0]), qmax(bits[1])
    x[2] = x[0]
    x[2, : width // 2] -= 1
    assert torch.equal(exact_linear(x, weight, bits), product(x, weight))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_order_of_channels_does_not_matter(width):
    generator = torch.Generator().manual_seed(width)
    x, weight = integers((2, 3, width), 8, generator), integers((4, width), 8, generator)
    order = torch.randperm(width, generator=generator)
    assert torch.equal(exact_linear(x, weight, (8, 8)), exact_linear(x[..., order], weight[:, order], (8, 8)))


def test_a_plain_float_product_rounds_them():
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.full((64, 6144), 127.0), integers((64, 6144), 8, generator).abs()
    assert not torch.equal(torch.nn.functional.linear(x, weight), product(x, weight))
    assert torch.equal(exact_linear(x, weight, (8, 8)), product(x, weight))


@pytest.mark.parametrize("width", [40, 1536, 6144])
def test_what_is_no_number_stays_none(width):
    x = torch.ones(3, width)
    x[1, width // 2] = torch.nan
    y = exact_linear(x, torch.ones(2, width), (8, 8))
    assert y.isnan().tolist() == [[False] * 2, [True] * 2, [False] * 2]


def test_float64_holds_every_sum():
    x, weight = torch.full((1, 6144), 127.0, dtype=torch.float64), torch.full((1, 6144), 127.0, dtype=torch.float64)
    assert exact_linear(x, weight, (8, 8)).item() == 6144 * 127**2
