import pytest
import torch

from audioptq.quantize import ActivationSpec, WeightSpec
from audioptq.quantize.arithmetic.granularity import (
    PerAxes,
    PerConcatGroup,
    PerGroup,
    PerToken,
    act_granularity,
    weight_granularity,
)
from audioptq.quantize.layers.stored_weight import quantize_weight, weight_scale

WEIGHT = torch.randn(6, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.logspace(-1, 1, 20)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (WeightSpec(8, "per_tensor"), (1, 1)),
        (WeightSpec(8, "per_channel"), (6, 1)),
        (WeightSpec(8, "per_group", group_size=5), (6, 4)),
        (WeightSpec(8, "per_group", group_size=8), (6, 3)),
        (WeightSpec(8, "per_group", group_size=64), (6, 1)),
        (WeightSpec(8, "per_concat_group", concat_channels=(15, 5)), (6, 2)),
    ],
    ids=["per_tensor", "per_channel", "per_group", "ragged_group", "one_group", "per_concat_group"],
)
def test_scales_cover_their_sets_exactly(spec, shape):
    assert weight_scale(WEIGHT, spec).shape == shape
    qdata, scale = quantize_weight(WEIGHT, spec)
    # Every set uses its whole range and nothing is clipped.
    assert qdata.abs().max() == 127
    assert ((qdata * scale - WEIGHT).abs() <= scale / 2 * (1 + 1e-12)).all()


def test_groups_are_the_channels_they_say():
    scales = PerGroup(8).absmax(WEIGHT)
    parts = PerConcatGroup((15, 5)).absmax(WEIGHT)
    assert torch.equal(scales[:, 2], WEIGHT[:, 16:].abs().amax(1))
    assert torch.equal(parts[:, 1], WEIGHT[:, 15:].abs().amax(1))
    assert torch.equal(PerGroup(8).spread(scales, WEIGHT.shape)[:, 15], scales[:, 1])
    assert torch.equal(PerConcatGroup((15, 5)).spread(parts, WEIGHT.shape)[:, 14:16], parts)


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_finer_granularity_loses_less(bits):
    specs = [
        WeightSpec(bits, "per_tensor"),
        WeightSpec(bits, "per_channel"),
        WeightSpec(bits, "per_group", group_size=10),
        WeightSpec(bits, "per_group", group_size=5),
    ]
    errors = []
    for spec in specs:
        qdata, scale = quantize_weight(WEIGHT, spec)
        errors.append((qdata * scale - WEIGHT).square().mean().item())
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("granularity", "shape"), [("per_token", (2, 3, 1)), ("per_tensor", (2, 1, 1)), ("per_channel", (2, 1, 4))]
)
def test_live_ranges_never_mix_the_clips_of_a_batch(granularity, shape):
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    measure = act_granularity(ActivationSpec(8, "dynamic", granularity)).absmax
    assert measure(x).shape == shape
    louder = torch.stack([x[0], 100 * x[1]])
    assert torch.equal(measure(louder)[0], measure(x)[0])


def test_every_weight_granularity_of_the_recipe_is_known():
    assert weight_granularity(WeightSpec(8, "per_group", group_size=4)) == PerGroup(4)
    assert weight_granularity(WeightSpec(8, "per_concat_group", concat_channels=[4, 2])) == PerConcatGroup((4, 2))


@pytest.mark.parametrize("granularity", [PerAxes(()), PerAxes((0,)), PerAxes((0, -1)), PerAxes((0, 1, 2)), PerToken()])
def test_absmax_is_the_largest_magnitude(granularity):
    x = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(3))
    x[0, 0], x[1, 4, 6] = 0, -9.0
    kept = {axis % 3 for axis in granularity.axes} if isinstance(granularity, PerAxes) else {0, 1}
    expected = x.abs().amax([axis for axis in range(3) if axis not in kept], keepdim=True) if len(kept) < 3 else x.abs()
    assert torch.equal(granularity.absmax(x), expected)
    x[1, 2, 3] = float("nan")
    assert granularity.absmax(x).isnan().any()
