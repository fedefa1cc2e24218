"""Objectives and samplers against closed forms: a Gaussian's optimal denoiser is known, and so is where samplers take it."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from k_diffusion.external import VDenoiser

from audioptq.errors import UserError
from audioptq.models.base import AudioModel
from audioptq.models.objective import ContinuousV, Discrete, RectifiedFlow, spread
from audioptq.sampling.noise import clip_seed, initial_noise
from audioptq.sampling.sampler import SAMPLERS, SamplerSettings, sample
from audioptq.sampling.schedules import level_values, timesteps
from audioptq.sampling.solvers import SOLVERS, Walk

LDM = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
}
MEAN, DEVIATION = 0.7, 0.4
OBJECTIVES = {
    "v": ContinuousV(),
    "eps": Discrete.from_scheduler(LDM),
    "v_discrete": Discrete.from_scheduler(LDM | {"prediction_type": "v_prediction"}),
    "rectified_flow": RectifiedFlow(),
}


class Gaussian(AudioModel):
    """Latents that are normal with `MEAN` and `DEVIATION`; predicts what the objective asks for, optimally."""

    family, components = "gaussian", {}
    latent_shape = (2, 3, 4)
    device = torch.device("cpu")

    def __init__(self, objective, dtype=torch.float64):
        self.objective, self.dtype, self.asked = objective, dtype, []

    def sites(self):
        return []

    def dropped_words(self, caption):
        return []

    def condition(self, captions, seconds_total):
        return {}

    def decode(self, latents, n_samples=None):
        return latents

    def predict(self, latents, time, conditioning, cfg_scale):
        x = latents.to(self.dtype)
        if self.objective.name == "v":  # the network sees x / sqrt(1 + sigma^2) at 2 atan(sigma) / pi
            angle = time.to(self.dtype) * math.pi / 2
            alpha, sigma = spread(angle.cos(), x), spread(angle.sin(), x)
        else:
            alpha, sigma = (spread(each.to(self.dtype), x) for each in self.objective.alpha_sigma(time.to(self.dtype)))
        # E[x0 | x] of x = alpha x0 + sigma noise, both normal.
        gain = alpha * DEVIATION**2 / (alpha**2 * DEVIATION**2 + sigma**2)
        clean = MEAN + gain * (x - alpha * MEAN)
        noise = (x - alpha * clean) / sigma
        self.asked.append(float(time[0]))
        kinds = {"eps": noise, "rectified_flow": noise - clean}
        return kinds.get(self.objective.name, alpha * noise - sigma * clean).to(latents.dtype)


def walk(objective, name, steps, n=1, noise=None, **changes):
    """A solver's end and the noise it began with, float64, of `n` latents of one number."""
    model = Gaussian(objective)
    settings = SamplerSettings(name, steps, 1.0, **changes).for_objective(objective)
    levels = level_values(settings, objective)
    start = objective.initial(
        torch.randn(n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), levels[0]
    )
    end = SOLVERS[name](
        start, Walk(lambda x, level: model.denoise(x, level, {}, 1.0), levels, objective, settings, noise)
    )
    return start, end, levels


