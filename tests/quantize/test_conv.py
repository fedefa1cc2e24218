"""Quantized convolutions against float ones of torch, in integers to the bit, and clip by clip."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from audioptq.calibrate.act_stats import LayerStats
from audioptq.noise_levels import NoiseLevels
from audioptq.quantize import LayerRecipe, QuantOp, TimestepClock, quantize_layer
from audioptq.quantize.integer import backend_of, on_integers, use_integer
from audioptq.quantize.integer.native import Native
from audioptq.quantize.integer.reference import Reference
from audioptq.quantize.layers.kinds import Geometry, NotQuantizableError
from audioptq.site import Part, Site

LEVELS = (9.0, 3.0, 1.0)
A8 = {"bits": 8}
TIMESTEP = {"kind": "timestep"}
PARTS = (Part("up", 4), Part("skip", 2))
# Every argument of a convolution at another value than the default, in some layer.
LAYERS = {
    "linear": (lambda: nn.Linear(6, 5), (7,)),
    "conv1d": (lambda: nn.Conv1d(6, 5, 4, stride=3, padding=2, dilation=2), (29,)),
    "conv1d_same": (lambda: nn.Conv1d(6, 5, 4, padding="same"), (11,)),
    "conv1d_valid": (lambda: nn.Conv1d(6, 5, 3, padding="valid", bias=False), (11,)),
    "conv2d": (lambda: nn.Conv2d(6, 5, (3, 4), stride=(2, 1), padding=(1, 3), dilation=(1, 2)), (9, 12)),
    "conv2d_pointwise": (lambda: nn.Conv2d(6, 5, 1), (4, 3)),
    "conv_transpose1d": (lambda: nn.ConvTranspose1d(6, 5, 4, stride=3, padding=1, output_padding=2, dilation=2), (8,)),
    "conv_transpose1d_cut": (lambda: nn.ConvTranspose1d(6, 5, 2, stride=2, padding=3), (9,)),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(6, 5, (3, 2), stride=(2, 3), padding=(1, 0)), (5, 4)),
}
RECIPES = {
    "w8": {"weight": {"bits": 8}},
    "w4_per_tensor": {"weight": {"bits": 4, "granularity": "per_tensor"}},
    "w3_per_group": {"weight": {"bits": 3, "granularity": "per_group", "group_size": 4}},
    "w4_concat": {"weight": {"bits": 4, "granularity": "per_concat_group"}},
    "w2_static": {"weight": {"bits": 2}, "smoothing": {"kind": "static"}},
    "w4_timestep": {"weight": {"bits": 4}, "smoothing": TIMESTEP},
    "w4_simulated": {"weight": {"bits": 4}, "smoothing": TIMESTEP | {"form": "simulated"}},
    "w4_grouped": {"weight": {"bits": 4}, "smoothing": {"kind": "grouped", "groups": 2}},
    "lora": {"weight": {"bits": 4}, "smoothing": TIMESTEP, "low_rank": {"rank": 3}},
    "svdquant": {"weight": {"bits": 4}, "smoothing": {"kind": "static"}, "low_rank": {"rank": 3, "of": "weight"}},
}
INTEGER = {
    "w8a8": {"weight": {"bits": 8}, "activation": A8},
    "w4a8_per_tensor": {"weight": {"bits": 4, "granularity": "per_tensor"}, "activation": A8},
    "w4a8_range_per_tensor": {"weight": {"bits": 4}, "activation": A8 | {"granularity": "per_tensor"}},
    "w3a8": {"weight": {"bits": 3}, "activation": A8},
    "w8a8_static": {"weight": {"bits": 8}, "activation": A8 | {"range": "static"}, "smoothing": {"kind": "static"}},
    "w4a8_timestep": {"weight": {"bits": 4}, "activation": A8, "smoothing": TIMESTEP},
    "w4a8_simulated": {"weight": {"bits": 4}, "activation": A8, "smoothing": TIMESTEP | {"form": "simulated"}},
    "w4a8_concat_timestep": {
        "weight": {"bits": 4, "granularity": "per_concat_group"},
        "activation": A8,
        "smoothing": TIMESTEP,
    },
    "w4a8_lora": {"weight": {"bits": 4}, "activation": A8, "smoothing": TIMESTEP, "low_rank": {"rank": 3}},
}


def made(name: str, entry: dict, *, parts: tuple[Part, ...] = PARTS, seed: int = 0):
    """The float layer, its quantized form, a clock and an input of three clips."""
    build, size = LAYERS[name]
    torch.manual_seed(seed)
    module = build().requires_grad_(False)
    channels = getattr(module, "in_channels", 6)
    absmax = 0.5 + 3 * torch.rand(len(LEVELS), channels)
    clock = TimestepClock(NoiseLevels("v", LEVELS))
    clock.set_level(LEVELS[1])
    kind = next(
        known for known in ("linear", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d") if known in name
    )
    if name.startswith("conv_transpose"):
        kind = "_".join(name.split("_")[:2])
    layer, _ = quantize_layer(
        module, Site("x", kind, parts), LayerRecipe.from_config(entry, "x"), LayerStats(absmax, -absmax, absmax), clock
    )
    x = torch.randn(3, *size, channels) if kind == "linear" else torch.randn(3, channels, *size)
    return module, layer, clock, x * torch.tensor([1.0, 40.0, 0.01]).view(-1, *[1] * (x.ndim - 1))


def as_module(module: nn.Module, matrix: Tensor) -> nn.Module:
    """The float layer in float64 with another weight, given as a matrix `[out, in * taps]`."""
    torch.manual_seed(0)
    weight = module.weight
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d):
        shape = (weight.shape[1], weight.shape[0], *weight.shape[2:])
        weight = matrix.view(shape).transpose(0, 1)
    else:
        weight = matrix.view(weight.shape)
    other = module.double()
    other.weight.copy_(weight)
    return other


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_layer_is_torchs_own_with_the_effective_weight(name, recipe):
    module, layer, clock, x = made(name, RECIPES[recipe])
    for timestep, level in enumerate(LEVELS):
        clock.set_level(level)
        y = layer(x)
        row = layer.row()
        assert row == (timestep if layer.rows == 3 else row)
        expected = as_module(module, layer.effective_weight(row).double())(x.double())
        assert y.shape == expected.shape
        for own, exact in zip(y, expected, strict=True):  # clips differ in size by thousands
            assert (own - exact).norm() <= 1e-6 * exact.norm()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", ["static", "timestep"])
def test_smoothing_alone_changes_nothing(name, kind):
    """Its product in float64: divided on one side, multiplied on the other, so far as fp16 vectors are exact in float64."""
    module, layer, clock, x = made(name, {"activation": A8, "smoothing": {"kind": kind}})
    double = layer.double()
    exact = replace(double.recipe, activation=None)
    double = QuantOp({n: t.double() if n in ("weight", "bias") else t for n, t in layer.tensors().items()} | {
        "smooth_scale": layer.smooth_scale.half()}, exact, layer.geometry, clock)  # fmt: skip
    for level in LEVELS:
        clock.set_level(level)
        expected = module.double()(x.double())
        assert (double(x.double()) - expected).norm() <= 1e-12 * expected.norm()


@pytest.mark.parametrize("bits", [(8, 0.02), (4, 0.1)], ids=["w8a8", "w4a8"])
def test_a_convolution_is_near_the_float_one(bits):
    torch.manual_seed(3)
    module, x = nn.Conv2d(48, 32, 3).requires_grad_(False), torch.randn(4, 48, 20, 17)
    recipe = LayerRecipe.from_config({"weight": {"bits": bits[0]}, "activation": A8}, "x")
    layer, _ = quantize_layer(module, Site("x", "conv2d"), recipe)
    expected = module(x)
    assert 0 < (layer(x) - expected).norm() <= bits[1] * expected.norm()
    for backend in usable():
        assert torch.equal(on_integers(layer, backend)(x), layer(x))


def usable() -> list:
    return [backend for backend in (Reference(), Native()) if backend.refusal(torch.device("cpu")) is None]


@pytest.mark.parametrize("name", [name for name in LAYERS if "transpose" not in name])
@pytest.mark.parametrize("recipe", INTEGER)
def test_integers_give_what_is_simulated_to_the_bit(name, recipe, monkeypatch):
    _, layer, clock, x = made(name, INTEGER[recipe])
    assert layer.obstacle is None
    for patches_at_once in (2**22, 100):  # of 100: some rows of positions at a time, in both forms
        monkeypatch.setattr("audioptq.quantize.layers.patches.PATCHES_AT_ONCE", patches_at_once)
        for backend in usable():
            integer = on_integers(layer, backend)
            for level in LEVELS:
                clock.set_level(level)
                assert torch.equal(integer(x), layer(x))


def test_a_transposed_convolution_stays_simulated_and_says_why():
    _, layer, _, x = made("conv_transpose1d", INTEGER["w8a8"])
    model = nn.Sequential(layer)
    before = model(x)
    report = use_integer(model, "reference")
    assert report["reason"].tolist() == ["the patches of a transposed convolution are mostly zeros"]
    assert backend_of(model[0]) is None
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("granularity", ["per_token", "per_tensor", "per_channel"])
def test_a_clip_does_not_depend_on_its_neighbours(name, granularity):
    entry = {"weight": {"bits": 4}, "activation": A8 | {"granularity": granularity}, "low_rank": {"rank": 2}}
    _, layer, _, x = made(name, entry)
    forms = [layer] if layer.obstacle else [layer, *(on_integers(layer, backend) for backend in usable())]
    for form in forms:
        together = form(x)
        for clip in range(len(x)):
            if name == "linear":  # of a sum of floats, the branch's, the order may differ with the number of tokens
                torch.testing.assert_close(form(x[clip : clip + 1]), together[clip : clip + 1], rtol=1e-6, atol=1e-5)
            else:
                assert torch.equal(form(x[clip : clip + 1]), together[clip : clip + 1])


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv_transpose2d"])
def test_a_dynamic_range_is_that_of_a_clip(name):
    _, layer, _, x = made(name, INTEGER["w8a8"])
    steps, scale = layer.input(x, 0)
    axes = tuple(range(1, x.ndim))
    torch.testing.assert_close(scale.flatten(), x.abs().amax(axes) / 127, rtol=0, atol=0)
    assert steps.abs().amax(axes).tolist() == [127, 127, 127]


@pytest.mark.parametrize("name", ["linear", "conv1d", "conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_a_part_of_the_input_is_quantized_by_itself(name, bits):
    module, layer, _, x = made(name, {"weight": {"bits": bits, "granularity": "per_concat_group"}})
    axis = -1 if name == "linear" else 1
    is_transposed = "transpose" in name
    total, first = 0.0, 0
    for part in PARTS:
        own = slice(first, first + part.size)
        first += part.size
        weight = module.weight[own] if is_transposed else module.weight[:, own]
        alone = type(module)(part.size, 5, *_arguments(module), **_options(module))
        alone.requires_grad_(False).weight.copy_(weight)
        alone.bias.zero_()
        kind = layer.geometry.kind
        quantized, _ = quantize_layer(alone, Site("x", kind), LayerRecipe.from_config({"weight": {"bits": bits}}, "x"))
        total = total + quantized(x.movedim(axis, 0)[own].movedim(0, axis))
    total = total + (module.bias if name == "linear" else module.bias.view(-1, *[1] * (x.ndim - 2)))
    torch.testing.assert_close(layer(x), total, rtol=1e-5, atol=1e-5 * total.abs().max().item())
    assert layer.scale.shape == (5, 2)


def _arguments(module: nn.Module) -> tuple:
    return () if isinstance(module, nn.Linear) else (module.kernel_size,)


def _options(module: nn.Module) -> dict:
    if isinstance(module, nn.Linear):
        return {}
    options = {name: getattr(module, name) for name in ("stride", "padding", "dilation")}
    return options | ({"output_padding": module.output_padding} if "Transpose" in type(module).__name__ else {})


@pytest.mark.parametrize("name", LAYERS)
def test_the_geometry_is_read_back_from_its_record(name):
    _, layer, _, _ = made(name, RECIPES["w8"])
    record = layer.geometry.to_record()
    assert Geometry.from_record(record) == layer.geometry
    assert math.prod(record["shape"]) == layer.qdata.numel()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "conv3d"}, {"shape": [5]}, {"shape": [5, 0, 3]}, {"stride": [1, 1]}, {"padding": [[-1, 0]]},
        {"dilation": [0]}, {"parts": [["up", 4]]}, {"parts": [["up"]]}, {"shape": None}, {"padding": [1]},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_is_no_geometry_is_an_error(change):
    _, layer, _, _ = made("conv1d", RECIPES["w8"])
    with pytest.raises((ValueError, TypeError, KeyError)):
        Geometry.from_record(layer.geometry.to_record() | change)


def test_an_input_that_is_no_batch_of_clips_is_refused():
    _, layer, _, x = made("conv1d", RECIPES["w8"])
    with pytest.raises(ValueError, match=r"takes \[batch, 6, size\]"):
        layer(x[0])
    with pytest.raises(ValueError, match="smaller than the kernel"):
        layer(x[..., :1])


def test_patches_are_those_of_unfold():
    _, layer, _, x = made("conv2d", RECIPES["w8"])
    module = LAYERS["conv2d"][0]()
    patches = [piece for piece, _, _ in layer.layout.pieces(x, None, None)]
    expected = functional.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride)
    assert torch.equal(torch.cat(patches), expected.mT.flatten(0, 1))


@pytest.mark.parametrize("channels", [2, 3, 12])
def test_an_input_of_other_channels_is_refused(channels):
    """Of a pointwise layer every such input has a whole number of patches, which are those of no position."""
    _, layer, _, x = made("conv2d_pointwise", INTEGER["w8a8"], parts=())
    other = x.new_ones(len(x), channels, *x.shape[2:])
    with pytest.raises(ValueError, match=r"takes \[batch, 6, size, size\]"):
        layer(other)


def test_a_weight_that_a_hook_makes_is_not_taken_as_it_lies_there():
    """`weight_norm` makes the weight before each call: what lies there after loading other numbers is the old one."""
    with pytest.warns(FutureWarning):
        module = nn.utils.weight_norm(nn.Conv1d(6, 5, 3))
    module.weight_g.data *= 3
    with pytest.raises(NotQuantizableError, match="has hooks"):
        quantize_layer(module, Site("x", "conv1d"), LayerRecipe.from_config(RECIPES["w8"], "x"))
