import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import read_tensor_metadata, read_tensors, write_tensors
from audioptq.quantize import QuantRecipe, load_quantized, quantize_model, save_quantized
from audioptq.site import linear_sites

LORA = {
    "weight": {"bits": 4},
    "activation": {"bits": 8, "range": "static"},
    "smoothing": {"kind": "grouped", "groups": 2},
    "low_rank": {"rank": 2},
}


@pytest.fixture
def saved(model, candidates, stats, components, tmp_path):
    """Saves the model under a recipe; returns the path and the size record."""

    def save(recipe: QuantRecipe):
        quantize_model(model, recipe, stats, linear_sites(candidates))
        path = tmp_path / f"{recipe.name}.safetensors"
        return path, save_quantized(path, model, recipe, components=components, metadata={"model": "toy"})

    return save


@pytest.fixture
def fresh(model):
    torch.manual_seed(99)
    return type(model)().eval().requires_grad_(False)


def test_a_file_gives_back_the_very_same_model(named_entry, model, candidates, stats, x, components, fresh, tmp_path):
    recipe = QuantRecipe.from_config(*named_entry)
    clock, _ = quantize_model(model, recipe, stats, linear_sites(candidates))
    path = tmp_path / "weights.safetensors"
    size = save_quantized(path, model, recipe, components=components, metadata={"model": "toy"})
    loaded_clock, loaded_recipe = load_quantized(path, fresh)

    assert loaded_recipe == recipe
    assert (clock is None) == (loaded_clock is None) == (not recipe.needs_calibration)
    outputs = []
    for sigma in stats.levels.values:
        for each in (clock, loaded_clock):
            if each is not None:
                each.set_level(sigma)
        outputs.append(model(x))
        assert torch.equal(fresh(x), outputs[-1])
    depends_on_time = recipe.smoothing is not None and recipe.smoothing.kind != "static"
    assert torch.equal(outputs[0], outputs[-1]) != depends_on_time

    assert size["total"] == path.stat().st_size == sum(size["parts"].values())
    assert sum(size["components"].values()) + size["parts"]["header"] == size["total"]


def test_saving_what_was_loaded_gives_the_same_file(saved, fresh, components, tmp_path):
    recipe = QuantRecipe.from_config("lora", LORA)
    path, size = saved(recipe)
    load_quantized(path, fresh)
    again = tmp_path / "again.safetensors"
    assert save_quantized(again, fresh, recipe, components=components, metadata={"model": "toy"}) == size
    assert again.read_bytes() == path.read_bytes()


def test_tensors_have_the_names_and_types_of_the_contract(saved, candidates):
    path, _ = saved(QuantRecipe.from_config("lora", LORA))
    tensors, metadata = read_tensors(path)
    name = "denoiser.blocks.0.ff.0"
    found = {key.removeprefix(f"{name}."): (t.dtype, tuple(t.shape)) for key, t in tensors.items() if name in key}
    assert found == {
        "qdata": (torch.uint8, (48, 12)),
        "scale": (torch.float32, (48, 1)),
        "smooth_scale": (torch.float16, (2, 24)),
        "smooth_row": (torch.int16, (6,)),
        "act_scale": (torch.float32, (2,)),
        "low_rank.a": (torch.float16, (24, 2)),
        "low_rank.b": (torch.float16, (48, 2)),
        "bias": (torch.float16, (48,)),
    }
    assert tensors["conditioner.weight"].dtype == torch.float16
    assert tensors["pretransform.powers"].dtype == torch.float32
    assert tensors["pretransform.order"].dtype == torch.int64
    assert metadata["format_version"] == 3
    assert metadata["model"] == "toy"
    assert metadata["layers"][name] == {"kind": "linear", "shape": [48, 24]}
    assert sorted(metadata["layers"]) == sorted(candidates)
    assert (metadata["objective"], len(metadata["levels"])) == ("v", 6)


