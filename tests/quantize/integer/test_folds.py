"""Folding smoothing away changes nothing, in float64; and it is left where it would."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from audioptq.calibrate.act_stats import LayerStats
from audioptq.errors import UserError
from audioptq.models.stable_audio.feeds import block_feeds
from audioptq.models.stable_audio.upstream import TransformerBlock
from audioptq.quantize import CastLinear, LayerRecipe, QuantRecipe, TimestepClock, quantize_linear, save_quantized
from audioptq.quantize.integer import IntegerLinear, fold_smoothing, folds_summary, use_integer
from audioptq.quantize.layers.apply import set_module

# As Stable Audio Open's blocks: twice as many heads of queries as of the prompt's keys and values.
WIDTH, CONTEXT, HEAD = 32, 16, 8
LINEARS = (
    "self_attn.to_qkv", "self_attn.to_out", "cross_attn.to_q", "cross_attn.to_kv", "cross_attn.to_out", "ff.ff.0.proj",
    "ff.ff.2",
)  # fmt: skip
SOURCES = {
    "self_attn.to_qkv": "pre_norm",
    "self_attn.to_out": "self_attn.to_qkv",
    "cross_attn.to_q": "cross_attend_norm",
    "cross_attn.to_out": "cross_attn.to_kv",
    "ff.ff.0.proj": "ff_norm",
    "ff.ff.2": "ff.ff.0.proj",
}
SHARED_HEADS = "its smoothing differs between heads that share their values"
TIMESTEPS = 4
ROUNDING = 1e-12  # of float64, over a block

W4, A8, STATIC = {"bits": 4}, {"bits": 8}, {"kind": "static"}
RECIPES = {
    "w8a8 per token": {"weight": {"bits": 8}, "activation": A8, "smoothing": STATIC},
    "w4a8 static range": {"weight": W4, "activation": A8 | {"range": "static"}, "smoothing": STATIC},
    "low rank of error": {"weight": W4, "activation": A8, "smoothing": STATIC, "low_rank": {"rank": 3}},
    "svdquant": {"weight": W4, "activation": A8, "smoothing": STATIC, "low_rank": {"rank": 3, "of": "weight"}},
    "float weight": {"activation": A8, "smoothing": STATIC},
}
PLAIN = "w8a8 per token"


class Network(nn.Module):
    """One block of stable-audio-tools with random weights, gains and shifts."""

    def __init__(self, **changes):
        super().__init__()
        torch.manual_seed(0)
        sizes = {"dim_heads": HEAD, "cross_attend": True, "dim_context": CONTEXT, "norm_kwargs": {"bias": True}}
        self.block = TransformerBlock(WIDTH, zero_init_branch_outputs=False, **(sizes | changes))
        for name, parameter in self.block.named_parameters():
            if name.endswith(("gamma", "beta", "bias")):
                nn.init.normal_(parameter, mean=float(name.endswith("gamma")), std=0.3)
        self.eval().requires_grad_(False)

    def forward(self, x, context):
        return self.block(x, context=context)


def quantize(network, entry, names=LINEARS, clock=None):
    """Puts quantized layers in place, from ranges with outliers."""
    recipe = LayerRecipe.from_config(entry, "layer")
    generator = torch.Generator().manual_seed(2)
    for name in names:
        linear = network.block.get_submodule(name)
        absmax = 2.0 ** (2 * torch.randn(TIMESTEPS, linear.in_features, generator=generator))
        layer, _ = quantize_linear(linear, recipe, LayerStats(absmax, -absmax, absmax), clock)
        set_module(network.block, name, layer)
    return network


def ready(entry=PLAIN, names=LINEARS, **changes):
    return quantize(Network(**changes), RECIPES[entry], names).double()


def share_smoothing(network):
    """Makes the vector of the prompt's output layer one that heads with common values share."""
    layer = network.block.cross_attn.to_out
    layer.smooth_scale = layer.smooth_scale.unflatten(1, (2, 2, HEAD))[:, :, :1].expand(1, 2, 2, HEAD).flatten(1)


def output(network):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 9, WIDTH, dtype=torch.float64, generator=generator)
    context = torch.randn(2, 5, CONTEXT, dtype=torch.float64, generator=generator)
    dtype = network.block.ff_norm.gamma.dtype
    return network(x.to(dtype), context.to(dtype))


def fold(network, names=LINEARS, feeds=None):
    feeds = block_feeds(network) if feeds is None else feeds
    report = fold_smoothing(network, feeds, [f"block.{name}" for name in names])
    return report.assign(layer=report["layer"].str.removeprefix("block.")).set_index("layer")


def assert_unchanged(network, before):
    assert (output(network) - before).norm() <= ROUNDING * before.norm()


