"""Settings: what belongs to which sampler, and what is filled in."""

import pytest

from audioptq.errors import UserError
from audioptq.models.objective import ContinuousV, RectifiedFlow
from audioptq.noise_levels import NAMES
from audioptq.sampling.settings import DEFAULT_SAMPLER, DEFAULTS, SAMPLERS, SamplerSettings


def test_what_is_not_given_has_the_samplers_defaults():
    assert SamplerSettings("dpmpp-2m", 4, 3.0).record() == {
        "name": "dpmpp-2m", "steps": 4, "cfg_scale": 3.0, "sigma_min": 0.3, "sigma_max": 500.0, "rho": 1.0,
    }  # fmt: skip
    assert SamplerSettings("ddim", 4, 3.0).record() == {"name": "ddim", "steps": 4, "cfg_scale": 3.0, "eta": 0.0}
    euler = SamplerSettings("euler", 4, 3.0)
    assert euler.for_objective(ContinuousV()).sigma_max == 500.0
    assert euler.for_objective(RectifiedFlow()).sigma_max is None


def test_every_objective_has_a_default_that_goes_with_it():
    assert DEFAULTS.keys() == NAMES.keys()
    assert all(objective in SAMPLERS[settings.name] for objective, settings in DEFAULTS.items())


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "ping-pong",
            {"sigma_max": 500.0},
            "sampler.sigma_max does not belong to the sampler ping-pong, which takes steps",
        ),
        ("ddpm", {"eta": 0.5}, "sampler.eta does not belong to the sampler ddpm"),
        ("dpmpp-2m", {"spacing": "leading"}, "sampler.spacing does not belong"),
        ("ddim", {"eta": 2.0}, "from 0 to 1"),
        ("ddim", {"spacing": "even"}, "leading, trailing and linspace"),
        ("ping-pong", {"logsnr_min": 3.0}, "both, rising"),
        ("euler", {"logsnr_min": -3.0}, "both, rising, or neither"),
        ("ddim", {"steps": 0}, "at least 1"),
        ("ddim", {"steps": 2.0}, "whole number"),
        ("ddim", {"cfg_scale": float("nan")}, "nan"),
        ("ddim", {"cfg_scale": float("inf")}, "finite numbers, but .* is inf"),
        ("ping-pong", {"logsnr_max": float("inf")}, "finite numbers"),
        ("dpmpp-2m", {"sigma_max": float("inf")}, "finite numbers"),
        ("ddim", {"cfg_scale": "3"}, "'3'"),
        ("ddimm", {}, "Did you mean 'ddim'"),
    ],
)
def test_settings_that_are_foreign_or_not_legal_are_refused_by_name(name, changes, message):
    with pytest.raises(UserError, match=message):
        SamplerSettings(**{"name": name, "steps": 4, "cfg_scale": 1.0} | changes)


def test_under_an_objective_settings_of_the_other_are_foreign():
    with pytest.raises(UserError, match=r"sampler.sigma_max .* under the objective rectified_flow"):
        SamplerSettings("euler", 4, 1.0, sigma_max=80.0).for_objective(RectifiedFlow())


def test_another_sampler_leaves_foreign_settings_behind():
    changed = DEFAULT_SAMPLER.changed({"name": "ping-pong", "steps": 8})
    assert changed == SamplerSettings("ping-pong", 8, 3.0)
    assert DEFAULT_SAMPLER.changed({"steps": 8}).sigma_max == 500.0
    with pytest.raises(UserError, match=r"no setting 'sigma_maxx'\. Did you mean 'sigma_max'"):
        DEFAULT_SAMPLER.changed({"sigma_maxx": 4})
