"""A compiled step against the plain one: two blocks of mini, by inductor on the CPU. Nothing here was run on a GPU."""

import copy
from pathlib import Path

import pytest
import torch
import yaml

from audioptq.calibrate.act_stats import ActStats, LayerStats
from audioptq.errors import UserError
from audioptq.generate.compiled import compile_blocks
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.quantize import QuantRecipe, quantize_model
from audioptq.quantize.integer import use_integer

REPOSITORY = Path(__file__).parents[2]
ENTRIES = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))["recipes"]
SIGMAS = (100.0, 10.0, 1.0)
# Norms round differently, by some 1e-7, and now and then that turns an activation by a step of 1/127 of its range.
TOLERANCE = 5e-3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_blocks():
    model = StableAudioModel.load(REPOSITORY / "models" / "mini")
    transformer = model.network.model.model.transformer
    transformer.layers = transformer.layers[:2]
    return model


def quantized(two_blocks, name):
    """The model quantized to a recipe, with ranges that change over the noise levels."""
    model, recipe = copy.deepcopy(two_blocks), QuantRecipe.from_config(name, ENTRIES[name])
    generator = torch.Generator().manual_seed(0)
    layers = {}
    for layer in model.quantizable_layers():
        shape = len(SIGMAS), model.network.get_submodule(layer).in_features
        absmax = 1 + 2 * torch.rand(shape, generator=generator)
        layers[layer] = LayerStats(absmax, -absmax, absmax)
    stats = ActStats(torch.tensor(SIGMAS), layers) if recipe.needs_calibration else None
    clock, _ = quantize_model(model.network, recipe, stats, model.quantizable_layers())
    if clock is not None:
        model.add_step_listener(clock.set_sigma)
    return model


def steps(model, caption):
    """A guided step at each noise level."""
    conditioning = model.condition([caption], [4.096])
    noise = torch.randn(1, *model.latent_shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return [
            model.denoise(noise * (1 + sigma**2) ** 0.5, torch.full((1,), sigma), conditioning, 3.0) for sigma in SIGMAS
        ]


@pytest.mark.parametrize("name", ["w4a8_sqs", "w4a8_sqd_lora"])
def test_compiled_steps_are_the_plain_ones(two_blocks, name):
    model = quantized(two_blocks, name)
    use_integer(model.network, "reference")
    model.once.is_on = True
    captions = ["a dog barks", "rain falls"]
    plain = [step for caption in captions for step in steps(model, caption)]
    assert model.network.get_submodule("model.model.transformer.layers.0.self_attn.to_qkv").rows == (
        1 if name == "w4a8_sqs" else len(SIGMAS)
    )
    torch._dynamo.utils.counters.clear()
    torch._dynamo.reset()
    assert compile_blocks(model) == "blocks compiled around 14 integer layers"
    compiled = [step for caption in captions for step in steps(model, caption)]
    for ours, theirs in zip(compiled, plain, strict=True):
        assert (ours - theirs).norm() <= TOLERANCE * theirs.norm()
    # Neither the timestep nor the prompt makes another graph, and nothing falls out of it.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]


def test_a_simulated_layer_is_refused(two_blocks):
    model = quantized(two_blocks, "w8a8_rtn")
    with pytest.raises(UserError, match="14 of 14 quantized layers are simulated here"):
        compile_blocks(model)
    assert "forward" not in vars(model.network.get_submodule("model.model.transformer.layers.0.self_attn.to_qkv"))
