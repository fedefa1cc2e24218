import pytest
import torch

from audioptq.errors import UserError
from audioptq.noise_levels import NoiseLevels
from audioptq.quantize import TimestepClock

SIGMAS = torch.logspace(2, -1, 10).tolist()


@pytest.mark.parametrize("factor", [1.0, 1.0008, 0.9992])
def test_a_calibrated_level_is_found_within_a_thousandth(factor):
    clock = TimestepClock(NoiseLevels("v", SIGMAS))
    for index, sigma in enumerate(SIGMAS):
        clock.set_level(sigma * factor)
        assert clock.index == index


@pytest.mark.parametrize("sigma", [55.0, 1e4, 0.0, -1.0, float("nan")])
def test_another_schedule_is_refused_and_both_are_named(sigma):
    clock = TimestepClock(NoiseLevels("v", SIGMAS))
    with pytest.raises(UserError, match="another schedule") as caught:
        clock.set_level(sigma)
    assert f"{sigma:.6g}" in str(caught.value)
    assert "10 levels are 100, 46.4159," in str(caught.value)


def test_a_refused_level_leaves_the_clock_where_it_was():
    clock = TimestepClock(NoiseLevels("v", SIGMAS))
    clock.set_level(SIGMAS[3])
    with pytest.raises(UserError):
        clock.set_level(77.0)
    assert clock.index == 3


def test_the_clock_must_be_set_before_it_is_read():
    with pytest.raises(RuntimeError, match="set_level"):
        _ = TimestepClock(NoiseLevels("v", SIGMAS)).index