def test_v_is_k_diffusions_denoiser_to_the_bit():
    def network(x, time, **_given):
        return torch.sin(3 * x) * spread(time, x)

    x = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0)) * 40
    sigma = torch.tensor([0.3, 7.0, 500.0])
    assert torch.equal(ContinuousV().denoise(network, x, sigma), VDenoiser(network)(x, sigma))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_perfect_prediction_gives_the_signal_back(name):
    objective = OBJECTIVES[name]
    clean, noise = torch.randn(2, 4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    level = torch.tensor(
        {"v": [0.3, 2.0, 80.0, 500.0], "rectified_flow": [0.02, 0.3, 0.9, 1.0]}.get(name, [0, 1, 500, 999])
    )
    alpha, sigma = (spread(each, clean) for each in objective.alpha_sigma(level.double()))
    size = (alpha**2 + sigma**2).sqrt() if name == "v" else 1.0  # v is that of the latent of unit variance
    v = (alpha * noise - sigma * clean) / size
    prediction = {"eps": noise, "rectified_flow": noise - clean}.get(name, v)
    estimate = objective.denoised(alpha * clean + sigma * noise, level.double(), prediction)
    torch.testing.assert_close(estimate, clean, rtol=0, atol=1e-10)


def test_the_tables_of_betas_are_diffusers():
    # Ho 2020: linear from 1e-4 to 0.02, of which the text gives both ends; products by hand.
    linear = Discrete.from_scheduler({"num_train_timesteps": 4, "beta_start": 0.1, "beta_end": 0.4}).alphas_cumprod
    torch.testing.assert_close(linear, torch.tensor([0.9, 0.72, 0.504, 0.3024], dtype=torch.float64))
    roots = [math.sqrt(0.1) + step / 3 * (math.sqrt(0.4) - math.sqrt(0.1)) for step in range(4)]
    scaled = Discrete.from_scheduler(
        {"num_train_timesteps": 4, "beta_start": 0.1, "beta_end": 0.4, "beta_schedule": "scaled_linear"}
    ).alphas_cumprod
    expected = [math.prod(1 - root**2 for root in roots[: step + 1]) for step in range(4)]
    torch.testing.assert_close(scaled, torch.tensor(expected, dtype=torch.float64))
    cosine = Discrete.from_scheduler({"num_train_timesteps": 10, "beta_schedule": "squaredcos_cap_v2"}).alphas_cumprod
    bar = [math.cos((step / 10 + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(11)]
    torch.testing.assert_close(
        cosine[:9], torch.tensor([bar[step] / bar[0] for step in range(1, 10)], dtype=torch.float64)
    )
    assert cosine[9] == pytest.approx(float(cosine[8]) * 0.001)  # no beta above 0.999


def test_timesteps_are_spaced_as_diffusers_spaces_them():
    # Lin et al. 2024, table 2: ten of a thousand.
    leading = Discrete.from_scheduler(LDM | {"steps_offset": 1})
    assert timesteps(10, leading) == list(range(901, 0, -100))
    assert timesteps(10, OBJECTIVES["eps"], "trailing") == list(range(999, 0, -100))
    assert timesteps(10, OBJECTIVES["eps"], "linspace") == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    with pytest.raises(UserError, match="trained on 1000 timesteps"):
        timesteps(1001, leading)


def test_an_estimate_is_limited_where_the_scheduler_says_so():
    limited = Discrete.from_scheduler(LDM | {"clip_sample": True, "clip_sample_range": 2.0})
    x, level = torch.tensor([[-90.0], [0.1]]), torch.tensor([500.0, 500.0])
    plain = OBJECTIVES["eps"].denoised(x, level, torch.zeros_like(x))
    assert limited.denoised(x, level, torch.zeros_like(x)).tolist() == [[-2.0], plain[1].tolist()]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"prediction_type": "sample"},
            "`prediction_type` is 'sample'; what is supported here is epsilon, v_prediction",
        ),
        ({"beta_schedule": "sigmoid"}, "beta_schedule"),
        ({"timestep_spacing": "even"}, "timestep_spacing"),
        ({"thresholding": True}, "`thresholding` is True"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ({"num_train_timesteps": 0}, "num_train_timesteps"),
    ],
)
def test_schedulers_that_are_not_built_here_are_refused_by_their_key(changes, named):
    with pytest.raises(UserError, match=named):
        Discrete.from_scheduler(LDM | changes)


def spread_of(objective, level):
    alpha, sigma = objective.alpha_sigma(torch.tensor([level], dtype=torch.float64))
    return float(alpha), float((alpha**2 * DEVIATION**2 + sigma**2).sqrt())


