"""A level is found in a schedule by its value in the objective's own terms, or refused."""

import math

import pytest

from audioptq.errors import UserError
from audioptq.noise_levels import NAMES, NoiseLevels, listed

LEVELS = {
    "v": NoiseLevels("v", [80.0, 9.0, 1.0]),
    "eps": NoiseLevels("eps", [999, 500, 0]),
    "v_discrete": NoiseLevels("v_discrete", [999, 500, 0]),
    "rectified_flow": NoiseLevels("rectified_flow", [1.0, 0.5, 0.0]),
}


@pytest.mark.parametrize("objective", NAMES)
def test_every_level_of_a_schedule_has_its_row(objective):
    levels = LEVELS[objective]
    assert [levels.row(level) for level in levels.values] == [0, 1, 2]
    levels.check(NoiseLevels(objective, levels.values[1:]))


@pytest.mark.parametrize(
    ("objective", "level", "is_known"),
    [
        ("v", 9.0 * 1.0009, True),
        ("v", 9.0 * 1.0011, False),
        ("v", 0.0, False),
        ("eps", 500.2, True),
        ("eps", 501.0, False),
        ("eps", 1e-9, True),
        ("rectified_flow", 0.5 * 1.0009, True),
        ("rectified_flow", 0.5 * 1.0011, False),
        ("rectified_flow", 0.0, True),
        ("rectified_flow", 1e-9, False),
        *[(objective, level, False) for objective in NAMES for level in (-1.0, math.inf, math.nan)],
    ],
)
def test_a_level_is_one_of_the_schedule_within_the_objective_s_tolerance(objective, level, is_known):
    if is_known:
        LEVELS[objective].row(level)
        return
    with pytest.raises(UserError, match=f"noise level {NAMES[objective]} = .*for which there are no statistics"):
        LEVELS[objective].row(level)


@pytest.mark.parametrize(
    ("objective", "level", "least"),
    [("v", 0.0, "above zero"), ("v", -1.0, "above zero"), ("eps", -1.0, "zero or above"), ("v", math.nan, "finite")],
)
def test_what_no_schedule_can_have_is_refused(objective, level, least):
    with pytest.raises(UserError, match=f"is no noise level of the objective '{objective}'.*{least}"):
        NoiseLevels(objective, [80.0, level])


def test_an_unknown_objective_is_refused_and_the_nearest_named():
    with pytest.raises(UserError, match=r"no objective 'rectified-flow'.*Did you mean 'rectified_flow'"):
        NoiseLevels("rectified-flow", [1.0])


def test_another_objective_is_refused_by_name():
    with pytest.raises(UserError, match=r"under the objective 'v_discrete'.*made under 'eps'"):
        LEVELS["eps"].check(LEVELS["v_discrete"])


def test_of_a_schedule_the_level_furthest_off_is_named():
    with pytest.raises(UserError, match="sigma = 300"):
        LEVELS["v"].check(NoiseLevels("v", [9.0, 300.0, 1.5]))
    with pytest.raises(UserError, match="it has none"):
        NoiseLevels("v", []).check(LEVELS["v"])
    NoiseLevels("v", []).check(NoiseLevels("v", []))


def test_long_lists_are_cut_in_the_middle():
    assert listed([1.0, 0.25]) == "1, 0.25"
    assert listed(range(20)) == "0, 1, 2, 3, 4, 5, ..., 15, 16, 17, 18, 19"
