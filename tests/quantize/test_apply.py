import pytest
import torch
from torch import nn

from audioptq.calibrate.act_stats import ActStats, LayerStats
from audioptq.errors import UserError
from audioptq.noise_levels import NoiseLevels
from audioptq.quantize import CastLayer, QuantOp, QuantRecipe, quantize_model
from audioptq.quantize.recipe.choose_layers import choose_layers
from audioptq.site import Part, Site, linear_sites

COLUMNS = [
    "layer", "kind", "block", "role", "parts", "in_features", "out_features",
    "weight_bits", "act_bits", "granularity", "smoothing", "rows", "rank",
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
        assert isinstance(layer, QuantOp)
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
    assert all(kind is (nn.Linear if name.endswith("qkv") else CastLayer) for name, kind in kinds.items())
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


def test_selection_keeps_the_order_of_candidates(candidates):
    layers = {"include": ["*.ff.*", "*.blocks.0.*"], "exclude": ["*.out"]}
    chosen = choose_layers(recipe_of(weight={"bits": 8}, layers=layers), candidates)
    expected = [n for n in candidates if (".ff." in n or ".blocks.0." in n) and not n.endswith(".out")]
    assert chosen == expected


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


class Odd(nn.Linear):
    """Computes something else."""

    def forward(self, x):
        return -super().forward(x)


def odd_model() -> nn.Module:
    return nn.ModuleDict(
        {
            "good": nn.Conv1d(6, 4, 3),
            "grouped": nn.Conv1d(6, 4, 3, groups=2),
            "reflecting": nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"),
            "odd": Odd(6, 4),
            "wrong_kind": nn.Linear(6, 4),
            "none": nn.Identity(),
        }
    )


@pytest.mark.parametrize("entry", [{"weight": {"bits": 8}}, {"dtype": "bfloat16"}, SQD], ids=["w8", "bf16", "sqd"])
def test_what_cannot_be_quantized_is_named_and_left_in_float(entry):
    model = odd_model().requires_grad_(False)
    kinds = {
        "good": "conv1d",
        "grouped": "conv1d",
        "reflecting": "conv2d",
        "odd": "linear",
        "wrong_kind": "conv2d",
        "none": "linear",
    }
    sites = [Site(name, kind, (Part("up", 4), Part("skip", 2)), "down.0", "conv") for name, kind in kinds.items()]
    absmax = torch.ones(2, 6)
    stats = ActStats(NoiseLevels("v", [2.0, 1.0]), {"good": LayerStats(absmax, -absmax, absmax)})
    originals = dict(model.items())
    _, table = quantize_model(model, recipe_of(**entry), stats, sites)
    reasons = table.set_index("layer")["reason"]
    assert type(model["good"]) is (CastLayer if "dtype" in entry else QuantOp)
    assert all(model[name] is originals[name] for name in kinds if name != "good")
    for name, words in {
        "grouped": "a convolution in 2 groups",
        "reflecting": "pads with the mode reflect",
        "odd": "is a Odd, which the kind linear does not describe",
        "wrong_kind": "is a Linear, which the kind conv2d does not describe",
        "none": "is a Identity",
    }.items():
        assert reasons[name].startswith("stays in float, since it ")
        assert words in reasons[name]
    assert table["quantized"].tolist() == ["dtype" not in entry, *[False] * 5]
    row = table.iloc[0]
    assert (row["kind"], row["block"], row["role"], row["parts"]) == ("conv1d", "down.0", "conv", "up 4 | skip 2")
    assert (row["in_features"], row["out_features"]) == (6, 4)


def test_parts_that_do_not_add_up_leave_a_layer_in_float():
    model = nn.ModuleDict({"good": nn.Conv1d(6, 4, 3)}).requires_grad_(False)
    _, table = quantize_model(model, recipe_of(weight={"bits": 8}), None, [Site("good", "conv1d", (Part("up", 5),))])
    assert table["reason"].tolist() == ["stays in float, since it is parts up 5 that do not add up to 6 input channels"]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(6, 4, 4, padding="same", dilation=3),
        nn.Conv2d(6, 4, 3, stride=2, padding=1),
        nn.ConvTranspose1d(6, 4, 4, stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(6, 4, 3, bias=False),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_convolutions_compute_in_bfloat16_too(layer):
    kind = {nn.Conv1d: "conv1d", nn.Conv2d: "conv2d", nn.ConvTranspose1d: "conv_transpose1d"}.get(
        type(layer), "conv_transpose2d"
    )
    model = nn.ModuleDict({"a": layer}).requires_grad_(False)
    x = torch.randn(2, 6, *[11, 9][: layer.weight.ndim - 2], generator=torch.Generator().manual_seed(0))
    expected = layer(x)
    quantize_model(model, recipe_of(dtype="bfloat16"), None, [Site("a", kind)])
    assert isinstance(model["a"], CastLayer)
    y = model["a"](x)
    assert y.dtype == torch.float32
    # Both operands carry 8 significant bits.
    assert 0 < (y - expected).norm() < 2.0**-7 * expected.norm()
