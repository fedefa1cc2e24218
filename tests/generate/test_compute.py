"""Generation on integers: mini's own network against its simulated form, and what is reported of it."""

import copy
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from audioptq.calibrate.run import calibrate
from audioptq.errors import UserError
from audioptq.generate.compute import use_compute
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.quantize import QuantLinear, QuantRecipe, quantize_model
from audioptq.quantize.integer import use_integer
from audioptq.sampling.sampler import sample

ROOT = Path(__file__).parents[2]
ENTRIES = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["recipes"]
CAPTIONS = ["a dog barks", "rain falls"]
# Where scales are applied in another order, or smoothing is folded away: one rounding more or less in a layer turns an activation
# by one step, and later layers multiply that.
FORWARD_TOLERANCE = 1e-2
# In no layer by itself: some roundings of float32.
LAYER_TOLERANCE = 2e-6
# Backends that apply scales, bias and branch in the order of the simulated form.
SAME_TO_THE_BIT = {"native", "reference"}
EVERY_KIND = [
    "w8a8_rtn", "w8a8_sqs", "w8a8_sqd", "w8a8_sqd_sim", "w8a8_sqd_lora", "w8a8_sqg",
    "w4a8_sqs", "w4a8_sqd", "w4a8_sqd_lora", "w4a8_svdquant", "w4a4_sqs", "w4a4_sqd_lora",
]  # fmt: skip


@pytest.fixture(scope="module")
def mini():
    return StableAudioModel.load(ROOT / "models" / "mini")


@pytest.fixture(scope="module")
def calibrated(mini, make_settings):
    """Activation statistics, and what the sampler asked of the full-precision network: latents and noise levels."""
    prompts = pd.DataFrame({"clip_id": ["a", "b"], "caption": CAPTIONS, "reference_id": ["a", "b"]})
    prompts = prompts.assign(reference_path=None, seconds_total=4.096, kind=None, labels=None)
    settings = make_settings()
    stats, _ = calibrate(mini, prompts, settings=settings, seed=0, batch_size=2)
    asked, denoise = [], mini.denoise
    mini.denoise = lambda latents, sigma, *rest: asked.append((latents, sigma)) or denoise(latents, sigma, *rest)
    sample(mini, CAPTIONS, [4.096] * 2, clip_ids=["a", "b"], seed=1, settings=settings)
    del mini.denoise
    return stats, asked


@pytest.fixture
def quantized(mini, calibrated):
    def make(name):
        model, recipe = copy.deepcopy(mini), QuantRecipe.from_config(name, ENTRIES[name])
        clock, _ = quantize_model(model.network, recipe, calibrated[0], model.sites())
        if clock is not None:
            model.add_step_listener(clock.set_level)
        return model, recipe

    return make


def forwards(model, asked):
    conditioning = model.condition(CAPTIONS, [4.096] * 2)
    return torch.stack([model.denoise(latents, sigma, conditioning, 1.0) for latents, sigma in asked])


def quantized_layers(model):
    return {name for name, layer in model.network.named_modules() if isinstance(layer, QuantLinear)}


def relative(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("name", ["w8a8_sqs", "w8a8_sqd", "w8a8_sqd_lora", "w4a8_sqs", "w4a8_sqd"])
def test_a_forward_pass_on_integers_is_the_simulated_one_within_a_hundredth(mini, calibrated, quantized, name, backend):
    asked = calibrated[1]
    model, _ = quantized(name)
    full, simulated = forwards(mini, asked), forwards(model, asked)
    inputs = {}
    layers = {name: layer for name, layer in model.network.named_modules() if isinstance(layer, QuantLinear)}
    handles = [
        layer.register_forward_hook(lambda _, x, y, name=name: inputs.update({name: (x[0], y)}))
        for name, layer in layers.items()
    ]
    forwards(model, asked[-1:])
    for handle in handles:
        handle.remove()
    report = use_integer(model.network, backend)
    if report["backend"].isna().all():
        pytest.skip(report["reason"].iloc[0])
    for layer, (x, y) in inputs.items():
        assert relative(model.network.get_submodule(layer)(x), y) <= LAYER_TOLERANCE, layer
    integer = forwards(model, asked)
    assert relative(integer, simulated) <= FORWARD_TOLERANCE
    assert relative(integer, full) <= 1.05 * relative(simulated, full)


@pytest.mark.slow
@pytest.mark.parametrize("backend", sorted(SAME_TO_THE_BIT))
@pytest.mark.parametrize("name", EVERY_KIND)
def test_what_is_simulated_is_what_integers_give_to_the_bit(calibrated, quantized, name, backend):
    model, _ = quantized(name)
    simulated = forwards(model, calibrated[1])
    report = use_integer(model.network, backend)
    if report["backend"].isna().all():
        pytest.skip(report["reason"].iloc[0])
    assert report["backend"].notna().all()
    assert torch.equal(forwards(model, calibrated[1]), simulated)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["w8a8_sqs", "w8a8_sqd"])
