"""Files of convolutions, as a stranger reads them; files of version 2; and values that no file of ours holds."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from audioptq.calibrate.act_stats import ActStats, LayerStats
from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import read_tensors, write_tensors
from audioptq.noise_levels import NoiseLevels
from audioptq.quantize import QuantRecipe, load_quantized, quantize_model, save_quantized
from audioptq.quantize.file.describe import describe
from audioptq.site import Part, Site

FORMAT = Path(__file__).parents[2] / "docs/format.md"
LEVELS = NoiseLevels("eps", [900.0, 500.0, 20.0])
PARTS = (Part("up", 8), Part("skip", 5))
RECIPES = {
    "w4_groups": {"weight": {"bits": 4, "granularity": "per_group", "group_size": 3}},
    "w4_parts": {"weight": {"bits": 4, "granularity": "per_concat_group"}},
    "w4_static": {"weight": {"bits": 4}, "activation": {"bits": 8, "range": "static"}, "smoothing": {"kind": "static"}},
    "w8_parts_lora": {
        "weight": {"bits": 8, "granularity": "per_concat_group"},
        "smoothing": {"kind": "static"},
        "low_rank": {"rank": 3},
    },
    "w3_timestep": {"weight": {"bits": 3}, "activation": {"bits": 8}, "smoothing": {"kind": "grouped", "groups": 2}},
    "sim": {"weight": {"bits": 4}, "smoothing": {"kind": "timestep", "form": "simulated"}},
    "bf16": {"dtype": "bfloat16"},
}


class Toy(nn.Module):
    """One layer of each kind, none of which fits another."""

    def __init__(self, channels: int = 13) -> None:
        super().__init__()
        self.denoiser = nn.ModuleDict(
            {
                "linear": nn.Linear(channels, 7),
                "conv1d": nn.Conv1d(channels, 6, 3, stride=2, padding=1),
                "conv2d": nn.Conv2d(channels, 5, (3, 2), padding="same", bias=False),
                "conv_transpose1d": nn.ConvTranspose1d(channels, 4, 4, stride=2, padding=1),
                "conv_transpose2d": nn.ConvTranspose2d(channels, 3, 3, output_padding=1, stride=2),
            }
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Outputs of all layers for an input `[batch, channels, height, width]`."""
        flat = x.flatten(2)
        given = {"linear": flat.mT, "conv1d": flat, "conv_transpose1d": flat}
        return [layer(given.get(name, x)) for name, layer in self.denoiser.items()]


@pytest.fixture
def saved(tmp_path):
    def save(name: str):
        torch.manual_seed(2)
        model = Toy().requires_grad_(False)
        sites = [Site(f"denoiser.{kind}", kind, PARTS) for kind in model.denoiser]
        absmax = 0.1 + torch.rand(3, 13)
        stats = ActStats(LEVELS, {site.name: LayerStats(absmax, -absmax, absmax) for site in sites})
        recipe = QuantRecipe.from_config(name, RECIPES[name])
        clock, _ = quantize_model(model, recipe, stats if recipe.needs_calibration else None, sites)
        path = tmp_path / f"{name}.safetensors"
        save_quantized(path, model, recipe, components={"denoiser.": "denoiser"}, metadata={"model": "toy"})
        return model, clock, path

    return save


