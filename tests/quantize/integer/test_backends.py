"""Backends against exact products, and the trial that refuses those that are wrong."""

import pytest
import torch
from torch import Tensor, nn

from audioptq.calibrate.act_stats import LayerStats
from audioptq.errors import UserError
from audioptq.noise_levels import NoiseLevels
from audioptq.quantize import LayerRecipe, TimestepClock, quantize_layer
from audioptq.quantize.arithmetic.packing import unpack
from audioptq.quantize.integer import backends as choose
from audioptq.quantize.integer import on_integers
from audioptq.quantize.integer.backend import quantize_tokens
from audioptq.quantize.integer.backends import BACKENDS, choose_backend
from audioptq.quantize.integer.int_mm import IntMm
from audioptq.quantize.integer.reference import Reference
from audioptq.quantize.integer.self_test import wrong_product
from audioptq.quantize.layers.product import Epilogue
from audioptq.site import Site

LINEAR = Site("layer", "linear")

CPU = torch.device("cpu")
SHAPE = (40, 96)


class Saturating(Reference):
    """Adds neighbouring products in 16 bits that saturate, as processors without VNNI do; unsigned activations."""

    name = "saturating"

    def product(self, x: Tensor, x_scale: Tensor, packed: tuple[Tensor, Tensor]) -> Tensor:
        weight, scale = packed
        terms = (x.double() + 128).unsqueeze(1) * weight.double()
        pairs = terms.unflatten(-1, (-1, 2)).sum(-1).clamp(-(2**15), 2**15 - 1)
        return ((pairs.sum(-1) - 128 * weight.double().sum(-1)).float() * scale) * x_scale


class Absent(Reference):
    name = "absent"

    def product(self, x: Tensor, x_scale: Tensor, packed: tuple[Tensor, Tensor]) -> Tensor:
        raise NotImplementedError("could not create a primitive\nmore lines")


class Fusing(Reference):
    """Adds branch and bias right, unless a subclass says otherwise."""

    name = "fusing"

    def fused_product(self, x: Tensor, x_scale: Tensor, packed: tuple[Tensor, Tensor], epilogue: Epilogue) -> Tensor:
        y = self.product(x, x_scale, packed)
        if epilogue.inner is not None:
            y = self.with_branch(y, x_scale, epilogue.inner, epilogue.factor.to(epilogue.inner.dtype))
        return (y if epilogue.bias is None else self.with_bias(y, epilogue.bias)).to(epilogue.dtype)

    def with_branch(self, y: Tensor, x_scale: Tensor, inner: Tensor, factor: Tensor) -> Tensor:
        return y + inner.float() @ factor.float().T

    def with_bias(self, y: Tensor, bias: Tensor) -> Tensor:
        return y + bias


class Scaled(Fusing):
    """Scales the branch with the product."""

    def with_branch(self, y: Tensor, x_scale: Tensor, inner: Tensor, factor: Tensor) -> Tensor:
        return y + inner.float() @ factor.float().T * x_scale


class Tf32(Fusing):
    """Rounds the branch to eleven bits, as tensor cores do by default."""

    def with_branch(self, y: Tensor, x_scale: Tensor, inner: Tensor, factor: Tensor) -> Tensor:
        mantissa, exponent = torch.frexp(inner.float())
        return y + torch.ldexp((mantissa * 2**11).round() / 2**11, exponent) @ factor.float().T


class OneBlock(Fusing):
    """Forgets what is beyond the first block of the branch."""

    def with_branch(self, y: Tensor, x_scale: Tensor, inner: Tensor, factor: Tensor) -> Tensor:
        return y + inner[:, :32].float() @ factor[:, :32].float().T


class NoBias(Fusing):
    def with_bias(self, y: Tensor, bias: Tensor) -> Tensor:
        return y


class Requantizing(Reference):
    """Makes the weights of smoothing per timestep itself, and counts them."""

    name = "requantizing"

    def __init__(self, absmax_over: int = 127) -> None:
        self.absmax_over, self.made = absmax_over, 0

    def requantize(self, qdata: Tensor, scale: Tensor, bits: int, smooth: Tensor) -> tuple[Tensor, Tensor]:
        self.made += 1
        weight = unpack(qdata, bits, len(smooth)).float() * scale * smooth.float()
        own = weight.abs().amax(1, keepdim=True) / self.absmax_over
        own = torch.where(own == 0, 1.0, own)
        return (weight / own).round().clamp(-127, 127).to(torch.int8), own