def test_the_integer_form_of_this_processor_folds_nothing_that_it_divides_on_the_way(calibrated, quantized, name):
    model, recipe = quantized(name)
    simulated = forwards(model, calibrated[1])
    said, backends, line = use_compute(model.network, recipe, "integer")
    if set(backends.values()) != {"native"}:
        pytest.skip(f"another backend is the fastest here: {line}")
    assert said == "integer"
    assert "folded" not in line
    assert torch.equal(forwards(model, calibrated[1]), simulated)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["w8a8_sqs", "w4a8_sqs", "w4a8_svdquant"])
def test_folded_smoothing_stays_within_a_hundredth_of_the_simulated_form(
    mini, calibrated, quantized, name, monkeypatch
):
    monkeypatch.setattr("audioptq.generate.compute.use_integer", lambda network: use_integer(network, "reference"))
    asked = calibrated[1]
    model, recipe = quantized(name)
    full, simulated = forwards(mini, asked), forwards(model, asked)
    said, _, line = use_compute(model.network, recipe, "integer")
    assert said == "integer"
    # Heads of mini share their values in pairs, and the prompt is no block's own.
    assert "smoothing folded away in 40 of 56 layers that have it; 8 divide, since" in line
    folded = forwards(model, asked)
    assert relative(folded, simulated) <= FORWARD_TOLERANCE
    assert relative(folded, full) <= 1.05 * relative(simulated, full)


@pytest.mark.parametrize("wanted", ["simulated", "integer"])
def test_only_layers_on_integers_are_folded(quantized, wanted, monkeypatch):
    entry = ENTRIES["w8a8_sqs"] | {"layers": {"overrides": {"*.to_out": {"weight": None}}}}
    monkeypatch.setattr("audioptq.generate.compute.use_integer", lambda network: use_integer(network, "reference"))
    monkeypatch.setitem(ENTRIES, "mixed", entry)
    model, recipe = quantized("mixed")
    _, _, line = use_compute(model.network, recipe, wanted)
    smoothed = {
        name for name, layer in model.network.named_modules() if getattr(layer, "smooth_scale", None) is not None
    }
    assert ("folded away in 32 of 40 layers" in line) == (wanted == "integer")
    endings = ("to_out", "to_kv") if wanted == "integer" else ""
    assert smoothed == {name for name in quantized_layers(model) if name.endswith(endings)}


@pytest.mark.parametrize(
    ("name", "wanted", "label"),
    [
        ("w4a8_rtn", "simulated", "simulated"),
        ("w4a8_rtn", "integer", "integer"),
        ("w8a16", "integer", "float"),
        ("fp32", "integer", "float"),
    ],
)
def test_what_ran_is_what_is_reported(quantized, name, wanted, label, monkeypatch):
    monkeypatch.setattr(
        "audioptq.generate.compute.use_integer", lambda network: use_integer(network, "reference")
    )  # on any processor
    model, recipe = quantized(name)
    said, backends, line = use_compute(model.network, recipe, wanted)
    assert said == label
    assert set(backends) == (quantized_layers(model) if label == "integer" else set())
    assert line.startswith(f"compute {label}")
    assert ("quantized layers multiply integers" in line) == (wanted == "integer")


