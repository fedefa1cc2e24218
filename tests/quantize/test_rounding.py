"""Roundings are found as files; the clip of least squared error is the best of its grid, and never worse than nearest."""

import subprocess
import sys

import pytest
import torch

from audioptq.errors import UserError
from audioptq.quantize import QuantRecipe, WeightSpec
from audioptq.quantize.arithmetic.granularity import weight_granularity
from audioptq.quantize.arithmetic.primitives import qmax
from audioptq.quantize.rounding import round_weight, roundings
from audioptq.quantize.rounding.mse import CLIPS

# Per tensor, per channel, groups with all their taps (the last smaller), parts.
OF_MATRIX = {
    "per_tensor": ({}, {}),
    "per_channel": ({}, {}),
    "per_group": ({"group_size": 2}, {"taps": 3}),
    "per_concat_group": ({}, {"taps": 3, "parts": (4, 3)}),
}
COLUMNS = {"per_tensor": [21], "per_channel": [21], "per_group": [6, 6, 6, 3], "per_concat_group": [12, 9]}


@pytest.fixture
def weight():
    """Heavy tails, where clips pay; a row of zeros and a row of one size, where all clips but the largest lose."""
    normal = torch.randn(5, 21, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    weight = normal.sign() * normal.abs() ** 1.5
    weight[3], weight[4] = 0, 0.7
    return weight


def rounded(weight, rounding, bits, granularity):
    """The dequantized weight, and the scales as stored."""
    of_spec, of_site = OF_MATRIX[granularity]
    spec = WeightSpec(bits, granularity, **of_spec, rounding=rounding)
    by = weight_granularity(spec, **of_site)
    qdata, scale = round_weight(weight, spec, by, None)
    assert qdata.dtype == torch.int8
    assert qdata.shape == weight.shape
    assert qdata.abs().max() <= qmax(bits)
    assert scale.shape == by.absmax(weight).shape
    assert scale.dtype == weight.dtype
    return qdata * by.spread(scale, weight.shape), scale


def sets_of(matrix, granularity):
    """The sets of weights that share a scale, one after the other as the scales are."""
    if granularity == "per_tensor":
        return [matrix.flatten()]
    return [part for row in matrix for part in row.split(COLUMNS[granularity])]


def test_nearest_rounds_to_the_nearest_of_evenly_spaced_values(weight):
    dequantized, scale = rounded(weight, "nearest", 4, "per_channel")
    steps = torch.arange(-7, 8, dtype=torch.float64)
    for row, got, step in zip(weight, dequantized, scale, strict=True):
        grid = steps * step
        distance = (row[:, None] - grid).abs().amin(1)
        torch.testing.assert_close((row - got).abs(), distance, rtol=0, atol=1e-14)
    assert torch.equal(scale[0], weight[0].abs().amax(keepdim=True) / 7)


@pytest.mark.parametrize("granularity", OF_MATRIX)
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_mse_takes_the_best_clip_of_every_set(weight, bits, granularity):
    dequantized, scale = rounded(weight, "mse", bits, granularity)
    of_nearest, _ = rounded(weight, "nearest", bits, granularity)
    top = qmax(bits)
    for exact, got, nearest, step in zip(
        *(sets_of(matrix, granularity) for matrix in (weight, dequantized, of_nearest)), scale.flatten(), strict=True
    ):
        if not exact.any():
            assert step == 1
            assert not got.any()
            continue
        errors = []
        for clip in CLIPS:
            delta = clip * exact.abs().max() / top
            errors.append(((exact / delta).round().clamp(-top, top) * delta - exact).square().sum().item())
        best = min(range(len(CLIPS)), key=errors.__getitem__)  # the first, so the largest, of ties
        # Sums of a few values in float64, in another order.
        assert (got - exact).square().sum().item() == pytest.approx(errors[best], rel=1e-12, abs=1e-28)
        assert step.item() == pytest.approx(CLIPS[best] * exact.abs().max().item() / top, rel=1e-12)
        assert (got - exact).square().sum() <= (nearest - exact).square().sum()


@pytest.mark.parametrize("granularity", OF_MATRIX)
def test_mse_of_a_few_channels_at_a_time_is_the_same(weight, granularity, monkeypatch):
    whole = rounded(weight, "mse", 4, granularity)
    monkeypatch.setattr("audioptq.quantize.rounding.mse.WEIGHTS_AT_ONCE", 2 * weight.shape[1])
    parts = rounded(weight, "mse", 4, granularity)
    assert torch.equal(whole[0], parts[0])
    assert torch.equal(whole[1], parts[1])


def test_mse_gains_where_it_should(weight):
    def error(rounding, bits):
        return (rounded(weight[:3], rounding, bits, "per_channel")[0] - weight[:3]).square().sum().item()

    assert error("mse", 4) < 0.95 * error("nearest", 4)
    assert error("mse", 2) < 0.7 * error("nearest", 2)


def test_a_tie_goes_to_the_larger_clip():
    # One value per row lies on the grid of every clip only at the largest; zeros and one size have no error there.
    _, scale = rounded(torch.tensor([[3.5, -3.5, 0.0] * 7]), "mse", 4, "per_channel")
    assert scale.item() == 0.5


def test_float32_weights_stay_float32():
    weight = torch.randn(4, 21, generator=torch.Generator().manual_seed(1))
    assert rounded(weight, "mse", 4, "per_channel")[1].dtype == torch.float32


def test_the_files_of_the_folder_are_the_legal_values(tmp_path):
    assert roundings().keys() >= {"nearest", "mse"}
    (tmp_path / "toy.py").write_text('"""A toy."""\n\nimport no_such_package\n\nNEEDS = ("range", "mean")\n')
    (tmp_path / "helper.py").write_text('"""No rounding."""\n')
    assert roundings(tmp_path) == {"toy": ("range", "mean")}
    with pytest.raises(UserError, match=r"rounding.*'nearst'.*Did you mean 'nearest'"):
        WeightSpec(8, rounding="nearst")


def test_finding_them_imports_no_torch():
    code = "import sys; from audioptq.quantize.rounding import roundings; roundings(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_simulated_form_rounds_to_nearest_alone():
    entry = {"weight": {"bits": 4, "rounding": "mse"}, "smoothing": {"kind": "timestep", "form": "simulated"}}
    with pytest.raises(UserError, match=r"recipes.r.weight.rounding` is mse beside `smoothing.form: simulated`"):
        QuantRecipe.from_config("r", entry)
    entry["smoothing"]["form"] = "stored"
    QuantRecipe.from_config("r", entry)
