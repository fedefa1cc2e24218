"""The C++ kernels against torch's steps and exact products, and what happens where they cannot be made."""

import math
import os
import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn

from audioptq.calibrate.act_stats import LayerStats
from audioptq.noise_levels import NoiseLevels
from audioptq.quantize import LayerRecipe, TimestepClock, quantize_layer
from audioptq.quantize.arithmetic.packing import pack
from audioptq.quantize.arithmetic.primitives import choose_scale, fake_quantize
from audioptq.quantize.integer import on_integers
from audioptq.quantize.integer.backend import quantize_tokens
from audioptq.quantize.integer.backends import BACKENDS, choose_backend
from audioptq.quantize.integer.native import Native, library
from audioptq.quantize.integer.native.library import FLAGS, INSTRUCTIONS, NoLibrary, compile_to, load
from audioptq.quantize.integer.reference import Reference, exact_product
from audioptq.quantize.layers.product import Epilogue
from audioptq.quantize.layers.stored_weight import requantize
from audioptq.site import Site

LINEAR = Site("layer", "linear")

CPU = torch.device("cpu")


def _layer(weight, activation, kind, low_rank=None):
    """A layer of 24 channels and 10 outputs, smoothed from ranges that are made up, and its clock of three noise levels."""
    generator = torch.Generator().manual_seed(6)
    smoothing = {"kind": kind, "alpha": 0.5} | ({"form": "stored"} if kind == "timestep" else {})
    entry = {"weight": weight, "activation": activation, "smoothing": smoothing}
    recipe = LayerRecipe.from_config(entry | ({"low_rank": low_rank} if low_rank else {}), "layer")
    absmax = 0.1 + torch.rand(3 if kind == "timestep" else 1, 24, generator=generator)
    clock = TimestepClock(NoiseLevels("v", [9.0, 3.0, 1.0]))
    return quantize_layer(nn.Linear(24, 10), LINEAR, recipe, LayerStats(absmax, -absmax, absmax), clock)[0], clock


# A compiler that fails on the kernels fails the tests.
HAS_COMPILER = "CXX" in os.environ or any(map(shutil.which, library.COMPILERS))
needs_kernels = pytest.mark.skipif(
    library.instructions() is None or not HAS_COMPILER, reason="no x86 processor with AVX2, or no C++ compiler"
)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """No library is loaded, and the cache is empty."""
    library._outcome.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "audioptq"
    library._outcome.cache_clear()


@needs_kernels
@pytest.mark.parametrize("channels", [1, 7, 64, 1000])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("is_smoothed", [True, False])
@pytest.mark.parametrize("is_given", [True, False])
def test_tokens_are_quantized_to_the_same_integers_as_step_by_step(channels, bits, is_smoothed, is_given):
    generator = torch.Generator().manual_seed(channels)
    x = torch.randn(9, channels, generator=generator) * torch.logspace(-3, 3, 9)[:, None]
    x[2] = 0
    smooth = (0.1 + torch.rand(channels, generator=generator)).half() if is_smoothed else None
    scale = torch.tensor(0.02) if is_given else None
    ours, theirs = Native().quantize_tokens(x, smooth, bits, scale), quantize_tokens(x, smooth, bits, scale)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


@needs_kernels
def test_halves_round_to_even():
    x = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5]])
    assert Native().quantize_tokens(x, None, 8)[0].tolist() == [[127, 0, 2, 2, 0, -2, 126]]