def test_a_model_in_part_on_integers_is_not_called_integer(mini, monkeypatch):
    monkeypatch.setattr("audioptq.generate.compute.use_integer", lambda network: use_integer(network, "reference"))
    model = copy.deepcopy(mini)
    entry = {
        "weight": {"bits": 8},
        "activation": {"bits": 8},
        "layers": {"overrides": {"*.to_out": {"activation": None}}},
    }
    recipe = QuantRecipe.from_config("mixed", entry)
    quantize_model(model.network, recipe, None, model.sites())
    said, backends, line = use_compute(model.network, recipe, "integer")
    assert said == "simulated"
    assert 0 < len(backends) < len(quantized_layers(model))
    assert "in float, since one operand is not quantized" in line


@pytest.fixture
def every_layer_is_large(monkeypatch):
    """As in Stable Audio Open; mini's layers are so small that what is packed is kept anyway."""
    monkeypatch.setattr("audioptq.quantize.layers.stored_weight.KEPT_WEIGHTS", 0)
    monkeypatch.setattr("audioptq.generate.compute.use_integer", lambda network: use_integer(network, "reference"))


@pytest.mark.parametrize(
    ("keep_weights", "room", "said"),
    [
        ("never", 100.0, ""),
        ("always", 1.0, "packed weights of 56 layers kept in "),
        ("always", None, "packed weights of 56 layers kept in "),
        ("auto", 2.0, "packed weights of 56 layers kept in "),
        ("auto", 1.9, "weights of 56 layers packed at each call, not kept in "),
        ("auto", None, "weights of 56 layers packed at each call, not kept in "),
    ],
)
@pytest.mark.usefixtures("every_layer_is_large")
def test_weights_are_kept_as_asked_where_there_is_room(quantized, monkeypatch, keep_weights, room, said):
    model, recipe = quantized("w4a8_rtn")
    layers = [model.network.get_submodule(name) for name in quantized_layers(model)]
    n_bytes = sum(layer.out_features * layer.in_features for layer in layers)
    for module in ("audioptq.generate.compute", "audioptq.machine.memory"):
        monkeypatch.setattr(f"{module}.available_bytes", lambda: None if room is None else int(room * n_bytes))
    _, _, line = use_compute(model.network, recipe, "integer", keep_weights)
    kept = {layer.keep for layer in model.network.modules() if hasattr(layer, "keep")}
    assert kept == {"kept in" in said and "not kept" not in said}
    assert line.partition("; ")[2].startswith(said)
    assert bool(line.partition("; ")[2]) == bool(said)


@pytest.mark.usefixtures("every_layer_is_large")
def test_weights_that_do_not_fit_are_not_kept_by_force(quantized, monkeypatch):
    model, recipe = quantized("w4a8_rtn")
    monkeypatch.setattr("audioptq.machine.memory.available_bytes", lambda: 1000)
    with pytest.raises(UserError, match=r"Keeping packed weights of 56 layers needs .* packed at each call"):
        use_compute(model.network, recipe, "integer", "always")


@pytest.mark.usefixtures("every_layer_is_large")
@pytest.mark.parametrize("name", ["w4a8_sqs", "w4a8_sqd"])
def test_a_pass_is_the_same_to_the_bit_whether_weights_are_kept_or_not(calibrated, quantized, name):
    passes = []
    for keep_weights in ("never", "always"):
        model, recipe = quantized(name)
        use_compute(model.network, recipe, "integer", keep_weights)
        passes.append(forwards(model, calibrated[1][:2]))
        n_kept = sum(getattr(layer, "_packed", None) is not None for layer in model.network.modules())
        # With smoothing per timestep no packed weight serves twice.
        assert (n_kept == 56) == (keep_weights == "always" and name == "w4a8_sqs")
    assert torch.equal(*passes)


def test_a_model_of_small_layers_has_nothing_more_to_keep(quantized):
    model, recipe = quantized("w4a8_rtn")
    assert use_compute(model.network, recipe, "integer", "auto")[2].endswith("no layer packs its weight at each call")