@pytest.mark.parametrize("entry", RECIPES)
@pytest.mark.parametrize("name", SOURCES)
def test_one_fold_changes_nothing(name, entry):
    network = ready(entry)
    share_smoothing(network)
    before = output(network)  # and its compute weights are kept from here on
    layer, source = (network.block.get_submodule(each) for each in (name, SOURCES[name]))
    tensors = {key: tensor.clone() for key, tensor in source.state_dict().items()}
    report = fold(network, [name])
    assert report.loc[name, "folded_into"] == f"block.{SOURCES[name]}"
    assert report.loc[name, "reason"] is None
    folded = network.block.get_submodule(name)
    assert layer.smooth_scale is not None
    assert folded.smooth_scale is None
    assert folded.recipe.smoothing is None
    after = network.block.get_submodule(SOURCES[name]).state_dict()
    assert any(not torch.equal(after[key], tensors[key]) for key in tensors)
    assert_unchanged(network, before)


@pytest.mark.parametrize("entry", RECIPES)
def test_all_folds_together_change_nothing(entry):
    network = ready(entry)
    share_smoothing(network)
    before = output(network)
    report = fold(network)
    assert set(report.index) == set(LINEARS)
    assert report["folded_into"].notna().sum() == 6
    assert report.loc["cross_attn.to_kv", "reason"] == "its input is made by no norm or layer of its block"
    assert_unchanged(network, before)
    assert folds_summary(report).startswith(
        "smoothing folded away in 6 of 7 layers that have it; 1 divide, since its input"
    )


@pytest.mark.parametrize("heads", [8, 16, 32])
def test_values_take_a_vector_only_if_the_heads_they_serve_share_it(heads):
    network = Network(dim_context=heads)
    quantize(network, RECIPES[PLAIN]).double()
    report = fold(network, ["cross_attn.to_out"])
    assert report["reason"].item() == (None if heads == WIDTH else SHARED_HEADS)


@pytest.mark.parametrize("name", ["self_attn.to_out", "cross_attn.to_out", "ff.ff.2"])
def test_a_source_in_float_takes_the_vector_too(name):
    network = ready(names=[each for each in LINEARS if each != SOURCES[name]])
    share_smoothing(network)
    source = network.block.get_submodule(SOURCES[name])
    weight, before = source.weight.clone(), output(network)
    assert fold(network, [name]).loc[name, "folded_into"] == f"block.{SOURCES[name]}"
    assert not torch.equal(source.weight, weight)
    assert_unchanged(network, before)


@pytest.mark.parametrize("form", ["stored", "simulated"])
def test_a_source_that_changes_with_the_timestep_takes_the_vector_too(form):
    clock = TimestepClock([8.0, 4.0, 2.0, 1.0])
    timestep = {"weight": W4, "activation": A8, "smoothing": {"kind": "timestep", "form": form}}
    network = quantize(Network(), timestep, ["self_attn.to_qkv"], clock)
    quantize(network, RECIPES[PLAIN], ["self_attn.to_out"]).double()
    before = []
    for is_folded in (False, True):
        if is_folded:
            assert fold(network)["folded_into"].tolist() == [None, "block.self_attn.to_qkv"]
        for step, sigma in enumerate(clock.sigmas):
            clock.set_sigma(sigma)
            before.append(output(network)) if not is_folded else assert_unchanged(network, before[step])


def refused(network, name, reason, feeds=None):
    """The layer is left as it is, and so is all that could have been changed for it."""
    before = output(network)
    report = fold(network, [name], feeds)
    assert report["folded_into"].isna().all()
    assert reason in report["reason"].item()
    assert network.block.get_submodule(name).smooth_scale is not None
    assert torch.equal(output(network), before)


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        ({"global_cond_dim": WIDTH}, "self_attn.to_qkv", "modulate the norm"),
        ({"global_cond_dim": WIDTH}, "ff.ff.0.proj", "modulate the norm"),
        ({"remove_norms": True}, "cross_attn.to_q", "DynamicTanh before it is no layer norm"),
        ({"attn_kwargs": {"differential": True}}, "self_attn.to_out", "its attention is differential"),
        ({}, "cross_attn.to_out", SHARED_HEADS),
        ({}, "cross_attn.to_kv", "made by no norm or layer of its block"),
        ({"ff_kwargs": {"glu": False}}, "ff.ff.2", "made by no norm or layer of its block"),
    ],
)
def test_what_the_block_does_in_between_refuses(changes, name, reason):
    names = [name if "glu" not in str(changes) else "ff.ff.2"]
    refused(ready(names=names, **changes), name, reason)


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        ({"bits": 8, "granularity": "per_tensor"}, "weights with scales per_tensor"),
        ({"bits": 8, "granularity": "per_group", "group_size": 8}, "weights with scales per_group"),
    ],
)
@pytest.mark.parametrize("name", ["self_attn.to_out", "ff.ff.2"])
def test_a_source_whose_scales_are_not_of_its_outputs_refuses(name, weight, reason):
    network = quantize(Network(), {"weight": weight, "activation": A8}, [SOURCES[name]])
    refused(quantize(network, RECIPES[PLAIN], [name]).double(), name, reason)