@pytest.fixture
def backends(monkeypatch):
    """The table of backends, to be changed by one test."""
    known = dict(BACKENDS)
    monkeypatch.setattr(choose, "BACKENDS", known)
    return known


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("shape", [(40, 96), (3, 5), (17, 64)])
def test_a_backend_is_exact_or_refused(name, bits, shape):
    backend, reason = choose_backend(name, CPU, shape, bits)
    if backend is None:
        assert reason.startswith(f"{name}: ")
        assert name != "reference"
        return
    generator = torch.Generator().manual_seed(1)
    largest = 2 ** (bits - 1) - 1
    weight = torch.randint(-largest, largest + 1, shape, dtype=torch.int8, generator=generator)
    x = torch.randint(-127, 128, (23, shape[1]), dtype=torch.int8, generator=generator)
    scale, x_scale = torch.rand(shape[0], generator=generator), torch.rand(23, 1, generator=generator)
    y = backend.product(x, x_scale, backend.prepare(weight, scale, bits))
    exact = (x.long() @ weight.long().T).double() * scale.double() * x_scale.double()
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.double(), exact, rtol=4e-7, atol=0)


def test_a_kernel_that_requantizes_wrongly_is_refused_by_name(backends):
    backends |= {"right": Requantizing(), "wrong": Requantizing(absmax_over=128)}
    assert choose_backend("right", CPU, SHAPE, 8)[0] is backends["right"]
    backend, reason = choose_backend("wrong", CPU, SHAPE, 8)
    assert backend is None
    assert reason == "wrong: it requantizes weights wrongly on this machine"


@pytest.mark.parametrize(
    ("weight", "is_made"),
    [
        ({"bits": 4}, True),
        ({"bits": 8}, True),
        ({"bits": 4, "granularity": "per_tensor"}, True),
        ({"bits": 4, "granularity": "per_group", "group_size": 8}, False),
    ],
)
def test_a_layer_has_its_weight_requantized_by_the_backend_where_that_can(weight, is_made):
    generator = torch.Generator().manual_seed(6)
    linear = nn.Linear(24, 10)
    smoothing = {"kind": "timestep", "alpha": 0.5, "form": "stored"}
    recipe = LayerRecipe.from_config({"weight": weight, "activation": {"bits": 8}, "smoothing": smoothing}, "layer")
    absmax = 0.1 + torch.rand(3, 24, generator=generator)
    clock = TimestepClock(NoiseLevels("v", [9.0, 3.0, 1.0]))
    layer, _ = quantize_layer(linear, LINEAR, recipe, LayerStats(absmax, -absmax, absmax), clock)
    backend, x = Requantizing(), torch.randn(2, 5, 24, generator=generator)
    ours, plain = on_integers(layer, backend), on_integers(layer, Reference())
    for sigma in (9.0, 3.0, 1.0):
        clock.set_level(sigma)
        assert torch.equal(ours(x), plain(x))
    assert backend.made == (3 if is_made else 0)


def test_int_mm_pads_what_cuda_does_not_take(monkeypatch):
    seen = []
    product = torch._int_mm

    def spy(x, weight):
        seen.append((x.shape, weight.shape))
        return product(x, weight)

    monkeypatch.setattr(torch, "_int_mm", spy)
    weight = torch.randint(-127, 128, (13, 21), dtype=torch.int8)
    x = torch.randint(-127, 128, (2, 21), dtype=torch.int8)
    backend = IntMm()
    y = backend.product(x, torch.ones(2, 1), backend.prepare(weight, torch.ones(13), 8))
    assert seen == [((17, 24), (24, 16))]
    assert torch.equal(y.long(), x.long() @ weight.long().T)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_kernel_that_saturates_is_refused_by_name_where_it_does(backends, bits):
    backends["saturating"] = Saturating()
    backend, reason = choose_backend("saturating", CPU, SHAPE, bits)
    if bits == 4:
        assert backend is backends["saturating"]
        assert reason == ""
    else:
        assert backend is None
        assert "saturating: it multiplies 8-bit weights wrongly" in reason


