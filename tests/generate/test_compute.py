"""Generation on integers: mini's own network against its simulated form, and what is reported of it."""

import copy
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from audioptq.calibrate.run import calibrate
from audioptq.generate.compute import use_compute
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.quantize import QuantOp, QuantRecipe, quantize_model
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
    return {name for name, layer in model.network.named_modules() if isinstance(layer, QuantOp)}


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
    layers = {name: layer for name, layer in model.network.named_modules() if isinstance(layer, QuantOp)}
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
def test_native_gives_what_is_simulated_to_the_bit(calibrated, quantized, name):
    model, recipe = quantized(name)
    simulated = forwards(model, calibrated[1])
    said, backends, line = use_compute(model.network, recipe, "integer")
    if set(backends.values()) != {"native"}:
        pytest.skip(f"another backend multiplies here: {line}")
    assert said == "integer"
    assert torch.equal(forwards(model, calibrated[1]), simulated)


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
