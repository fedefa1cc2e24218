"""Triton's kernels against plain arithmetic: on a GPU, or by `TRITON_INTERPRET=1` where the package is installed."""

import os

import pytest
import torch

from audioptq.quantize.integer.backend import quantize_tokens
from audioptq.quantize.integer.proof import wrong_product
from audioptq.quantize.integer.triton_backend import TritonBackend
from audioptq.quantize.packing import unpack

pytest.importorskip("triton", reason="triton is not installed: it comes with torch for CUDA")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no CUDA device, and TRITON_INTERPRET is not 1", allow_module_level=True)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BACKEND = TritonBackend()


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("shape", [(40, 96), (130, 66), (5, 7)])
def test_the_product_is_exact(shape, bits):
    assert wrong_product(BACKEND, DEVICE, shape, bits) is None


@pytest.mark.parametrize("bits", [4, 8])
def test_both_scales_are_applied(bits):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randint(-7, 8, (33, 70), dtype=torch.int8, generator=generator)
    x = torch.randint(-127, 128, (150, 70), dtype=torch.int8, generator=generator)
    scale, x_scale = torch.rand(33, generator=generator), torch.rand(150, 1, generator=generator)
    packed = BACKEND.prepare(weight.to(DEVICE), scale.to(DEVICE), bits)
    y = BACKEND.product(x.to(DEVICE), x_scale.to(DEVICE), packed).cpu().double()
    exact = (x.long() @ weight.long().T).double() * scale.double() * x_scale.double()
    torch.testing.assert_close(y, exact, rtol=4e-7, atol=0)


def test_weights_of_4_bits_stay_packed():
    weight = torch.randint(-7, 8, (6, 10), dtype=torch.int8, device=DEVICE)
    packed = BACKEND.prepare(weight, torch.ones(6, device=DEVICE), 4)
    assert packed.weight.shape == (6, 5)
    assert torch.equal(unpack(packed.weight, 4, 10), weight)
    assert not BACKEND.prepare(weight[:, :9], torch.ones(6, device=DEVICE), 4).is_packed


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("is_smoothed", [False, True])
def test_tokens_are_quantized_as_step_by_step(is_smoothed, bits):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(9, 50, generator=generator) * torch.logspace(-3, 3, 9)[:, None]
    x[4] = 0
    smooth = (0.5 + torch.rand(50, generator=generator)).half() if is_smoothed else None
    expected, expected_scale = quantize_tokens(x, smooth, bits)
    integers, scale = BACKEND.quantize_tokens(x.to(DEVICE), None if smooth is None else smooth.to(DEVICE), bits)
    torch.testing.assert_close(scale.cpu(), expected_scale, rtol=2e-7, atol=0)
    assert torch.equal(integers.cpu(), expected)
