"""Layers and models in integer form against the simulated form of the same model."""

import pytest
import torch
from torch import nn

from audioptq.quantize import QuantRecipe, quantize_model
from audioptq.quantize.integer import backend_of, summary, use_integer
from audioptq.quantize.integer.backends import choose_backend
from audioptq.site import linear_sites

# Scales, bias and branch in another order: some roundings of float32.
ROUNDING = 2e-6
# Backends that keep the simulated form's order.
SAME_TO_THE_BIT = {"native", "reference"}
A8 = {"bits": 8}
ENTRIES = {
    "per_token": {"weight": {"bits": 8}, "activation": A8},
    "per_tensor_dynamic": {"weight": {"bits": 4}, "activation": A8 | {"granularity": "per_tensor"}},
    "static": {"weight": {"bits": 4}, "activation": A8 | {"range": "static"}, "smoothing": {"kind": "static"}},
    "w3_per_tensor": {"weight": {"bits": 3, "granularity": "per_tensor"}, "activation": A8},
    "timestep": {"weight": {"bits": 4}, "activation": A8, "smoothing": {"kind": "timestep"}},
    "timestep_from_groups": {
        "weight": {"bits": 4, "granularity": "per_group", "group_size": 8},
        "activation": A8,
        "smoothing": {"kind": "timestep"},
    },
    "timestep_simulated_weight": {
        "weight": {"bits": 4},
        "activation": A8,
        "smoothing": {"kind": "timestep", "form": "simulated"},
    },
    "grouped_static_range": {
        "weight": {"bits": 8},
        "activation": A8 | {"range": "static"},
        "smoothing": {"kind": "grouped", "groups": 2},
    },
    "low_rank": {"weight": {"bits": 4}, "activation": A8, "smoothing": {"kind": "timestep"}, "low_rank": {"rank": 3}},
    "a4": {"weight": {"bits": 4}, "activation": {"bits": 4}},
}


def quantized(model, stats, candidates, **entry):
    recipe = QuantRecipe.from_config("r", entry)
    clock, _ = quantize_model(model, recipe, stats if recipe.needs_calibration else None, linear_sites(candidates))
    return clock


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("name", ENTRIES)
def test_every_layer_gives_what_its_simulated_form_gives(model, stats, candidates, x, name, backend):
    clock = quantized(model, stats, candidates, **ENTRIES[name])
    simulated = {layer: model.get_submodule(layer) for layer in candidates}
    report = use_integer(model, backend)
    assert report["layer"].tolist() == candidates
    bits = next(iter(simulated.values())).stored.compute_bits
    expects_integer = choose_backend(backend, x.device, (24, 24), bits)[0] is not None
    assert report["backend"].notna().all() == expects_integer
    for sigma in clock.levels.values if clock else [None]:
        if clock:
            clock.set_level(sigma)
        for layer, before in simulated.items():
            after = model.get_submodule(layer)
            assert (backend_of(after) is not None) == expects_integer
            raw = torch.randn(2, 9, before.geometry.in_channels, generator=torch.Generator().manual_seed(4))
            expected = before(raw)
            if expects_integer and backend_of(after).name in SAME_TO_THE_BIT:
                assert torch.equal(after(raw), expected)
            else:
                assert (after(raw) - expected).abs().max() <= ROUNDING * expected.abs().max()


@pytest.mark.parametrize(("kind", "n_packed"), [("static", 1), ("timestep", 3)])
def test_a_packed_weight_is_kept_where_it_serves_again(kind, n_packed, model, stats, candidates, x, monkeypatch):
    clock = quantized(model, stats, candidates, **ENTRIES[kind])
    use_integer(model, "reference")
    layer = model.get_submodule(candidates[0])
    packed = []
    prepare = layer.product.backend.prepare
    monkeypatch.setattr(
        layer.product.backend, "prepare", lambda *given: packed.append(1) or prepare(*given), raising=False
    )
    for sigma in clock.levels.values[:3]:
        clock.set_level(sigma)
        layer(x)
    assert len(packed) == n_packed


def test_a_large_packed_weight_is_not_kept_on_a_cpu(model, stats, candidates, monkeypatch):
    clock = quantized(model, stats, candidates, **ENTRIES["static"])
    clock.set_level(clock.levels.values[0])
    monkeypatch.setattr("audioptq.quantize.layers.weight_cache.KEPT_WEIGHTS", 0)
    use_integer(model, "reference")
    layer = model.get_submodule(candidates[0])
    packed = []
    prepare = layer.product.backend.prepare
    monkeypatch.setattr(
        layer.product.backend, "prepare", lambda *given: packed.append(1) or prepare(*given), raising=False
    )
    raw = torch.randn(2, 9, layer.geometry.in_channels, generator=torch.Generator().manual_seed(4))
    assert len({layer(raw).sum().item() for _ in range(4)}) == 1
    assert len(packed) == 4


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"weight": {"bits": 8}, "dtype": "bfloat16"}, "one operand is not quantized"),
        ({"activation": A8}, "one operand is not quantized"),
        ({"weight": {"bits": 8}, "activation": A8 | {"granularity": "per_channel"}}, "scale per input channel"),
        ({"weight": {"bits": 4, "granularity": "per_group", "group_size": 8}, "activation": A8}, "per_group"),
    ],
)
def test_what_cannot_multiply_integers_stays_as_it_is_and_says_why(model, stats, candidates, x, entry, reason):
    quantized(model, stats, candidates, **entry)
    before = model(x)
    report = use_integer(model, "reference")
    assert report["backend"].isna().all()
    assert report["reason"].str.contains(reason).all()
    assert summary(report).startswith(f"0 of {len(candidates)} quantized layers multiply integers; ")
    assert reason in summary(report)
    assert torch.equal(model(x), before)


def test_layers_that_a_recipe_leaves_alone_are_no_part_of_the_report(model, stats, candidates):
    entry = ENTRIES["per_token"] | {"layers": {"exclude": ["*.out"]}}
    quantized(model, stats, candidates, **entry)
    report = use_integer(model, "reference")
    assert set(report["layer"]) == {name for name in candidates if not name.endswith(".out")}
    assert (
        summary(report)
        == f"{len(report)} of {len(report)} quantized layers multiply integers (reference {len(report)})"
    )


def test_the_integer_form_holds_the_same_tensors(model, stats, candidates):
    quantized(model, stats, candidates, **ENTRIES["low_rank"])
    before = model.state_dict()
    use_integer(model, "reference")
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(after[name].data_ptr() == before[name].data_ptr() for name in before)


def test_a_layer_that_is_loaded_anew_packs_anew(model, stats, candidates, x):
    quantized(model, stats, candidates, **ENTRIES["per_token"])
    use_integer(model, "reference")
    layer = model.get_submodule(candidates[0])
    before = layer(x)
    layer.load_state_dict(
        {name: tensor * 2 if name == "scale" else tensor for name, tensor in layer.state_dict().items()}
    )
    torch.testing.assert_close(layer(x), 2 * before)


def test_a_model_without_quantized_layers_has_an_empty_report():
    report = use_integer(nn.Sequential(nn.Linear(3, 3)))
    assert report.empty
    assert summary(report) == "0 of 0 quantized layers multiply integers"
