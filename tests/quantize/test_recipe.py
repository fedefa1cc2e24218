import dataclasses
import subprocess
import sys

import pytest

import audioptq.quantize
from audioptq.errors import UserError
from audioptq.quantize import ActivationSpec, LayerRecipe, QuantRecipe, WeightSpec

W8 = {"bits": 8}
STATIC = {"bits": 8, "range": "static"}


def read(**entry) -> QuantRecipe:
    return QuantRecipe.from_config("mine", entry)


def test_a_recipe_survives_its_own_config(named_entry):
    recipe = QuantRecipe.from_config(*named_entry)
    again = QuantRecipe.from_config(recipe.name, recipe.to_config())
    assert again == recipe
    assert again.digest == recipe.digest
    layer = recipe.for_layer("denoiser.blocks.1.ff.0")
    assert LayerRecipe.from_config(layer.to_config(), "layer") == layer


@pytest.mark.parametrize(
    ("name", "weight_bits", "act_bits", "compute", "needs_calibration", "rest_dtype"),
    [
        ("fp32", 32, 32, "float", False, "float32"),
        ("bf16", 16, 16, "float", False, "bfloat16"),
        ("w8a16", 8, 16, "float", False, "float16"),
        ("w8a8_rtn", 8, 8, "simulated", False, "float16"),
        ("w4a8_sqs", 4, 8, "simulated", True, "float16"),
        ("w4a4_sqd_lora", 4, 4, "simulated", True, "float16"),
        ("w4a8_sqd_sim", 4, 8, "simulated", True, "float16"),
    ],
)
def test_what_the_table_says_of_a_recipe(
    published, name, weight_bits, act_bits, compute, needs_calibration, rest_dtype
):
    recipe = QuantRecipe.from_config(name, published[name])
    assert (recipe.weight_bits, recipe.act_bits, recipe.compute) == (weight_bits, act_bits, compute)
    assert recipe.needs_calibration == needs_calibration
    assert recipe.rest_dtype == rest_dtype


def test_an_empty_entry_is_full_precision():
    assert QuantRecipe.from_config("fp32", None) == QuantRecipe("fp32")


def test_the_digest_is_of_the_parameters_alone():
    assert read(weight=W8).digest == QuantRecipe.from_config("other", {"weight": W8}).digest
    assert read(weight=W8).digest != read(weight={"bits": 4}).digest


def test_the_text_encoders_dtype_counts_only_where_it_is_set():
    assert "text_dtype" not in read(weight=W8).to_config()
    assert read(weight=W8, text_dtype=None).digest == read(weight=W8).digest
    # Of the recipe as it was before the axis existed: files made then stay valid.
    assert QuantRecipe("fp32").digest == "97eb6688" + QuantRecipe("fp32").digest[8:]
    single = read(weight=W8, text_dtype="float32")
    assert single.to_config()["text_dtype"] == "float32"
    assert len({single.digest, read(weight=W8, text_dtype="float16").digest, read(weight=W8).digest}) == 3
    assert QuantRecipe.from_config("mine", single.to_config()) == single


def test_a_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        read(weight=W8).dtype = "bfloat16"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"weight": {"bits": 5}}, ["`recipes.mine.weight.bits`", "5", "8, 4, 3, 2"]),
        ({"weight": {"bits": "8"}}, ["`recipes.mine.weight.bits`", "'8'", "without quotes"]),
        ({"weight": {"bits": True}}, ["`recipes.mine.weight.bits`", "True"]),
        ({"weight": {"bits": [8]}}, ["`recipes.mine.weight.bits`", "[8]"]),
        ({"weight": {}}, ["`recipes.mine.weight.bits`", "missing", "8, 4, 3, 2"]),
        ({"weight": 8}, ["`recipes.mine.weight`", "mapping", "granularity"]),
        ({"weights": W8}, ["`recipes.mine.weights`", "Did you mean 'weight'"]),
        ({"weight": W8 | {"granularity": "per_chanel"}}, ["weight.granularity", "Did you mean 'per_channel'"]),
        ({"weight": W8 | {"granularity": "per_group"}}, ["`recipes.mine.weight.group_size`", "missing"]),
        ({"weight": W8 | {"group_size": 64}}, ["`recipes.mine.weight.group_size`", "granularity: per_group"]),
        ({"weight": W8 | {"granularity": "per_group", "group_size": 0}}, ["weight.group_size", "at least 1"]),
        (
            {"weight": W8 | {"concat_channels": [3, 2]}},
            ["`recipes.mine.weight.concat_channels`", "is gone", "model says"],
        ),
        ({"weight": W8 | {"rounding": "newest"}}, ["`recipes.mine.weight.rounding`", "mse", "Did you mean 'nearest'"]),
        ({"activation": {"bits": 3}}, ["`recipes.mine.activation.bits`", "8, 4"]),
        ({"activation": STATIC | {"granularity": "per_token"}}, ["activation.granularity", "static", "per_tensor"]),
        ({"weight": W8, "smoothing": {"kind": "timestep", "alpha": 2}}, ["smoothing.alpha`", "from 0.0 to 1.0"]),
        ({"weight": W8, "smoothing": {"kind": "timestep", "alpha": float("nan")}}, ["smoothing.alpha`", "nan"]),
        ({"weight": W8, "smoothing": {"kind": "timestep", "alhpa": 0.5}}, ["smoothing.alhpa`", "'alpha'"]),
        ({"weight": W8, "smoothing": {"alpha": 0.5}}, ["`recipes.mine.smoothing.kind`", "timestep"]),
        ({"weight": W8, "smoothing": {"kind": "grouped"}}, ["`recipes.mine.smoothing.groups`", "missing"]),
        ({"weight": W8, "smoothing": {"kind": "static", "groups": 3}}, ["smoothing.groups`", "kind: grouped"]),
        ({"weight": W8, "smoothing": {"kind": "static", "form": "stored"}}, ["smoothing.form`", "timestep"]),
        ({"smoothing": {"kind": "static"}}, ["`recipes.mine.smoothing`", "changes nothing"]),
        ({"low_rank": {"rank": 8}}, ["`recipes.mine.low_rank`", "quantized weights"]),
        ({"weight": W8, "low_rank": {"of": "error"}}, ["`recipes.mine.low_rank.rank`", "missing"]),
        ({"weight": W8, "low_rank": {"rank": 8, "of": "eror"}}, ["low_rank.of`", "'error'"]),
        ({"text_dtype": "bfloat16"}, ["`recipes.mine.text_dtype`", "float16, float32"]),
        ({"dtype": "float16"}, ["`recipes.mine.dtype`", "float32, bfloat16"]),
        ({"layers": {"include": "*"}}, ["`recipes.mine.layers.include`", "list"]),
        ({"layers": {"only": []}}, ["`recipes.mine.layers.only`", "include, exclude, overrides"]),
        ({"layers": {"overrides": {"*.ff": {"bits": 8}}}}, ["`recipes.mine.layers.overrides.*.ff.bits`"]),
        ({"layers": {"overrides": {"*.ff": {"weight": {"bits": 9}}}}}, ["overrides.*.ff.weight.bits`", "8, 4, 3, 2"]),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[0].strip("`").replace("recipes.mine.", ""),
)
def test_a_mistake_is_named_with_its_place_and_its_cure(entry, words):
    with pytest.raises(UserError) as caught:
        read(**entry)
    for word in words:
        assert word in str(caught.value)


