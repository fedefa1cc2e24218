"""Triton's kernels against plain arithmetic: on a GPU, or by `TRITON_INTERPRET=1` where the package is installed."""

import os

import pytest
import torch

from audioptq.quantize import LayerRecipe, QuantOp
from audioptq.quantize.arithmetic.packing import pack, unpack
from audioptq.quantize.integer import on_integers
from audioptq.quantize.integer.backend import quantize_tokens
from audioptq.quantize.integer.self_test import wrong_product
from audioptq.quantize.integer.triton_backend import TritonBackend
from audioptq.quantize.layers.kinds import Geometry
from audioptq.quantize.layers.product import Epilogue, finish
from audioptq.quantize.layers.stored_weight import granularity_of, requantize
from audioptq.quantize.recipe.specs import WeightSpec
from audioptq.quantize.rounding import round_weight

pytest.importorskip("triton", reason="triton is not installed: it comes with torch for CUDA")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no CUDA device, and TRITON_INTERPRET is not 1", allow_module_level=True)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BACKEND = TritonBackend()


class StepByStep(TritonBackend):
    """The kernel's product, to which bias and branch are added afterwards."""

    def fused_product(self, x, x_scale, packed, epilogue):
        return finish(self.product(x, x_scale, packed), epilogue)

    def product(self, x, x_scale, packed):
        return BACKEND.product(x, x_scale, packed)


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


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("shape", [(33, 70), (5, 7), (64, 64)])
def test_weights_are_requantized_as_step_by_step(shape, granularity, bits):
    generator = torch.Generator().manual_seed(5)
    spec = WeightSpec(bits=bits, granularity=granularity)
    weight = torch.randn(shape, generator=generator) * torch.logspace(-3, 3, shape[0])[:, None]
    weight[2] = 0
    integers, scale = round_weight(weight, spec, granularity_of(spec, Geometry("linear", *shape)), None)
    qdata = pack(integers, bits)
    smooth = (0.01 + torch.rand(shape[1], generator=generator)).half()
    expected, expected_scale = requantize(qdata, scale, bits, smooth)
    ours, scales = BACKEND.requantize(qdata.to(DEVICE), scale.to(DEVICE), bits, smooth.to(DEVICE))
    assert torch.equal(ours.cpu(), expected)
    assert torch.equal(scales.cpu(), expected_scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("rank", [None, 1, 8, 32, 33])
@pytest.mark.parametrize(("shape", "bits"), [((40, 96), 4), ((130, 66), 8), ((5, 7), 8)])
def test_branch_and_bias_are_added_in_the_kernel(shape, bits, rank, has_bias, dtype):
    generator = torch.Generator().manual_seed(3)
    outputs, channels = shape
    weight = torch.randint(-7, 8, shape, dtype=torch.int8, generator=generator)
    x = torch.randint(-127, 128, (150, channels), dtype=torch.int8, generator=generator)
    scale, x_scale = torch.rand(outputs, generator=generator), 0.01 * torch.rand(150, 1, generator=generator)
    inner = factor = bias = None
    exact = (x.long() @ weight.long().T).double() * scale.double() * x_scale.double()
    sizes = exact.abs()
    if rank is not None:
        inner = torch.randn(150, rank, generator=generator).to(dtype)
        factor = _factor(outputs, rank, generator)
        exact = exact + inner.double() @ factor.double().T
        sizes = sizes + inner.double().abs() @ factor.double().abs().T
    if has_bias:
        bias = torch.randn(outputs, generator=generator)
        exact, sizes = exact + bias.double(), sizes + bias.double().abs()
    packed = BACKEND.prepare(weight.to(DEVICE), scale.to(DEVICE), bits)
    epilogue = Epilogue(*(None if part is None else part.to(DEVICE) for part in (inner, factor, bias)), dtype)
    y = BACKEND.fused_product(x.to(DEVICE), x_scale.to(DEVICE), packed, epilogue).cpu()
    assert y.dtype == dtype
    # Roundings of 2^-24: of the product four, of the others a few. To bfloat16 there is one, which the interpreter cuts off: 2^-7.
    bound = sizes * 2.0**-21 + (exact.abs() * 2.0**-7 if dtype == torch.bfloat16 else 0)
    assert ((y.double() - exact).abs() <= bound).all()


@pytest.mark.parametrize(("weight_bits", "x_type", "bias_type", "rank"), [
    (4, torch.float32, torch.float32, 8), (8, torch.float32, None, 8), (8, torch.float32, torch.float32, None),
    (4, torch.bfloat16, torch.bfloat16, 33), (4, torch.bfloat16, torch.float32, None),
])  # fmt: skip
def test_a_layer_is_the_same_as_step_by_step(weight_bits, x_type, bias_type, rank):
    generator = torch.Generator().manual_seed(4)
    entry = {"weight": {"bits": weight_bits}, "activation": {"bits": 8}}
    tensors = {
        "qdata": torch.randint(0, 256, (33, 24 * weight_bits // 8), dtype=torch.uint8, generator=generator),
        "scale": 0.01 + torch.rand(33, 1, generator=generator),
    }
    if weight_bits == 8:
        tensors["qdata"] = tensors["qdata"].view(torch.int8).clamp(min=-127)
    if rank:
        entry["low_rank"] = {"rank": rank}
        tensors["low_rank.a"] = torch.randn(24, rank, generator=generator).half()
        tensors["low_rank.b"] = _factor(33, rank, generator)
    if bias_type:
        tensors["bias"] = torch.randn(33, generator=generator).to(bias_type)
    simulated = QuantOp(tensors, LayerRecipe.from_config(entry, "layer"), Geometry("linear", 33, 24)).to(DEVICE)
    x = torch.randn(2, 9, 24, generator=generator).to(x_type).to(DEVICE)
    y, step_by_step = on_integers(simulated, BACKEND)(x), on_integers(simulated, StepByStep())(x)
    assert y.dtype == step_by_step.dtype
    assert y.shape == step_by_step.shape
    # Step by step bfloat16 rounds the product, the branch and each sum, by 2^-8; the interpreter cuts off once, by 2^-7.
    rounding = 2e-6 if x_type == torch.float32 else 2.0**-6
    assert (y - step_by_step).abs().max() <= rounding * step_by_step.abs().max()


def _factor(outputs, rank, generator):
    """float16 of which bfloat16 loses nothing, since the interpreter does not round as a GPU does."""
    return torch.randint(-128, 129, (outputs, rank), generator=generator).half() / 64