@needs_kernels
@pytest.mark.parametrize("name", ["native", "reference"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("at", [0, 5, 63])
@pytest.mark.parametrize("is_given", [True, False])
def test_a_nan_makes_its_token_nan_and_no_other_as_in_the_simulated_form(name, bad, at, is_given):
    x = torch.ones(3, 64)
    x[1, at] = bad
    backend, scale = BACKENDS[name], torch.tensor(0.01) if is_given else None
    weight = backend.prepare(torch.ones(4, 64, dtype=torch.int8), torch.ones(4), 8)
    y = backend.product(*backend.quantize_tokens(x, None, 8, scale), weight)
    simulated = fake_quantize(x, choose_scale(x.abs().amax(1, keepdim=True), 8) if scale is None else scale, 8).sum(1)
    assert torch.equal(y.isnan().all(1), simulated.isnan())
    assert simulated.isnan().tolist() == [False, not (is_given and math.isinf(bad)), False]


@needs_kernels
def test_the_kernels_are_right_on_a_machine_that_can_run_them():
    assert choose_backend("native", CPU, (40, 96), 8) == (BACKENDS["native"], "")


@needs_kernels
@pytest.mark.parametrize("width", [12, 48])
@pytest.mark.parametrize("kind", ["static", "timestep"])
def test_an_input_of_another_width_is_refused(width, kind):
    layer = on_integers(_layer({"bits": 8}, {"bits": 8}, kind)[0], Native())
    layer.clock.set_level(3.0)
    with pytest.raises(RuntimeError, match="of 24 values where"):
        layer(torch.randn(1, 5, width))


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_torchs_defaults_do_not_change_what_the_kernels_write(dtype):
    backend, x = Native(), torch.randn(5, 24)
    weight = backend.prepare(torch.ones(4, 24, dtype=torch.int8), torch.ones(4), 8)
    expected = backend.product(*backend.quantize_tokens(x, None, 8), weight)
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            found = backend.product(*backend.quantize_tokens(x, None, 8), weight)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected)


@needs_kernels
def test_no_tokens_make_no_output():
    backend = Native()
    weight = backend.prepare(torch.ones(4, 24, dtype=torch.int8), torch.ones(4), 8)
    assert backend.product(*backend.quantize_tokens(torch.empty(0, 24), None, 8), weight).shape == (0, 4)


@needs_kernels
def test_tokens_may_lie_apart():
    x = torch.randn(24, 6).T
    ours, theirs = Native().quantize_tokens(x, None, 8), quantize_tokens(x, None, 8)
    assert all(map(torch.equal, ours, theirs))


@needs_kernels
@pytest.mark.parametrize("tokens", [1, 6, 13])
@pytest.mark.parametrize(("outputs", "channels"), [(1, 1), (3, 5), (16, 32), (33, 67), (70, 1536)])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("is_smoothed", [True, False])
@pytest.mark.parametrize("has_one_scale", [True, False])
def test_products_of_stored_weights_are_exact(tokens, outputs, channels, bits, is_smoothed, has_one_scale):
    generator = torch.Generator().manual_seed(outputs)
    largest = 2 ** (bits - 1) - 1
    stored = torch.randint(-largest, largest + 1, (outputs, channels), dtype=torch.int8, generator=generator)
    stored[0] = largest  # with the largest activations: where sums of 16 bits would overflow first
    x = torch.randint(-127, 128, (tokens, channels), dtype=torch.int8, generator=generator)
    x[0] = 127
    x_scale = torch.rand(tokens, 1, generator=generator)
    scale = torch.rand(1 if has_one_scale else outputs, 1, generator=generator)
    smooth = (0.1 + torch.rand(channels, generator=generator)).half() if is_smoothed else None
    backend, qdata = Native(), pack(stored, bits)
    made = requantize(qdata, scale, bits, smooth) if is_smoothed else (stored, scale)
    exact = exact_product(x, made[0]) * made[1].double().T * x_scale.double()
    y = backend.product(x, x_scale, backend.prepare_stored(qdata, scale, bits, smooth))
    assert (y - exact).abs().le(2.0**-22 * exact.abs()).all()  # four roundings of float32


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_branch_and_bias_are_added(dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-127, 128, (7, 20), dtype=torch.int8, generator=generator)
    weight = torch.randint(-127, 128, (18, 20), dtype=torch.int8, generator=generator)
    x_scale, scale, bias = torch.rand(7, 1), torch.rand(18), torch.randn(18)
    inner, factor = torch.randn(7, 3, generator=generator).to(dtype), torch.randn(18, 3, generator=generator).half()
    backend = Native()
    y = backend.fused_product(x, x_scale, backend.prepare(weight, scale, 8), Epilogue(inner, factor, bias, dtype))
    exact = exact_product(x, weight) * scale * x_scale + inner.double() @ factor.to(dtype).double().T + bias
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), exact, rtol=1e-5 if dtype == torch.float32 else 2.0**-7, atol=1e-3)


@needs_kernels
@pytest.mark.parametrize("weight", [{"bits": 8}, {"bits": 4}, {"bits": 3}, {"bits": 4, "granularity": "per_tensor"}])
@pytest.mark.parametrize("activation", [{"bits": 8}, {"bits": 8, "range": "static"}])
@pytest.mark.parametrize("kind", ["static", "timestep"])
def test_a_layer_computes_what_it_does_by_the_reference(weight, activation, kind):
    layer, clock = _layer(weight, activation, kind)
    ours, plain = on_integers(layer, Native()), on_integers(layer, Reference())
    x = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(1))
    for sigma in (9.0, 3.0, 1.0):
        clock.set_level(sigma)
        assert torch.equal(ours(x), plain(x))


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_with_a_branch_and_one_of_16_bits_agree_with_the_reference(dtype):
    layer, clock = _layer({"bits": 4}, {"bits": 8}, "timestep", {"rank": 4})
    clock.set_level(3.0)
    ours, plain = on_integers(layer, Native()), on_integers(layer, Reference())
    x = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(1)).to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 2.0**-6  # a rounding of the type or two
    torch.testing.assert_close(ours(x), plain(x), rtol=tolerance, atol=tolerance)


