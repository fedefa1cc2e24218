import pytest
import torch

from audioptq.quantize import ActivationSpec, WeightSpec
from audioptq.quantize.arithmetic.granularity import (
    PerAxes,
    PerGroup,
    PerPart,
    PerToken,
    act_granularity,
    weight_granularity,
)
from audioptq.quantize.rounding import round_weight

WEIGHT = torch.randn(6, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.logspace(-1, 1, 20)
PER_GROUP, PER_PART = WeightSpec(8, "per_group", group_size=2), WeightSpec(8, "per_concat_group")


@pytest.mark.parametrize(
    ("spec", "of_site", "shape"),
    [
        (WeightSpec(8, "per_tensor"), {"taps": 4}, (1, 1)),
        (WeightSpec(8, "per_channel"), {"taps": 4}, (6, 1)),
        (WeightSpec(8, "per_group", group_size=5), {}, (6, 4)),
        (WeightSpec(8, "per_group", group_size=8), {}, (6, 3)),
        (WeightSpec(8, "per_group", group_size=64), {}, (6, 1)),
        (PER_GROUP, {"taps": 2}, (6, 5)),
        (PER_GROUP, {"taps": 4}, (6, 3)),
        (PER_PART, {}, (6, 1)),
        (PER_PART, {"parts": (15, 5)}, (6, 2)),
        (PER_PART, {"parts": (3, 1, 1), "taps": 4}, (6, 3)),
    ],
    ids=lambda value: value.granularity if isinstance(value, WeightSpec) else None,
)
def test_scales_cover_their_sets_exactly(spec, of_site, shape):
    granularity = weight_granularity(spec, **of_site)
    qdata, scale = round_weight(WEIGHT, spec, granularity, None)
    assert scale.shape == granularity.sum(WEIGHT).shape == shape
    assert qdata.dtype == torch.int8
    # Every set uses its whole range and nothing is clipped.
    spread = granularity.spread(scale, WEIGHT.shape)
    assert (granularity.absmax(qdata.double()) == 127).all()
    assert ((qdata * spread - WEIGHT).abs() <= spread / 2 * (1 + 1e-12)).all()
    # Sums of ones count the elements of the sets.
    assert granularity.sum(torch.ones_like(WEIGHT)).sum() == WEIGHT.numel()


def test_groups_and_parts_are_the_columns_they_say():
    groups, parts = PerGroup(8), PerPart((15, 5))
    for measure, reduce in (("absmax", lambda x: x.abs().amax(1)), ("sum", lambda x: x.sum(1))):
        torch.testing.assert_close(getattr(groups, measure)(WEIGHT)[:, 2], reduce(WEIGHT[:, 16:]))
        torch.testing.assert_close(getattr(parts, measure)(WEIGHT)[:, 1], reduce(WEIGHT[:, 15:]))
    scales = groups.absmax(WEIGHT)
    assert torch.equal(groups.spread(scales, WEIGHT.shape)[:, 15], scales[:, 1])
    assert torch.equal(parts.spread(scales[:, :2], WEIGHT.shape)[:, 14:16], scales[:, :2])


def test_groups_and_parts_of_a_convolution_are_input_channels_with_all_their_taps():
    kernel = WEIGHT.reshape(6, 5, 2, 2)
    by_group = weight_granularity(PER_GROUP, taps=4).absmax(kernel.flatten(1))
    by_part = weight_granularity(PER_PART, taps=4, parts=(3, 2)).absmax(kernel.flatten(1))
    assert torch.equal(by_group[:, 1], kernel[:, 2:4].abs().amax((1, 2, 3)))
    assert torch.equal(by_part[:, 1], kernel[:, 3:].abs().amax((1, 2, 3)))


def test_an_input_of_one_part_is_one_set():
    assert weight_granularity(PER_PART) == weight_granularity(WeightSpec(8, "per_channel"))


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
        granularity = weight_granularity(spec)
        qdata, scale = round_weight(WEIGHT, spec, granularity, None)
        errors.append((qdata * granularity.spread(scale, WEIGHT.shape) - WEIGHT).square().mean().item())
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


@pytest.mark.parametrize("granularity", [PerAxes(()), PerAxes((0,)), PerAxes((0, -1)), PerAxes((0, 1, 2)), PerToken()])
def test_absmax_is_the_largest_magnitude(granularity):
    x = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(3))
    x[0, 0], x[1, 4, 6] = 0, -9.0
    kept = {axis % 3 for axis in granularity.axes} if isinstance(granularity, PerAxes) else {0, 1}
    expected = x.abs().amax([axis for axis in range(3) if axis not in kept], keepdim=True) if len(kept) < 3 else x.abs()
    assert torch.equal(granularity.absmax(x), expected)
    x[1, 2, 3] = float("nan")
    assert granularity.absmax(x).isnan().any()