@pytest.fixture
def x():
    return torch.randn(2, 13, 5, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", RECIPES)
def test_a_file_gives_back_the_very_same_layers(name, saved, x):
    model, clock, path = saved(name)
    fresh = Toy().requires_grad_(False)
    loaded_clock, _ = load_quantized(path, fresh)
    for level in LEVELS.values:
        for each in (clock, loaded_clock):
            if each is not None:
                assert each.levels == LEVELS
                each.set_level(level)
        for ours, theirs in zip(model(x), fresh(x), strict=True):
            assert torch.equal(ours, theirs)
    again = path.with_name("again")
    recipe = QuantRecipe.from_config(name, RECIPES[name])
    save_quantized(again, fresh, recipe, components={"denoiser.": "denoiser"}, metadata={"model": "toy"})
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ("w3_timestep", "sim", "bf16")])
def test_a_stranger_rebuilds_the_effective_weights(name, saved):
    model, _, path = saved(name)
    source = re.search(r"^```python\n(.*?)^```$", FORMAT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert source is not None
    assert "audioptq." not in source[1]
    reader: dict = {}
    exec(source[1], reader)
    tensors, record = reader["read"](path)
    assert list(record["layers"]) == [f"denoiser.{kind}" for kind in sorted(model.denoiser)]
    for layer in record["layers"]:
        theirs = reader["effective_weight"](tensors, record, layer)
        ours = model.get_submodule(layer).effective_weight(0)
        shape = record["layers"][layer]["shape"]
        assert theirs.shape == tuple(shape)
        np.testing.assert_allclose(theirs.reshape(shape[0], -1), ours.numpy(), rtol=1e-5, atol=1e-6)


def test_the_record_says_what_a_convolution_is(saved):
    _, _, path = saved("w4_parts")
    described = describe(path)
    assert described.record["layers"]["denoiser.conv2d"] == {
        "kind": "conv2d", "shape": [5, 13, 3, 2], "stride": [1, 1], "padding": [[1, 1], [0, 1]], "output_padding": [0, 0],
        "dilation": [1, 1], "parts": [["up", 8], ["skip", 5]],
    }  # fmt: skip
    assert described.record["layers"]["denoiser.linear"] == {
        "kind": "linear", "shape": [7, 13], "parts": [["up", 8], ["skip", 5]],
    }  # fmt: skip
    assert (described.record["objective"], described.record["levels"]) == (None, None)
    layers = {layer.name.removeprefix("denoiser."): layer for layer in described.layers}
    assert (layers["conv2d"].kind, layers["conv2d"].shape) == ("conv2d", (5, 78))
    assert layers["conv2d"].n_bytes == 5 * 39 + 4 * 5 * 2


@pytest.mark.parametrize(
    ("layer", "other"),
    [
        ("conv1d", nn.Conv1d(13, 6, 3, stride=1, padding=1)),
        ("conv2d", nn.Conv2d(13, 5, (2, 3), padding="same", bias=False)),
        ("conv_transpose1d", nn.ConvTranspose1d(13, 4, 4, stride=2)),
        ("linear", nn.Conv1d(13, 7, 1)),
    ],
)
def test_a_layer_of_another_geometry_is_refused(layer, other, saved):
    _, _, path = saved("w4_groups")
    fresh = Toy()
    fresh.denoiser[layer] = other
    with pytest.raises(
        UserError, match=rf"does not fit this model: the file holds a layer denoiser\.{layer}, .* where the model"
    ):
        load_quantized(path, fresh)


def minus_128(t):
    t.view(-1)[0] = -128


def nan(t):
    t.view(-1)[0] = float("nan")


def zero(t):
    t.view(-1)[0] = 0


def beyond(t):
    t[0] = 7


@pytest.mark.parametrize(
    ("name", "tensor", "change", "words"),
    [
        ("w8_parts_lora", "conv2d.qdata", minus_128, "qdata with -128"),
        ("w4_groups", "conv1d.scale", nan, "scale with values that are not finite"),
        ("w4_groups", "conv1d.scale", zero, "scale with a step that is not above zero"),
        ("w4_groups", "linear.scale", lambda t: t[:, :2].clone(), "scale of (7, 2) that should be [7, 5]"),
        ("w4_parts", "linear.scale", lambda t: t[:, :1].clone(), "scale of (7, 1) that should be [7, 2]"),
        ("w4_static", "linear.act_scale", lambda t: -t, "act_scale with a step that is not above zero"),
        ("w4_static", "linear.smooth_scale", zero, "smooth_scale with a step that is not above zero"),
        ("w4_static", "linear.smooth_scale", lambda t: t.float(), "smooth_scale in float32"),
        ("w4_static", "conv2d.qdata", lambda t: t.view(torch.int8).clone(), "qdata in int8"),
        ("w4_static", "conv2d.qdata", lambda t: t[:, 1:].clone(), "qdata of (5, 38) that should be [5, 39]"),
        ("w8_parts_lora", "conv2d.low_rank.a", nan, "low_rank.a with values that are not finite"),
        ("w8_parts_lora", "conv2d.low_rank.a", lambda t: t[1:].clone(), "low_rank.a of (77, 3) that should be [78, 3]"),
        ("w3_timestep", "linear.smooth_row", beyond, "smooth_row that names other rows than 2"),
        ("w3_timestep", "linear.smooth_row", lambda t: t[:2].clone(), "or other timesteps than 3"),
        ("sim", "conv1d.weight", nan, "weight with values that are not finite"),
        ("w4_groups", "conv1d.bias", nan, "bias with values that are not finite"),
        ("w4_groups", "conv1d.scale", None, "tensors ['qdata'] where the recipe needs"),
    ],
)
def test_values_that_no_file_of_ours_holds_are_damage(name, tensor, change, words, saved):
    _, _, path = saved(name)
    tensors, record = read_tensors(path)
    key = f"denoiser.{tensor}"
    if change is None:
        del tensors[key]
    else:
        changed = change(tensors[key])
        tensors[key] = tensors[key] if changed is None else changed
    write_tensors(path, tensors, record)  # with a seal that is right
    with pytest.raises(DamagedArtifactError) as caught:
        load_quantized(path, Toy())
    assert str(path) in str(caught.value)
    assert f"layer denoiser.{tensor.partition('.')[0]} has" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"levels": [3.0, 3.0, "x"]}, {"objective": "?"}, {"layers": {"denoiser.linear": {"kind": "linear"}}}, {"layers": 3},
        {"layers": {"denoiser.linear": {"kind": "dense", "shape": [7, 13]}}}, {"layers": {"denoiser.none": [7, 13]}},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_no_file_of_ours_holds_is_damage(change, saved):
    _, _, path = saved("w3_timestep")
    tensors, record = read_tensors(path)
    write_tensors(path, tensors, record | change)
    with pytest.raises(DamagedArtifactError, match=re.escape(str(path))):
        load_quantized(path, Toy())


