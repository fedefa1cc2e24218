import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audioptq.errors import UserError
from audioptq.quantize import SmoothingSpec
from audioptq.quantize.arithmetic.smooth import smooth_scale, smooth_table, to_fp16
from audioptq.quantize.arithmetic.timestep_groups import group_timesteps
from audioptq.quantize.layers.diagnostics import interaction_share

GENERATOR = torch.Generator().manual_seed(0)
ABSMAX = torch.rand(7, 12, generator=GENERATOR) * torch.logspace(-2, 3, 12)
WEIGHT = torch.randn(5, 12, generator=GENERATOR, dtype=torch.float64)
WEIGHT_ABSMAX = WEIGHT.abs().amax(0)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_equation_3(alpha):
    expected = ABSMAX.double().numpy() ** alpha / WEIGHT_ABSMAX.numpy() ** (1 - alpha)
    np.testing.assert_allclose(smooth_scale(ABSMAX, WEIGHT_ABSMAX, alpha).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "spec",
    [
        SmoothingSpec("static"),
        SmoothingSpec("timestep"),
        SmoothingSpec("grouped", groups=3),
        SmoothingSpec("static", 1.0),
    ],
    ids=["static", "timestep", "grouped", "alpha_1"],
)
def test_smoothing_leaves_the_product_unchanged(spec):
    x = torch.randn(9, 12, generator=GENERATOR, dtype=torch.float64) * ABSMAX[0].double()
    table, row_of_timestep = smooth_table(ABSMAX, WEIGHT_ABSMAX, spec)
    assert table.dtype == torch.float16
    for row in row_of_timestep.tolist():
        s = table[row].double()
        product = (x / s) @ (WEIGHT * s).T
        # Float64 carries 16 digits; a product of twelve terms loses fewer than 4 of them.
        assert (product - x @ WEIGHT.T).abs().max() <= 1e-12 * (x.abs() @ WEIGHT.abs().T).max()


def test_alpha_one_evens_out_activations_and_alpha_zero_weights():
    activations, _ = smooth_table(ABSMAX, WEIGHT_ABSMAX, SmoothingSpec("timestep", 1.0))
    weights, _ = smooth_table(ABSMAX, WEIGHT_ABSMAX, SmoothingSpec("timestep", 0.0))
    smoothed = ABSMAX / activations.float()
    assert weights.shape == (1, 12)  # no timestep enters: one row is kept
    # fp16 rounds by at most 2^-11.
    assert smoothed.max() / smoothed.min() < 1.002
    assert (WEIGHT_ABSMAX * weights[0]).max() / (WEIGHT_ABSMAX * weights[0]).min() < 1.002


def test_static_uses_the_maximum_over_timesteps_and_groups_theirs():
    static, _ = smooth_table(ABSMAX, WEIGHT_ABSMAX, SmoothingSpec("static"))
    assert torch.equal(static[0], to_fp16(smooth_scale(ABSMAX.amax(0), WEIGHT_ABSMAX, 0.5)))
    table, rows = smooth_table(ABSMAX, WEIGHT_ABSMAX, SmoothingSpec("grouped", groups=2))
    expected = torch.stack([ABSMAX[rows == 0].amax(0), ABSMAX[rows == 1].amax(0)])
    assert torch.equal(table, to_fp16(smooth_scale(expected, WEIGHT_ABSMAX, 0.5)))


def test_ranges_that_do_not_change_keep_one_row():
    table, rows = smooth_table(ABSMAX[:1].repeat(7, 1), WEIGHT_ABSMAX, SmoothingSpec("timestep"))
    assert table.shape == (1, 12)
    assert rows.tolist() == [0] * 7


def test_dead_channels_are_neutral():
    absmax, weight_absmax = ABSMAX.clone(), WEIGHT_ABSMAX.clone()
    absmax[:, 3] = 0
    weight_absmax[5] = 0
    s = smooth_scale(absmax, weight_absmax, 0.5)
    live = [channel for channel in range(12) if channel not in (3, 5)]
    mean = s[:, live].log().mean(1).exp()
    torch.testing.assert_close(s[:, 3], mean)
    torch.testing.assert_close(s[:, 5], mean)
    assert (smooth_scale(torch.zeros(2, 4), torch.zeros(4), 0.5) == 1).all()


@settings(derandomize=True, deadline=None, max_examples=300)
@given(exponents=st.lists(st.floats(-30, 30), min_size=2, max_size=20), shift=st.integers(-20, 20))
def test_any_table_fits_fp16(exponents, shift):
    table = torch.tensor([exponents], dtype=torch.float64).exp2() * 2.0**shift
    rounded = to_fp16(table)
    assert rounded.isfinite().all()
    assert (rounded > 0).all()
    if table.max() / table.min() <= 2.0**28:
        ratio = rounded.double() / table
        # One power of two for all, and one rounding to 11 bits.
        assert (ratio / ratio[0, 0] - 1).abs().max() <= 2.0**-10 + 1e-9


def test_groups_are_the_best_contiguous_ones():
    logs = torch.randn(8, 3, generator=GENERATOR, dtype=torch.float64).cumsum(0)

    def spread(labels: torch.Tensor) -> float:
        return sum((logs[labels == g] - logs[labels == g].mean(0)).square().sum().item() for g in labels.unique())

    for groups in (1, 2, 3, 8):
        found = group_timesteps(logs, groups)
        every = []
        for cuts in itertools.combinations(range(1, 8), groups - 1):
            labels = torch.zeros(8, dtype=torch.int64)
            for cut in cuts:
                labels[cut:] += 1
            every.append(spread(labels))
        assert found.tolist() == sorted(found.tolist())
        assert len(found.unique()) == groups
        assert spread(found) == pytest.approx(min(every), abs=1e-9)


def test_more_groups_than_timesteps_is_a_mistake():
    with pytest.raises(UserError, match=r"9 groups.*7 timesteps.*smoothing\.groups"):
        smooth_table(ABSMAX, WEIGHT_ABSMAX, SmoothingSpec("grouped", groups=9))


def test_interaction_is_what_neither_time_nor_channel_explains():
    u, v = torch.randn(6, 1, generator=GENERATOR), torch.randn(1, 9, generator=GENERATOR)
    assert interaction_share((u + v).exp()) < 1e-10
    assert interaction_share(torch.ones(6, 9)) == 0.0
    assert interaction_share(torch.zeros(6, 9)) == 0.0
    # A single outlier that moves along the channels: means explain almost nothing of it.
    assert interaction_share(1 + 99 * torch.eye(9)) > 0.99
    residual = torch.randn(40, 50, generator=GENERATOR)
    both = 0.5 * torch.randn(40, 1, generator=GENERATOR) + torch.randn(1, 50, generator=GENERATOR)
    # 1 of 2.25 variances, within sampling error of 40 and 50 means.
    assert interaction_share((residual + both).exp()) == pytest.approx(1 / 2.25, abs=0.1)