def test_specs_are_checked_in_code_as_they_are_in_a_config():
    with pytest.raises(UserError, match="bits"):
        WeightSpec(bits=5)
    with pytest.raises(UserError, match="granularity"):
        ActivationSpec(8, "static", "per_token")


def test_a_static_range_defaults_to_the_granularity_it_can_have():
    assert read(activation=STATIC).activation.granularity == "per_tensor"
    assert read(activation=W8).activation.granularity == "per_token"


def test_overrides_are_laid_over_the_recipe_and_the_longest_glob_wins():
    grouped = {"bits": 4, "granularity": "per_group", "group_size": 32}
    overrides = {
        "*.0.ff.in": {"activation": None},
        "*.ff.*": {"weight": {"bits": 8}},
        "*.head": {"weight": {"granularity": "per_channel"}},
        "*.tail": {"weight": None, "activation": None},
    }
    layers = {"overrides": overrides}
    recipe = read(weight=grouped, activation=W8, low_rank={"rank": 2}, layers=layers)
    assert recipe.for_layer("b.0.qkv").weight == WeightSpec(4, "per_group", 32)
    assert recipe.for_layer("b.1.ff.in").weight == WeightSpec(8, "per_group", 32)
    assert recipe.for_layer("b.1.ff.in").activation == ActivationSpec(8)
    assert recipe.for_layer("b.0.ff.in").activation is None
    assert recipe.for_layer("b.0.ff.in").weight == WeightSpec(4, "per_group", 32)
    assert recipe.for_layer("b.head").weight == WeightSpec(4, "per_channel")
    assert not recipe.for_layer("b.tail").is_quantized
    reordered = {"overrides": dict(reversed(overrides.items()))}
    assert read(weight=grouped, activation=W8, low_rank={"rank": 2}, layers=reordered) == recipe


def test_ranges_are_needed_when_any_layer_needs_them():
    layers = {"overrides": {"*.ff": {"activation": STATIC | {"granularity": "per_tensor"}}}}
    assert read(weight=W8, activation=W8, layers=layers).needs() == {"range"}
    assert read(weight=W8, smoothing={"kind": "static"}).needs() == {"range"}
    assert read(weight=W8, activation=W8).needs() == set()


def test_a_rounding_s_needs_are_the_recipe_s(monkeypatch):
    needs = {"nearest": (), "mse": ("hessian", "mean")}
    monkeypatch.setattr("audioptq.quantize.recipe.recipe.roundings", lambda: needs)
    other = {"overrides": {"*.ff": {"weight": {"rounding": "mse"}}}}
    assert read(weight=W8 | {"rounding": "mse"}).needs() == {"hessian", "mean"}
    assert read(weight=W8, activation=STATIC, layers=other).needs() == {"hessian", "mean", "range"}
    assert read(weight=W8, activation=W8).needs() == set()


def test_reading_a_recipe_imports_no_torch():
    code = "import sys; from audioptq.quantize import QuantRecipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_is_there():
    for name in audioptq.quantize.__all__:
        assert getattr(audioptq.quantize, name).__name__ == name
    with pytest.raises(AttributeError, match="QuantLineer"):
        _ = audioptq.quantize.QuantLineer