def test_a_source_in_bfloat16_refuses():
    network = ready(names=["ff.ff.2"])
    network.block.ff.ff[0].proj = CastLinear.of(network.block.ff.ff[0].proj, torch.bfloat16)
    refused(network, "ff.ff.2", "too few digits")


@pytest.mark.parametrize("smoothing", [{"kind": "timestep"}, {"kind": "grouped", "groups": 1}])
def test_smoothing_that_no_weight_holds_refuses(smoothing):
    clock = TimestepClock([8.0, 4.0, 2.0, 1.0])
    clock.set_sigma(4.0)
    network = quantize(Network(), RECIPES[PLAIN] | {"smoothing": smoothing}, ["self_attn.to_qkv"], clock).double()
    refused(network, "self_attn.to_qkv", "its smoothing is not static")


def test_a_norm_that_serves_another_module_refuses():
    network = ready(names=["self_attn.to_qkv"])
    network.other = network.block.pre_norm
    refused(network, "self_attn.to_qkv", "serves others too")


def test_a_gain_that_is_another_modules_too_refuses():
    network = ready(names=["self_attn.to_qkv"])
    network.block.pre_norm.gamma = network.block.ff_norm.gamma
    refused(network, "self_attn.to_qkv", "serves others too")


@dataclass(frozen=True)
class Stated:
    layer: str
    source: str
    rows: Tensor
    obstacle: str | None = None


def test_a_norm_that_a_second_layer_reads_refuses():
    network = ready(names=["self_attn.to_qkv"])
    feeds = [
        Stated(f"block.{name}", "block.pre_norm", torch.arange(WIDTH)) for name in ("self_attn.to_qkv", "ff.ff.0.proj")
    ]
    refused(network, "self_attn.to_qkv", "serves others too", feeds)


def test_a_source_that_is_not_linear_refuses():
    network = ready(names=["ff.ff.2"])
    feeds = [Stated("block.ff.ff.2", "block.ff.ff.0.act", torch.arange(4 * WIDTH))]
    refused(network, "ff.ff.2", "SiLU before it is no linear layer", feeds)


def test_the_branch_takes_the_vector_in_float32():
    network = quantize(Network(), RECIPES["low rank of error"], ["self_attn.to_qkv", "self_attn.to_out"])
    layer, source = network.block.self_attn.to_out, network.block.self_attn.to_qkv
    layer.smooth_scale = torch.full_like(layer.smooth_scale, 1024)
    layer.low_rank.a = torch.full_like(layer.low_rank.a, 100)  # times 1024 it exceeds float16
    b = source.low_rank.b.clone()
    fold(network, ["self_attn.to_out"])
    assert network.block.self_attn.to_out.low_rank.a.dtype == torch.float32
    assert (network.block.self_attn.to_out.low_rank.a == 102400).all()
    values = network.block.self_attn.to_qkv.low_rank.b
    assert torch.equal(values, torch.cat([b[: 2 * WIDTH].float(), b[2 * WIDTH :].float() / 1024]))


def test_layers_on_integers_stay_so_and_pack_anew():
    network = quantize(Network(), RECIPES["w4a8 static range"])
    share_smoothing(network)
    use_integer(network, "reference")
    before = output(network)
    report = fold(network)
    assert report["folded_into"].notna().sum() == 6
    for name in LINEARS:
        layer = network.block.get_submodule(name)
        assert isinstance(layer, IntegerLinear)
        assert (layer.smooth_scale is None) == (name != "cross_attn.to_kv")
        assert layer.act_scale is not None
    # A rounding more or less turns an activation by a step of 1/127 here and there.
    assert (output(network) - before).norm() <= 1e-2 * before.norm()


def test_layers_without_smoothing_and_layers_not_asked_for_are_left_alone():
    network = quantize(Network(), {"weight": W4, "activation": A8})
    before = copy.deepcopy(network.state_dict())
    report = fold(network)
    assert report.empty
    assert folds_summary(report) == "smoothing folded away in 0 of 0 layers that have it"
    quantize(network := Network(), RECIPES[PLAIN])
    before = copy.deepcopy(network.state_dict())
    assert list(fold(network, ["ff.ff.2"]).index) == ["ff.ff.2"]
    changed = {
        name.removeprefix("block.")
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == {"ff.ff.0.proj.scale", "ff.ff.0.proj.bias"}


def test_a_folded_model_is_not_saved(tmp_path):
    recipe = QuantRecipe.from_config("sq", RECIPES[PLAIN])
    network, path = quantize(Network(), RECIPES[PLAIN]), tmp_path / "weights.safetensors"
    save_quantized(path, network, recipe, components={}, metadata={})
    content = path.read_bytes()
    fold(network)
    with pytest.raises(
        UserError, match=r"weights\.safetensors is not written: .* 5 layers, .*block\.self_attn\.to_qkv, .* Save the"
    ):
        save_quantized(path, network, recipe, components={}, metadata={})
    assert path.read_bytes() == content
