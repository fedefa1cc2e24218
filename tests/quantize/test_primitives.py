import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audioptq.quantize.arithmetic import packing, primitives
from audioptq.quantize.arithmetic.primitives import choose_scale, dequantize, fake_quantize, qmax, quantize

BITS = (8, 4, 3, 2)


@settings(derandomize=True, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=30),
    bits=st.sampled_from(BITS),
)
def test_rounding_moves_a_value_by_at_most_half_a_step(values, bits):
    x = torch.tensor(values, dtype=torch.float64)
    scale = choose_scale(x.abs().max(), bits)
    qdata = quantize(x, scale, bits)
    assert qdata.dtype == torch.int8
    assert qdata.abs().max() <= qmax(bits)
    # 1e-12 of the range is the rounding of float64 itself.
    assert ((dequantize(qdata, scale) - x).abs() <= scale / 2 + 1e-12 * x.abs().max()).all()


def test_the_largest_value_is_kept_and_both_signs_are_alike():
    x = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    scale = choose_scale(x.abs().max(), 8)
    assert quantize(x, scale, 8).tolist() == [-127, -42, 0, 42, 127]


def test_values_outside_the_range_are_clipped_to_it():
    assert quantize(torch.tensor([-9.0, 9.0]), torch.tensor(1.0), 4).tolist() == [-7, 7]


@pytest.mark.parametrize("absmax", [0.0, 1e-45], ids=["zero", "underflow"])
def test_a_set_without_magnitude_gets_scale_one(absmax):
    scale = choose_scale(torch.tensor([absmax]), 8)
    assert scale.item() == 1.0
    assert fake_quantize(torch.zeros(3), scale, 8).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("bits", BITS)
def test_fake_quantize_is_quantize_then_dequantize(bits):
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    scale = choose_scale(x.abs().amax(-1, keepdim=True), bits)
    assert torch.equal(fake_quantize(x, scale, bits), dequantize(quantize(x, scale, bits), scale))


def test_a_number_that_is_none_is_not_hidden():
    x = torch.tensor([1.0, float("nan")])
    assert fake_quantize(x, choose_scale(x.abs().amax(), 8), 8).isnan().any()


@pytest.mark.parametrize("module", [primitives, packing], ids=lambda module: module.__name__)
def test_examples_in_the_documentation(module):
    result = doctest.testmod(module, extraglobs={"torch": torch})
    assert result.attempted > 0
    assert result.failed == 0