def test_a_kernel_that_is_not_there_is_refused_by_name(backends):
    backends["absent"] = Absent()
    backend, reason = choose_backend("absent", CPU, SHAPE, 8)
    assert backend is None
    assert reason == "absent: its kernel fails on this machine: could not create a primitive"


def test_a_compiler_that_fails_is_refused_by_name(backends):
    class CompilationError(Exception):
        """As Triton's, no RuntimeError; with an empty message."""

    class Uncompiled(Reference):
        def product(self, x, x_scale, packed):
            raise CompilationError

    backends["uncompiled"] = Uncompiled()
    backend, reason = choose_backend("uncompiled", CPU, SHAPE, 8)
    assert backend is None
    assert reason == "uncompiled: its kernel fails on this machine: CompilationError"


@pytest.mark.parametrize("kind", [Scaled, Tf32, OneBlock, NoBias])
def test_a_kernel_that_adds_branch_or_bias_wrongly_is_refused_by_name(backends, kind):
    backends |= {"right": Fusing(), "wrong": kind()}
    assert choose_backend("right", CPU, SHAPE, 8) == (backends["right"], "")
    backend, reason = choose_backend("wrong", CPU, SHAPE, 8)
    assert backend is None
    assert reason.startswith("wrong: it adds branch and bias wrongly in float32 on this machine (by up to ")


def test_a_nan_is_no_right_product():
    class Nan(Reference):
        def product(self, x, x_scale, packed):
            return super().product(x, x_scale, packed) * float("nan")

    assert "wrongly" in wrong_product(Nan(), CPU, SHAPE, 8)


def test_the_trial_is_made_once_for_each_shape_and_width():
    class Counting(Reference):
        count = 0

        def prepare(self, weight, scale, bits):
            self.count += 1
            return super().prepare(weight, scale, bits)

    backend = Counting()
    for shape, bits in [(SHAPE, 8), (SHAPE, 8), (SHAPE, 4), ((8, 8), 8), (SHAPE, 8)]:
        assert wrong_product(backend, CPU, shape, bits) is None
    assert backend.count == 3


def test_automatic_choice_takes_the_first_in_order_that_is_right_and_never_the_reference(backends, monkeypatch):
    class Second(Reference):
        name = "second"

    backends |= {"absent": Absent(), "second": Second()}
    monkeypatch.setattr(choose, "ORDER", {"cpu": ("absent", "second", "saturating")})
    assert choose_backend("auto", CPU, (5, 7), 8) == (backends["second"], "")
    monkeypatch.setattr(choose, "ORDER", {"cpu": ("absent",)})
    backend, reason = choose_backend("auto", CPU, (5, 7), 8)
    assert backend is None
    assert reason.startswith("absent: its kernel fails")
    assert choose_backend("auto", torch.device("meta"), (5, 7), 8) == (None, "there is no backend for the device meta")


def test_the_order_names_backends_but_not_the_slow_reference():
    assert {name for names in choose.ORDER.values() for name in names} == set(BACKENDS) - {"reference"}


def test_an_unknown_backend_is_named_with_those_there_are():
    with pytest.raises(UserError, match=r"'onednm': choose from auto, .*onednn.*reference"):
        choose_backend("onednm", CPU, SHAPE, 8)


@pytest.mark.parametrize("smooth", [None, 0.5 + torch.rand(12)])
def test_tokens_are_quantized_each_to_its_range(smooth):
    x = torch.randn(6, 12) * torch.logspace(-3, 3, 6)[:, None]
    x[2] = 0
    integers, scale = quantize_tokens(x, smooth, 8)
    smoothed = x if smooth is None else x / smooth
    assert integers.dtype == torch.int8
    assert (integers.abs().amax(-1) == torch.tensor([127, 127, 0, 127, 127, 127])).all()
    assert ((integers * scale - smoothed).abs() <= 0.5001 * scale).all()