@pytest.mark.parametrize(
    ("name", "sampler", "changes"),
    [
        ("v", "euler", {"sigma_min": 1e-4}),
        ("rectified_flow", "euler", {}),
        ("rectified_flow", "euler", {"logsnr_min": -6.0, "logsnr_max": 6.0}),
        ("eps", "ddim", {"spacing": "trailing"}),
        ("v_discrete", "ddim", {}),
    ],
)
def test_deterministic_samplers_converge_to_the_exact_path(name, sampler, changes):
    """The path of a Gaussian keeps (x - alpha mean) / sqrt(alpha^2 deviation^2 + sigma^2) as it is (Song et al. 2021, eq. 13)."""
    objective, errors = OBJECTIVES[name], []
    for steps in (50, 100, 500):
        start, end, levels = walk(objective, sampler, steps, **changes)
        alpha, size = spread_of(objective, levels[0])
        exact = MEAN + DEVIATION * (start - alpha * MEAN) / size
        errors.append(float((end - exact).abs().max()))
    # First order: half the error for half the step, until the last step is what is left.
    assert errors[0] > 1.4 * errors[1] > 1.4 * errors[2]
    assert errors[2] < 0.02


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_takes_the_steps_of_its_equation(eta):
    """Song et al. 2021, eq. 12 and 16, written anew with the paper's alpha, which is our alpha^2."""
    objective = Discrete.from_scheduler(LDM | {"steps_offset": 1, "set_alpha_to_one": False})
    draws = torch.randn(5, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    stream = iter(draws)
    x, end, levels = walk(objective, "ddim", 5, 3, lambda *_given: next(stream), eta=eta)
    assert levels == [801.0, 601.0, 401.0, 201.0, 1.0]
    table = objective.alphas_cumprod.tolist()
    for noise, step in zip(draws, (801, 601, 401, 201, 1), strict=True):
        a, before = table[step], table[step - 200] if step >= 200 else table[0]
        gain = a**0.5 * DEVIATION**2 / (a * DEVIATION**2 + 1 - a)
        eps = (x - a**0.5 * (MEAN + gain * (x - a**0.5 * MEAN))) / (1 - a) ** 0.5
        sigma = eta * ((1 - before) / (1 - a)) ** 0.5 * (1 - a / before) ** 0.5
        x = before**0.5 * (x - (1 - a) ** 0.5 * eps) / a**0.5 + (1 - before - sigma**2) ** 0.5 * eps + sigma * noise
    torch.testing.assert_close(end, x, rtol=0, atol=1e-9)


def test_ddpm_takes_the_steps_of_its_equations():
    """Ho et al. 2020, eq. 7 and algorithm 2 with the variance of eq. 7, over every timestep of a short table."""
    objective = Discrete.from_scheduler(
        {"num_train_timesteps": 6, "beta_start": 0.1, "beta_end": 0.5, "clip_sample": False}
    )
    draws = torch.randn(5, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    stream = iter(draws)
    x, end, levels = walk(objective, "ddpm", 6, 3, lambda *_given: next(stream))
    assert levels == [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    betas = torch.linspace(0.1, 0.5, 6, dtype=torch.float64).tolist()
    for index, step in enumerate((5, 4, 3, 2, 1, 0)):
        bar = math.prod(1 - beta for beta in betas[: step + 1])
        before, beta = bar / (1 - betas[step]), betas[step]
        gain = bar**0.5 * DEVIATION**2 / (bar * DEVIATION**2 + 1 - bar)
        clean = MEAN + gain * (x - bar**0.5 * MEAN)
        x = before**0.5 * beta / (1 - bar) * clean + (1 - beta) ** 0.5 * (1 - before) / (1 - bar) * x
        if step > 0:
            x = x + ((1 - before) / (1 - bar) * beta) ** 0.5 * draws[index]
    torch.testing.assert_close(end, x, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "sampler"), [("eps", "ddpm"), ("v_discrete", "ddpm"), ("rectified_flow", "ping-pong")]
)
def test_stochastic_samplers_have_the_right_mean_and_the_variance_that_their_steps_give(name, sampler):
    """A Gaussian's estimate is linear in x, so the moments of every step follow in closed form."""
    objective, n, generator = OBJECTIVES[name], 20_000, torch.Generator().manual_seed(3)
    steps = 1000 if sampler == "ddpm" else 8

    def noise(x, _level):
        return torch.randn(x.shape, dtype=x.dtype, generator=generator)

    _, end, levels = walk(objective, sampler, steps, n, noise)
    if sampler == "ddpm":
        deviation = DEVIATION  # of a thousand steps; the start is not quite noise alone, by alpha(999) = 0.08
    else:
        mean, variance = 0.0, 1.0
        for level, following in itertools.pairwise(levels):
            alpha, size = spread_of(objective, level)
            gain = alpha * DEVIATION**2 / size**2
            mean, variance = MEAN + gain * (mean - alpha * MEAN), gain**2 * variance
            if following > 0:
                mean, variance = (1 - following) * mean, (1 - following) ** 2 * variance + following**2
        deviation = variance**0.5
        assert float(end.mean()) == pytest.approx(mean, abs=5 * deviation / n**0.5)
    # Five deviations of a sample's mean and deviation, and 1 % for the steps and the start.
    assert float(end.mean()) == pytest.approx(MEAN, abs=5 * DEVIATION / n**0.5 + 0.01 * MEAN)
    assert float(end.std()) == pytest.approx(deviation, rel=5 / (2 * n) ** 0.5 + 0.01)


LEGAL = [(objective, name) for name, objectives in SAMPLERS.items() for objective in objectives]


@pytest.mark.parametrize(("objective", "name"), LEGAL)
def test_latents_of_any_rank_depend_on_seed_and_clip_alone(objective, name):
    settings = SamplerSettings(name, 5, 1.0, **({"eta": 0.5} if name == "ddim" else {}))

    def run(clip_ids, seed=1):
        model = Gaussian(OBJECTIVES[objective], torch.float32)
        torch.manual_seed(len(clip_ids))
        latents = sample(
            model, [""] * len(clip_ids), [1.0] * len(clip_ids), clip_ids=clip_ids, seed=seed, settings=settings
        )
        return latents, model

    together, model = run(["a", "b", "c"])
    assert together.shape == (3, 2, 3, 4)
    assert len(model.asked) == 5
    for row, clip_id in enumerate("abc"):
        torch.testing.assert_close(run([clip_id])[0][0], together[row], rtol=1e-5, atol=1e-5)  # sums in another order
    assert (together[0] - together[1]).norm() > 0.1 * together[0].norm()
    assert (run(["a"], seed=2)[0][0] - together[0]).norm() > 0.1 * together[0].norm()


@pytest.mark.parametrize(("objective", "name"), LEGAL)
def test_listeners_and_schedules_speak_of_the_same_levels(objective, name):
    model, heard = Gaussian(OBJECTIVES[objective]), []
    settings = SamplerSettings(name, 4, 1.0)
    levels = settings.levels(model.objective)
    with model.listening(heard.append):
        sample(model, ["a"], [1.0], clip_ids=["a"], seed=0, settings=settings)
    assert heard == list(levels.values)
    assert [levels.row(level) for level in heard] == [0, 1, 2, 3]
    assert levels.objective == objective


def test_ping_pong_draws_from_the_clips_own_stream():
    model = Gaussian(OBJECTIVES["rectified_flow"], torch.float32)
    ours = sample(model, ["a"], [1.0], clip_ids=["a"], seed=4, settings=SamplerSettings("ping-pong", 2, 1.0))
    middle = float(torch.sigmoid(torch.tensor(2.0)))  # half-way from -6 to 2
    generator = torch.Generator().manual_seed(clip_seed(4, "a/sde"))
    fresh = torch.randn(model.latent_shape, generator=generator)

    def estimate(x, t):
        level = torch.tensor([t])
        return model.denoise(x, level, {}, 1.0)

    first = estimate(initial_noise(4, ["a"], model.latent_shape), 1.0)
    torch.testing.assert_close(ours, estimate((1 - middle) * first + middle * fresh, middle))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_an_illegal_pair_is_refused_with_the_legal_ones(objective, name):
    settings, model = SamplerSettings(name, 4, 1.0), SimpleNamespace(name=objective)
    if objective in SAMPLERS[name]:
        assert settings.for_objective(model).name == name
        return
    legal = ", ".join(each for each, objectives in SAMPLERS.items() if objective in objectives)
    with pytest.raises(UserError, match=f"{name} does not go with this model, whose objective is {objective}.*{legal}"):
        settings.for_objective(model)
