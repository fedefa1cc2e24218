import pytest
import torch
from torch import nn

from audioptq.calibrate.act_stats import ActStats, LayerStats
from audioptq.errors import UserError
from audioptq.quantize import CastLinear, QuantLinear, QuantRecipe, quantize_model, select_layers
from audioptq.site import linear_sites

COLUMNS = [
    "layer", "in_features", "out_features", "weight_bits", "act_bits", "granularity", "smoothing", "rows", "rank",
    "sqnr_db", "smoothing_gap", "interaction", "quantized", "reason",
]  # fmt: skip
SQD = {"weight": {"bits": 4}, "activation": {"bits": 8}, "smoothing": {"kind": "timestep"}, "low_rank": {"rank": 3}}


def recipe_of(**entry) -> QuantRecipe:
    return QuantRecipe.from_config("mine", entry)


def test_the_table_has_a_row_per_candidate(model, candidates, stats):
    originals = {name: model.get_submodule(name).weight.clone() for name in candidates}
    clock, table = quantize_model(
        model, recipe_of(**SQD, layers={"exclude": ["*.out"]}), stats, linear_sites(candidates)
    )
    assert list(table) == COLUMNS
    assert table["layer"].tolist() == candidates
    assert clock.levels.values == pytest.approx(stats.levels.values)
    for row in table.itertuples():
        layer = model.get_submodule(row.layer)
        assert (row.out_features, row.in_features) == tuple(originals[row.layer].shape)
        assert 0 < row.interaction < 1
        if row.layer.endswith(".out"):
            assert type(layer) is nn.Linear
            assert (row.quantized, row.reason, row.weight_bits) == (False, "excluded by *.out", 32)
            continue
        assert isinstance(layer, QuantLinear)
        assert layer.clock is clock
        assert (row.quantized, row.weight_bits, row.act_bits, row.rank) == (True, 4, 8, 3)
        assert (row.granularity, row.smoothing, row.reason) == ("per_channel", "timestep", None)
        assert (row.rows, row.smoothing_gap) == (6, 0)
        noise = sum((originals[row.layer] - layer.effective_weight(t)).square().sum() for t in range(6)) / 6
        measured = 10 * torch.log10(originals[row.layer].square().sum() / noise)
        assert row.sqnr_db == pytest.approx(measured.item(), abs=0.01)


def test_more_bits_keep_the_weight_better(model, candidates):
    sqnr = []
    for bits in (2, 3, 4, 8):
        torch.manual_seed(1)
        _, table = quantize_model(type(model)(), recipe_of(weight={"bits": bits}), None, linear_sites(candidates))
        sqnr.append(table["sqnr_db"].mean())
    assert sqnr == sorted(sqnr)
    # 20 log10(127 / 7): the error of a uniform quantizer is proportional to its step.
    assert sqnr[3] - sqnr[2] == pytest.approx(25.2, abs=1.5)


def test_full_precision_changes_nothing(model, candidates, x):
    before = model(x)
    clock, table = quantize_model(model, QuantRecipe("fp32"), None, linear_sites(candidates))
    assert torch.equal(model(x), before)
    assert clock is None
    assert not table["quantized"].any()
    assert table["sqnr_db"].isna().all()
    assert set(table["reason"]) == {"the recipe keeps it in float32"}


def test_bfloat16_casts_the_chosen_layers_and_no_other(model, candidates, x):
    before = model(x)
    recipe = recipe_of(dtype="bfloat16", layers={"exclude": ["*.qkv"]})
    _, table = quantize_model(model, recipe, None, linear_sites(candidates))
    kinds = {name: type(model.get_submodule(name)) for name in candidates}
    assert all(kind is (nn.Linear if name.endswith("qkv") else CastLinear) for name, kind in kinds.items())
    assert type(model.conditioner) is nn.Linear
    out = model.denoiser["blocks"][0].out
    assert out.weight.dtype == torch.bfloat16
    assert out(x).dtype == torch.float32
    expected = (x.bfloat16().double() @ out.weight.double().T + out.bias.double()).float()
    # Products are exact; the sum is rounded to bfloat16 once.
    assert (out(x) - expected).abs().max() <= 2.0**-8 * expected.abs().max()
    # 8 significant bits: a few thousandths over two blocks.
    assert 0 < (model(x) - before).norm() / before.norm() < 0.02
    assert table["weight_bits"].tolist() == [32 if name.endswith("qkv") else 16 for name in candidates]