def test_every_byte_is_counted_under_its_part(saved):
    _, size = saved(QuantRecipe.from_config("lora", LORA))
    linears = 2 * [(72, 24), (48, 24), (24, 48), (24, 24)]
    biases = 2 * (48 + 24 + 24)
    assert size["parts"]["qdata"] == sum(out * width // 2 for out, width in linears)
    assert size["parts"]["scale"] == sum(4 * out + 4 * 2 for out, _ in linears)
    assert size["parts"]["smooth_scale"] == sum(2 * 2 * width + 2 * 6 for _, width in linears)
    assert size["parts"]["low_rank"] == sum(2 * 2 * (out + width) for out, width in linears)
    assert size["parts"]["full_precision"] == 0
    norms, conditioner, pretransform = 2 * 2 * 24, 5 * 24 + 24, 4 * 10 + 8 * 7
    assert size["parts"]["rest"] == 2 * (biases + norms + conditioner) + pretransform
    assert size["components"]["conditioner"] == 2 * conditioner
    assert size["components"]["pretransform"] == pretransform
    assert size["denoiser_fp32"] == 4 * (sum(out * width for out, width in linears) + biases + norms)
    assert size["kept_float32"] == 1


def test_the_simulated_form_pays_for_the_weight_it_needs(saved):
    entry = {"weight": {"bits": 4}, "smoothing": {"kind": "timestep", "form": "simulated"}}
    _, size = saved(QuantRecipe.from_config("sim", entry))
    assert size["parts"]["qdata"] == 0
    assert size["parts"]["full_precision"] == 4 * 2 * (72 * 24 + 48 * 24 + 24 * 48 + 24 * 24)


@pytest.mark.parametrize(("bits", "ratio"), [(8, 0.27), (4, 0.14)])
def test_large_layers_shrink_with_their_bits(bits, ratio, candidates, components, model, tmp_path):
    torch.manual_seed(0)
    large = type(model)(width=256, blocks=2)
    recipe = QuantRecipe.from_config("w", {"weight": {"bits": bits}})
    quantize_model(large, recipe, None, linear_sites(candidates))
    size = save_quantized(tmp_path / "w.safetensors", large, recipe, components=components, metadata={})
    assert size["components"]["denoiser"] <= ratio * size["denoiser_fp32"]


def test_tied_tensors_can_be_saved(model, candidates, components, fresh, x, tmp_path):
    model.denoiser["blocks"][1].norm.weight = model.denoiser["blocks"][0].norm.weight
    recipe = QuantRecipe("fp32")
    quantize_model(model, recipe, None, linear_sites(candidates))
    save_quantized(tmp_path / "w.safetensors", model, recipe, components=components, metadata={})
    load_quantized(tmp_path / "w.safetensors", fresh)
    assert torch.equal(fresh(x), model(x))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_named_as_damaged(saved, fresh, share):
    path, _ = saved(QuantRecipe.from_config("lora", LORA))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DamagedArtifactError, match=re.escape(str(path))):
        load_quantized(path, fresh)


def test_an_absent_file_is_named(fresh, tmp_path):
    with pytest.raises(DamagedArtifactError, match=re.escape(str(tmp_path / "none.safetensors"))):
        load_quantized(tmp_path / "none.safetensors", fresh)


def test_a_file_of_another_kind_is_named(fresh, tmp_path):
    write_tensors(tmp_path / "other.safetensors", {"x": torch.ones(2)}, {"kind": "something else"})
    with pytest.raises(DamagedArtifactError, match=r"other\.safetensors"):
        load_quantized(tmp_path / "other.safetensors", fresh)


@settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_flipped_bit_passes(data, saved, fresh):
    path, size = saved(QuantRecipe.from_config("fp32", {}))
    content = bytearray(path.read_bytes())
    header = size["parts"]["header"]
    in_header = data.draw(st.booleans())
    position = data.draw(st.integers(0, header - 1) if in_header else st.integers(header, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    with pytest.raises(DamagedArtifactError, match=re.escape(str(path))):
        load_quantized(path, fresh)
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.state_dict().items())


def test_a_bit_of_the_seal_s_own_name_counts(saved, fresh):
    path, _ = saved(QuantRecipe.from_config("fp32", {}))
    path.write_bytes(path.read_bytes().replace(b"audioptq-sha256:", b"audioptq-sha356:"))
    with pytest.raises(DamagedArtifactError, match="carries no digest"):
        load_quantized(path, fresh)


def test_another_format_version_is_refused(saved, fresh):
    path, _ = saved(QuantRecipe.from_config("fp32", {}))
    tensors, metadata = read_tensors(path)
    write_tensors(path, tensors, metadata | {"format_version": 4})
    with pytest.raises(UserError, match=r"format version 4.*reads 2 and 3.*audioptq quantize"):
        load_quantized(path, fresh)


@pytest.mark.parametrize(
    ("entry", "change"),
    [
        (LORA, "narrower"),
        (LORA, "fewer"),
        (LORA, "more"),
        ({}, "narrower"),
        ({}, "fewer"),
        ({}, "more"),
        ({"dtype": "bfloat16"}, "narrower"),
        ({"dtype": "bfloat16"}, "fewer"),
    ],
)
def test_a_model_of_another_architecture_is_refused(saved, model, entry, change):
    path, _ = saved(QuantRecipe.from_config("r", entry))
    sizes = {"narrower": {"width": 12}, "fewer": {"blocks": 1}, "more": {"blocks": 3}}[change]
    with pytest.raises(UserError, match=r"does not fit this model: .*(blocks|conditioner)"):
        load_quantized(path, type(model)(**sizes))


def test_a_layer_of_another_kind_is_refused(saved, fresh):
    path, _ = saved(QuantRecipe.from_config("r", {"weight": {"bits": 8}}))
    fresh.denoiser["blocks"][0].out = nn.Identity()
    with pytest.raises(UserError, match=r"blocks\.0\.out, linear of \(24, 24\), where the model has Identity"):
        load_quantized(path, fresh)


def test_the_format_keeps_its_own_keys(saved, model, components, tmp_path):
    path, _ = saved(QuantRecipe("fp32"))
    assert read_tensor_metadata(path)["recipe_name"] == "fp32"
    with pytest.raises(ValueError, match="layers"):
        save_quantized(tmp_path / "x", model, QuantRecipe("fp32"), components=components, metadata={"layers": 3})
