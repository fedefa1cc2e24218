"""Automatic groups of timesteps: how many, where they end, and what a layer is that needs only one."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audioptq.calibrate.act_stats import ActStats, LayerStats
from audioptq.errors import UserError
from audioptq.noise_levels import NoiseLevels
from audioptq.quantize import (
    QuantOp,
    QuantRecipe,
    SmoothingSpec,
    load_quantized,
    quantize_layer,
    quantize_model,
    save_quantized,
)
from audioptq.quantize.arithmetic.smooth import smooth_scale, smooth_table
from audioptq.quantize.arithmetic.timestep_groups import choose_groups, smoothing_gap
from audioptq.quantize.integer import backend_of, use_integer
from audioptq.quantize.layers.check_tensors import BUFFERS
from audioptq.quantize.layers.diagnostics import interaction_share, rows_of_timesteps
from audioptq.site import Site, linear_sites

LINEAR = Site("layer", "linear")

# Of logarithms of order 10 in float64, summed over thousands of terms and subtracted.
ROUNDING = 1e-6
AUTO = {"kind": "grouped", "groups": "auto"}
DYNAMIC = {"bits": 8, "range": "dynamic", "granularity": "per_token"}
STEPS, CHANNELS = 12, 40


def auto(tolerance=0.1, max_groups=8, alpha=0.5):
    return SmoothingSpec("grouped", alpha, "auto", tolerance, max_groups)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_regimes(at=5):
    """Channels that double or halve at one timestep, beside a common factor that changes all the time."""
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(CHANNELS // 2)
    regime = (torch.arange(STEPS) >= at).double()[:, None] * signs
    return (3 * normal(STEPS, 1) + normal(1, CHANNELS, seed=1) + regime).exp2()


def gap_by_hand(act_absmax, weight_absmax, rows, alpha):
    """From the vectors themselves, one timestep at a time."""
    total = 0.0
    for step in range(len(act_absmax)):
        shared = smooth_scale(act_absmax[rows == rows[step]].amax(0), weight_absmax, alpha)
        own = smooth_scale(act_absmax[step], weight_absmax, alpha)
        ratio = (shared / own).log2()
        total += (ratio - ratio.mean()).square().mean().item()
    return math.sqrt(total / len(act_absmax))


def test_the_gap_is_that_of_the_vectors():
    absmax, weight_absmax = normal(STEPS, CHANNELS).exp(), normal(CHANNELS, seed=2).exp()
    for rows in (torch.zeros(STEPS, dtype=torch.int64), torch.arange(STEPS) // 5, torch.arange(STEPS)):
        expected = gap_by_hand(absmax, weight_absmax, rows, 0.3)
        assert smoothing_gap(absmax, rows, 0.3) == pytest.approx(expected, abs=ROUNDING)


def test_a_common_factor_of_each_timestep_needs_no_second_vector():
    absmax = (3 * normal(STEPS, 1) + normal(1, CHANNELS, seed=1)).exp2()
    assert interaction_share(absmax) == pytest.approx(0, abs=1e-12)
    assert choose_groups(absmax, auto(tolerance=ROUNDING)).tolist() == [0] * STEPS
    assert smoothing_gap(absmax, torch.zeros(STEPS, dtype=torch.int64), 0.5) == pytest.approx(0, abs=ROUNDING)


@pytest.mark.parametrize("at", [1, 5, 11])
def test_two_regimes_are_two_groups_whatever_the_common_factor(at):
    expected = [0] * at + [1] * (STEPS - at)
    assert choose_groups(two_regimes(at), auto()).tolist() == expected
    # A share of the variance cannot tell: here it is small, and the vectors differ by half a bit in every channel.
    assert interaction_share(two_regimes(at)) < 0.15


def test_the_gap_of_one_vector_is_at_least_the_interaction():
    absmax = normal(STEPS, CHANNELS).exp2()
    logs = absmax.log2()
    residual = logs - logs.mean(0) - logs.mean(1, keepdim=True) + logs.mean()
    gap = smoothing_gap(absmax, torch.zeros(STEPS, dtype=torch.int64), 0.5)
    assert gap >= 0.5 * residual.square().mean().sqrt().item()


def test_groups_are_the_fewest_and_the_best_of_all():
    absmax = (0.3 * normal(8, 5).cumsum(0)).exp2()
    best = {}
    for groups in range(1, 9):
        gaps = []
        for cuts in itertools.combinations(range(1, 8), groups - 1):
            rows = sum(((torch.arange(8) >= cut).long() for cut in cuts), torch.zeros(8, dtype=torch.int64))
            gaps.append(gap_by_hand(absmax, torch.ones(5), rows, 0.5))
        best[groups] = min(gaps)
    for tolerance in (0.02, 0.05, 0.1, 0.2, 0.5):
        rows = choose_groups(absmax, auto(tolerance))
        groups = int(rows.max()) + 1
        assert groups == next(each for each in best if best[each] <= tolerance)
        assert gap_by_hand(absmax, torch.ones(5), rows, 0.5) == pytest.approx(best[groups], abs=ROUNDING)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(seed=st.integers(0, 1000), tolerances=st.lists(st.floats(0.001, 2), min_size=2, max_size=5))
def test_a_larger_tolerance_never_takes_more_groups(seed, tolerances):
    absmax = normal(STEPS, 6, seed=seed).exp2()
    counts = [int(choose_groups(absmax, auto(each, 12)).max()) + 1 for each in sorted(tolerances)]
    assert counts == sorted(counts, reverse=True)
    gaps = [smoothing_gap(absmax, choose_groups(absmax, auto(each, 12)), 0.5) for each in sorted(tolerances)]
    assert all(gap <= each + ROUNDING for gap, each in zip(gaps, sorted(tolerances), strict=True))


def test_there_are_never_more_than_max_groups_nor_than_timesteps():
    absmax = normal(STEPS, CHANNELS).exp2()
    assert int(choose_groups(absmax, auto(0.0, 3)).max()) == 2
    assert choose_groups(absmax, auto(0.0, 50)).tolist() == list(range(STEPS))
    assert choose_groups(absmax, auto(16.0, 50)).tolist() == [0] * STEPS


def test_channels_that_nothing_passes_take_no_part():
    absmax, weight_absmax = two_regimes(), torch.ones(CHANNELS)
    expected = choose_groups(absmax, auto())
    absmax[:, 0] = 0
    weight_absmax[1] = 0
    absmax[::2, 1] *= 1e6  # would need a group for each timestep, were its weight not zero
    assert smooth_table(absmax, weight_absmax, auto())[1].tolist() == expected.tolist()
    table, rows = smooth_table(torch.zeros(STEPS, 4), torch.ones(4), auto())
    assert (len(table), rows.tolist()) == (1, [0] * STEPS)


def test_alpha_zero_smooths_by_the_weight_alone():
    assert choose_groups(two_regimes(), auto(0.0, alpha=0.0)).tolist() == [0] * STEPS


def test_a_number_of_groups_means_what_it_meant():
    absmax = normal(STEPS, CHANNELS).exp()
    rows = smooth_table(absmax, torch.ones(CHANNELS), SmoothingSpec("grouped", groups=4))[1]
    # As found before groups could be automatic.
    assert rows.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 3, 3]


def quantized(smoothing, absmax, weight_bits=4, **sections):
    torch.manual_seed(0)
    linear = torch.nn.Linear(CHANNELS, 24).requires_grad_(False)
    entry = {"weight": {"bits": weight_bits}, "activation": DYNAMIC, "smoothing": smoothing, **sections}
    stats = LayerStats(absmax.float(), -absmax.float(), absmax.float())
    return quantize_layer(linear, LINEAR, QuantRecipe.from_config("r", entry).for_layer("x"), stats)


@pytest.mark.parametrize("weight_bits", [8, 4])
@pytest.mark.parametrize("form", ["stored", "simulated"])
@pytest.mark.parametrize("low_rank", [{}, {"low_rank": {"rank": 3}}, {"low_rank": {"rank": 3, "of": "weight"}}])
def test_a_layer_with_one_group_is_the_static_layer_bit_for_bit(weight_bits, form, low_rank):
    absmax = (normal(STEPS, 1) + normal(1, CHANNELS, seed=1)).exp2()
    layer, sqnr = quantized(AUTO | {"form": form}, absmax, weight_bits, **low_rank)
    static, static_sqnr = quantized({"kind": "static"}, absmax, weight_bits, **low_rank)
    assert layer.recipe == static.recipe
    assert layer.recipe.is_folded
    assert layer.stored.compute_bits == weight_bits  # not requantized to 8
    assert (sqnr, set(layer.state_dict())) == (static_sqnr, set(static.state_dict()))
    assert all(torch.equal(value, static.state_dict()[name]) for name, value in layer.state_dict().items())
    x = normal(2, 5, CHANNELS).float()
    assert torch.equal(layer(x), static(x))


def test_a_layer_with_groups_is_requantized_for_each():
    layer, _ = quantized(AUTO, two_regimes())
    assert layer.rows == 2
    assert layer.recipe.smoothing == SmoothingSpec("grouped", groups="auto")
    assert rows_of_timesteps(layer, STEPS).tolist() == [0] * 5 + [1] * 7
    assert layer.stored.compute_bits == 8
    assert torch.equal(layer.qdata, quantized({"kind": "timestep"}, two_regimes())[0].qdata)


@pytest.fixture
def mixed_stats(model, candidates):
    """Ranges with two regimes in the feed-forward layers, and without interaction in the others."""
    layers = {}
    for index, name in enumerate(candidates):
        channels = model.get_submodule(name).in_features
        logs = normal(6, 1, seed=index) + normal(1, channels, seed=50 + index)
        if ".ff." in name:
            logs += (torch.arange(6) >= 2).double()[:, None] * normal(1, channels, seed=90 + index).sign()
        absmax = (2 + logs).exp2().float()
        layers[name] = LayerStats(absmax, -absmax, absmax)
    return ActStats(NoiseLevels("v", torch.logspace(2, -0.5, 6).tolist()), layers)


def entry_of(weight_bits=4, **sections):
    return {"weight": {"bits": weight_bits}, "activation": DYNAMIC, "smoothing": AUTO, **sections}


def test_the_table_says_what_each_layer_came_out_as(model, candidates, mixed_stats):
    _, table = quantize_model(model, QuantRecipe.from_config("r", entry_of()), mixed_stats, linear_sites(candidates))
    is_grouped = table["layer"].str.contains(".ff.", regex=False)
    assert (table["rows"] == is_grouped.map({True: 2, False: 1})).all()
    assert (table["smoothing"] == is_grouped.map({True: "grouped", False: "static"})).all()
    assert (table["smoothing_gap"] < 0.05).all()
    assert is_grouped.any()
    assert not is_grouped.all()


@pytest.mark.parametrize("weight_bits", [8, 4])
def test_a_mixed_model_survives_its_file(model, candidates, mixed_stats, components, x, tmp_path, weight_bits):
    overrides = {
        "*denoiser.blocks.?.out*": {"weight": {"bits": 8}},  # longer than the names it fits
        "*.1.ff.2": {"smoothing": {"kind": "static"}},
    }
    recipe = QuantRecipe.from_config("sqg", entry_of(weight_bits, layers={"overrides": overrides}))
    fresh = type(model)()
    clock, _ = quantize_model(model, recipe, mixed_stats, linear_sites(candidates))
    kinds = {name: model.get_submodule(name).recipe.smoothing.kind for name in candidates}
    assert {name for name in kinds if kinds[name] == "grouped"} == {
        name for name in candidates if ".ff." in name and name != "denoiser.blocks.1.ff.2"
    }
    save_quantized(tmp_path / "w.safetensors", model, recipe, components=components, metadata={})
    loaded_clock, loaded = load_quantized(tmp_path / "w.safetensors", fresh)
    assert QuantRecipe.from_config("sqg", loaded.to_config()) == loaded
    assert (loaded.smoothing, loaded != recipe) == (recipe.smoothing, True)
    for name in candidates:
        layer, again = model.get_submodule(name), fresh.get_submodule(name)
        assert loaded.for_layer(name) == layer.recipe == again.recipe
        for buffer in BUFFERS:
            one, other = getattr(layer, buffer), getattr(again, buffer)
            assert (one is None) == (other is None)
    for sigma in clock.levels.values:
        clock.set_level(sigma)
        loaded_clock.set_level(sigma)
        # The rest is stored in float16.
        torch.testing.assert_close(fresh(x), model(x), rtol=5e-3, atol=5e-3)


def test_a_file_is_the_same_whether_layers_are_static_by_choice_or_by_recipe(
    model, candidates, stats, components, tmp_path
):
    static = QuantRecipe.from_config("r", entry_of() | {"smoothing": {"kind": "static"}})
    lax = QuantRecipe.from_config("r", entry_of() | {"smoothing": AUTO | {"tolerance": 16.0}})
    parts = []
    for recipe in (static, lax):
        torch.manual_seed(1)
        fresh = type(model)()
        quantize_model(fresh, recipe, stats, linear_sites(candidates))
        size = save_quantized(tmp_path / "w.safetensors", fresh, recipe, components=components, metadata={})
        parts.append({name: size["parts"][name] for name in size["parts"] if name != "header"})
    assert parts[0] == parts[1]


@pytest.mark.parametrize("weight_bits", [8, 4])
def test_a_mixed_model_on_integers_computes_what_it_simulates(model, candidates, mixed_stats, weight_bits):
    clock, _ = quantize_model(
        model,
        QuantRecipe.from_config("r", entry_of(weight_bits)),
        mixed_stats,
        linear_sites(candidates),
    )
    simulated = {name: model.get_submodule(name) for name in candidates}
    use_integer(model, "reference")
    for sigma in clock.levels.values:
        clock.set_level(sigma)
        for name, layer in simulated.items():
            integer = model.get_submodule(name)
            assert isinstance(layer, QuantOp)
            assert backend_of(integer) is not None
            x = normal(2, 9, layer.geometry.in_channels).float()
            expected = layer(x)
            # As in test_use.py: one sum is exact, the other is rounded.
            assert (integer(x) - expected).abs().max() <= 2e-6 * expected.abs().max()


@pytest.mark.parametrize(
    ("smoothing", "words"),
    [
        ({"groups": "automatic"}, ["`recipes.mine.smoothing.groups`", "'automatic'", "at least 1, or auto"]),
        ({"groups": 0}, ["`recipes.mine.smoothing.groups`", "at least 1, or auto"]),
        ({"groups": 4, "tolerance": 0.1}, ["smoothing.tolerance`", "only with `groups: auto`"]),
        ({"groups": 4, "max_groups": 3}, ["smoothing.max_groups`", "only with `groups: auto`"]),
        ({"groups": "auto", "tolerance": -1}, ["smoothing.tolerance`", "from 0.0 to 16.0"]),
        ({"groups": "auto", "max_groups": 2.5}, ["smoothing.max_groups`", "at least 1."]),
        ({"groups": "auto", "tolerence": 1}, ["smoothing.tolerence`", "Did you mean 'tolerance'?"]),
    ],
)
def test_a_mistake_is_one_paragraph(smoothing, words):
    with pytest.raises(UserError) as caught:
        QuantRecipe.from_config("mine", entry_of() | {"smoothing": {"kind": "grouped"} | smoothing})
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_static_range_refuses_automatic_groups():
    static = {"bits": 8, "range": "static"}
    with pytest.raises(UserError, match=r"`recipes.mine.smoothing.groups` is auto beside a static.*range: dynamic"):
        QuantRecipe.from_config("mine", entry_of() | {"activation": static})
    overrides = {"*.ff": {"activation": static | {"granularity": "per_tensor"}}}
    with pytest.raises(UserError, match="is auto beside a static"):
        QuantRecipe.from_config("mine", entry_of(layers={"overrides": overrides}))
