"""Triton's kernels through its compiler, for an H200: it needs the package and no GPU, and says nothing of how fast they are."""

import os

import pytest

pytest.importorskip("triton", reason="triton is not installed: it comes with torch for CUDA")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1 takes the compiler's place", allow_module_level=True)

from triton import compile as compile_kernel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from audioptq.quantize.integer import triton_kernels
from audioptq.quantize.integer.triton_backend import BLOCK_CHANNELS, BLOCK_OUTPUTS, BLOCK_RANK, BLOCK_TOKENS

H200 = GPUTarget("cuda", 90, 32)
BLOCKS = {"block_m": BLOCK_TOKENS, "block_n": BLOCK_OUTPUTS, "block_k": BLOCK_CHANNELS, "block_r": BLOCK_RANK}
INT8_PRODUCT = ".s32.s8.s8"


def assembly(kernel, types, constants, **options):
    """PTX of a kernel whose pointers are aligned, as those of tensors are."""
    types = types | dict.fromkeys(constants, "constexpr")
    ordered = {name: types[name] for name in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(ordered.values()) if kind.startswith("*")}
    source = ASTSource(fn=kernel, signature=ordered, constexprs=constants, attrs=aligned)
    return compile_kernel(source, target=H200, options=options).asm["ptx"]


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(
    ("has_branch", "kind", "precision"), [(False, "*fp32", "ieee"), (True, "*fp32", "ieee"), (True, "*bf16", "tf32")]
)
def test_the_product_compiles_to_tensor_cores(is_packed, has_branch, kind, precision):
    types = dict.fromkeys(("tokens", "outputs", "channels", "rank"), "i32")
    types |= {"x": "*i8", "weight": "*u8" if is_packed else "*i8", "x_scale": "*fp32", "scale": "*fp32"}
    types |= {"inner": kind, "factor": "*fp16", "bias": "*fp32", "y": kind}
    flags = {"is_packed": is_packed, "has_branch": has_branch, "has_bias": True, "precision": precision}
    ptx = assembly(triton_kernels.product_kernel, types, flags | BLOCKS, num_warps=8)
    assert INT8_PRODUCT in ptx
    # Float32 activations of the branch are multiplied as such, those of 16 bits on tensor cores, which lose nothing of them.
    assert ("tf32" in ptx) == (has_branch and kind == "*bf16")


@pytest.mark.parametrize("is_smoothed", [False, True])
@pytest.mark.parametrize("kind", ["*fp32", "*bf16"])
def test_quantizing_compiles_to_exact_division(is_smoothed, kind):
    types = {"x": kind, "smooth": "*fp16", "integers": "*i8", "scales": "*fp32", "channels": "i32", "qmax": "fp32"}
    ptx = assembly(triton_kernels.quantize_kernel, types, {"is_smoothed": is_smoothed, "block": 2048})
    assert "div.rn.f32" in ptx
    assert "div.full" not in ptx


@pytest.mark.parametrize("is_packed", [False, True])
def test_requantizing_compiles_to_exact_division_and_keeps_products_apart(is_packed):
    types = {"weight": "*u8" if is_packed else "*i8", "stored_scale": "*fp32", "smooth": "*fp16", "integers": "*i8"}
    types |= {"scales": "*fp32", "channels": "i32", "qmax": "fp32"}
    flags = {"is_packed": is_packed, "is_per_output": True, "block": 2048}
    ptx = assembly(triton_kernels.requantize_kernel, types, flags)
    assert "div.rn.f32" in ptx
    assert "div.full" not in ptx