def test_the_rest_is_rounded_to_what_its_file_will_hold(model, candidates):
    quantize_model(model, recipe_of(weight={"bits": 8}), None, linear_sites(candidates))
    norm, powers = model.denoiser["blocks"][0].norm.weight, model.pretransform.powers
    assert torch.equal(norm, norm.half().float())
    assert torch.equal(powers, torch.logspace(0, 9, 10))  # float16 cannot hold a thousand millions
    assert model.pretransform.order.tolist() == list(range(7))


def test_selection_keeps_the_order_of_candidates(model, candidates):
    layers = {"include": ["*.ff.*", "*.blocks.0.*"], "exclude": ["*.out"]}
    chosen = select_layers(model, recipe_of(weight={"bits": 8}, layers=layers), candidates)
    expected = [n for n in candidates if (".ff." in n or ".blocks.0." in n) and not n.endswith(".out")]
    assert list(chosen) == expected
    assert all(chosen[name] is model.get_submodule(name) for name in chosen)


@pytest.mark.parametrize("kind", ["include", "exclude", "overrides"])
def test_a_glob_that_matches_nothing_is_a_mistake(model, candidates, kind):
    globs = {"*.qvk": {"weight": {"bits": 8}}} if kind == "overrides" else ["*.qvk"]
    with pytest.raises(UserError) as caught:
        quantize_model(
            model,
            recipe_of(weight={"bits": 4}, layers={kind: globs}),
            None,
            linear_sites(candidates),
        )
    text = str(caught.value)
    assert f"recipes.mine.layers.{kind}" in text
    assert "`*.qvk`" in text
    assert "Did you mean 'qkv'" in text
    assert candidates[0] in text


def test_missing_or_foreign_statistics_are_a_mistake(model, candidates, stats):
    recipe = recipe_of(weight={"bits": 8}, smoothing={"kind": "timestep"})
    with pytest.raises(UserError, match=r"mine needs activation statistics.*calibrate"):
        quantize_model(model, recipe, None, linear_sites(candidates))
    partial = ActStats(stats.levels, {name: stats.layers[name] for name in candidates[1:]})
    with pytest.raises(UserError, match=rf"lack 1 of the chosen layers, for example {candidates[0]}"):
        quantize_model(model, recipe, partial, linear_sites(candidates))
    absmax = torch.ones(len(stats.levels), 3)
    foreign = ActStats(stats.levels, {name: LayerStats(absmax, absmax, absmax) for name in candidates})
    with pytest.raises(UserError, match=rf"mine: layer {candidates[0]} has 24 input channels"):
        quantize_model(model, recipe, foreign, linear_sites(candidates))


def test_statistics_that_a_recipe_does_not_need_are_only_reported(model, candidates, stats):
    clock, table = quantize_model(model, recipe_of(weight={"bits": 8}), stats, linear_sites(candidates))
    assert clock is None
    assert table["interaction"].notna().all()


@pytest.mark.parametrize(
    "entry",
    [
        {"weight": {"bits": 8}, "activation": {"bits": 8, "range": "static"}},
        {"weight": {"bits": 8}, "smoothing": {"kind": "static"}},
        SQD,
    ],
    ids=["static_range", "static_smoothing", "timestep"],
)
def test_a_calibrated_model_refuses_another_schedule(model, candidates, stats, entry):
    clock, _ = quantize_model(model, recipe_of(**entry), stats, linear_sites(candidates))
    with pytest.raises(UserError, match="another schedule"):
        clock.set_level(3.21)