@needs_kernels
def test_a_large_weight_that_is_read_as_it_is_stored_is_never_packed():
    recipe = LayerRecipe.from_config({"weight": {"bits": 4}, "activation": {"bits": 8}}, "layer")
    layer, _ = quantize_layer(nn.Linear(1024, 1536), LINEAR, recipe, None)
    native = on_integers(layer, Native())
    assert native.product.packed(0).qdata.data_ptr() == layer.qdata.data_ptr()


THREADS = """
import os
import torch
from audioptq.quantize.integer.native import Native
from audioptq.site import Site

LINEAR = Site("layer", "linear")

torch.set_num_threads(2)
a, backend = torch.ones(600, 600), Native()
a @ a
torch.softmax(a, 0)
before = len(os.listdir("/proc/self/task"))
weight = backend.prepare(torch.ones(600, 600, dtype=torch.int8), torch.ones(600), 8)
backend.product(*backend.quantize_tokens(a, None, 8), weight)
print(before, len(os.listdir("/proc/self/task")))
"""


@needs_kernels
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in Linux's /proc")
def test_the_kernels_threads_are_torchs_own():
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert 2 <= before == after


@needs_kernels
def test_the_library_is_compiled_once_and_kept(fresh, monkeypatch):
    load()
    (kept,) = fresh.iterdir()
    assert kept.name.startswith(f"kernels-{library.instructions()}-")
    library._outcome.cache_clear()
    monkeypatch.setattr(library, "compile_to", lambda *_: pytest.fail("compiled again"))
    load()


@needs_kernels
def test_a_damaged_library_is_made_anew(fresh, monkeypatch, tmp_path):
    load()
    (name,) = os.listdir(fresh)
    # Elsewhere: what was loaded under a path once is not opened again.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    damaged = tmp_path / "other" / "audioptq" / name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not a library")
    library._outcome.cache_clear()
    assert load().audioptq_product
    assert damaged.read_bytes()[:4] == b"\x7fELF"


@needs_kernels
def test_without_a_folder_to_keep_it_in_the_library_is_compiled_all_the_same(fresh):
    fresh.parent.write_text("a file where the folder should be")
    assert load().audioptq_product


def test_a_machine_without_a_compiler_is_told_so(fresh, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(library, "instructions", lambda: "avx2")
    assert "there is no C++ compiler" in Native().refusal(CPU)


@pytest.mark.parametrize(("compiler", "found"), [("false", "no message"), ("no-such-compiler", "No such file")])
def test_a_compiler_that_fails_is_named_with_what_it_said(fresh, monkeypatch, compiler, found):
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(library, "instructions", lambda: "avx2")
    reason = Native().refusal(CPU)
    assert reason.startswith(f"{compiler} cannot compile its kernels: ")
    assert found in reason
    assert not list(fresh.glob("*.so"))


def test_a_compiler_that_fails_is_asked_once(fresh, monkeypatch, tmp_path):
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\necho called >> {tmp_path}/calls\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(library, "instructions", lambda: "avx2")
    assert {Native().refusal(CPU) for _ in range(5)} == {f"{compiler} cannot compile its kernels: no message"}
    assert (tmp_path / "calls").read_text().count("called") == 1


@pytest.mark.parametrize("command", ["touch", "g++ '"])
def test_what_a_compiler_makes_that_is_no_library_is_a_reason_too(fresh, monkeypatch, tmp_path, command):
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho nothing > "$2"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler) if command == "touch" else command)
    monkeypatch.setattr(library, "instructions", lambda: "avx2")
    assert Native().refusal(CPU).startswith("its kernels cannot be loaded: ")
    assert not list(fresh.glob("*.so"))


@needs_kernels
def test_a_folder_that_others_can_write_to_is_not_trusted(fresh):
    fresh.mkdir(parents=True)
    fresh.chmod(0o777)
    assert load().audioptq_product
    assert not list(fresh.iterdir())


def test_a_processor_without_avx2_is_refused(fresh, monkeypatch):
    monkeypatch.setattr(library, "instructions", lambda: None)
    assert Native().refusal(CPU) == "this processor has no AVX2"
    assert Native().refusal(torch.device("meta")) == "it runs on the CPU alone"


@needs_kernels
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_the_kernels_compile_for_every_instruction_set(name, tmp_path):
    try:
        compile_to(tmp_path / "kernels.so", (*FLAGS, *INSTRUCTIONS[name], "-Wall", "-Wextra", "-Werror"))
    except NoLibrary as error:  # with the compiler's words
        pytest.fail(str(error))