def test_a_file_of_version_2_is_read(tmp_path):
    """Written by hand: two levels of sigma, a layer of 4 bits with a vector per level, and one that is left alone."""
    rng = np.random.default_rng(0)
    integers = rng.integers(-7, 8, (4, 5))
    padded = np.concatenate([integers & 15, np.zeros((4, 1), int)], 1)
    scale, bias = rng.uniform(0.1, 1, (4, 1)).astype("f4"), rng.normal(size=4).astype("f2")
    smooth, rest = rng.uniform(0.5, 2, (2, 5)).astype("f2"), rng.normal(size=(2, 4)).astype("f2")
    tensors = {
        "denoiser.a.qdata": (padded[:, ::2] | padded[:, 1::2] << 4).astype("u1"),
        "denoiser.a.scale": scale,
        "denoiser.a.bias": bias,
        "denoiser.a.smooth_scale": smooth,
        "denoiser.b.weight": rest,
    }
    weight = {"bits": 4, "granularity": "per_channel", "rounding": "nearest"}
    recipe = {
        "weight": weight,
        "activation": {"bits": 8, "range": "dynamic", "granularity": "per_token"},
        "smoothing": {"kind": "timestep", "alpha": 0.5, "form": "stored"},
        "layers": {"include": ["*"], "exclude": [], "overrides": {}},
        "dtype": "float32",
        "rest_dtype": "float16",
    }
    record = {
        "format_version": 2, "recipe_name": "old", "recipe": recipe, "layers": {"denoiser.a": [4, 5]}, "cast_layers": [],
        "sigmas": [80.0, 0.5], "components": {"denoiser.": "denoiser"}, "model": "toy",
    }  # fmt: skip
    path = tmp_path / "old.safetensors"
    write_tensors(path, tensors, record)
    model = nn.Module()
    model.denoiser = nn.ModuleDict({"a": nn.Linear(5, 4), "b": nn.Linear(4, 2, bias=False)}).requires_grad_(False)
    clock, read = load_quantized(path, model)
    assert clock is not None
    assert clock.levels == NoiseLevels("v", [80.0, 0.5])
    assert read.weight is not None
    assert read.weight.bits == 4
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    for s, level in zip(smooth.astype("f8"), (80.0, 0.5), strict=True):
        clock.set_level(level)
        smoothed = integers * scale * s
        step = np.abs(smoothed).max(1, keepdims=True) / 127
        steps = x.double().numpy() / s
        own = np.abs(steps).max(1, keepdims=True) / 127
        expected = np.rint(steps / own) * own @ (np.rint(smoothed / step) * step).T + bias
        np.testing.assert_allclose(model.denoiser["a"](x).numpy(), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(model.denoiser["b"].weight, torch.from_numpy(rest).float())
    described = describe(path)
    assert described.record["family"] is None
    assert described.layers[0].shape == (4, 5)
    recipe["weight"] = weight | {"granularity": "per_concat_group", "concat_channels": [3, 2]}
    write_tensors(path, tensors, record)
    with pytest.raises(UserError, match=r"version 2 .*`audioptq quantize MODEL RECIPE --output .*old\.safetensors`"):
        load_quantized(path, model)
