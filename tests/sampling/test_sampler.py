"""A clip's latent follows from its prompt, id and seed alone, and the samplers are k-diffusion's own."""

import pytest
import torch
from k_diffusion import sampling as k_sampling
from stable_audio_tools.inference.sampling import sample_k

from audioptq.errors import UserError
from audioptq.sampling.noise import clip_seed, initial_noise, step_noise
from audioptq.sampling.sampler import SAMPLERS, check_lengths, sample
from audioptq.sampling.schedules import level_values

OF_V = [name for name, objectives in SAMPLERS.items() if "v" in objectives]
CAPTIONS = {"clip a": "a dog barks", "clip b": "rain falls", "clip c": "a bell rings"}


@pytest.fixture
def run(tiny_model, make_settings):
    """Samples clips by id with their own captions."""

    def sampled(clip_ids, *, seed=1, captions=CAPTIONS, **changes):
        chosen = [captions[clip_id] for clip_id in clip_ids]
        return sample(
            tiny_model, chosen, [4.096] * len(chosen), clip_ids=clip_ids, seed=seed, settings=make_settings(**changes)
        )  # fmt: skip

    return sampled


def sigmas_of(model, settings):
    return torch.tensor(level_values(settings.for_objective(model.objective), model.objective))


def assert_close(ours, theirs):
    # Batched matrix products sum in another order; four passes through the network let 1e-7 grow, well below 1e-4.
    assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


@pytest.mark.parametrize("name", OF_V)
def test_a_clip_is_the_same_alone_in_a_batch_and_in_another_order(run, name):
    together = run(["clip a", "clip b", "clip c"], name=name)
    reordered = run(["clip c", "clip a", "clip b"], name=name)
    for row, clip_id in enumerate(CAPTIONS):
        assert_close(run([clip_id], name=name)[0], together[row])
    assert_close(reordered[[1, 2, 0]], together)
    assert (together[0] - together[1]).norm() > 0.1 * together[0].norm()


@pytest.mark.parametrize("name", OF_V)
def test_equal_ids_and_seeds_repeat_exactly_whatever_the_global_state(run, name):
    first = run(["clip a", "clip b"], name=name)
    torch.manual_seed(987)
    assert torch.equal(run(["clip a", "clip b"], name=name), first)


@pytest.mark.parametrize("name", OF_V)
def test_another_seed_or_id_differs(run, name):
    first = run(["clip a"], name=name)
    assert (run(["clip a"], name=name, seed=2) - first).norm() > 0.1 * first.norm()
    other_id = run(["clip b"], name=name, captions=dict.fromkeys(CAPTIONS, "a dog barks"))
    assert (other_id - first).norm() > 0.1 * first.norm()


def test_the_prompt_matters_for_the_same_noise(run):
    first = run(["clip a"])
    other = run(["clip a"], captions={"clip a": "rain falls"})
    assert (other - first).norm() > 1e-3 * first.norm()


def test_the_deterministic_sampler_is_stable_audio_tools_own(run, tiny_model, make_settings):
    settings = make_settings(name="dpmpp-2m", steps=5)
    clip_ids = ["clip a", "clip b"]
    conditioning = tiny_model.condition([CAPTIONS[clip_id] for clip_id in clip_ids], [4.096] * 2)
    noise = initial_noise(1, clip_ids, tiny_model.latent_shape)
    with torch.inference_mode():
        theirs = sample_k(
            tiny_model.network.model, noise, steps=5, sampler_type="dpmpp-2m", sigma_min=0.3, sigma_max=80.0, rho=1.0,
            device="cpu", cfg_scale=settings.cfg_scale, **conditioning,
        )  # fmt: skip
    assert torch.equal(run(clip_ids, name="dpmpp-2m", steps=5), theirs)


@pytest.mark.parametrize(
    ("name", "function"), [("dpmpp-3m-sde", "sample_dpmpp_3m_sde"), ("dpmpp-2m-sde", "sample_dpmpp_2m_sde")]
)
def test_the_stochastic_samplers_are_k_diffusions_with_noise_per_clip(run, tiny_model, make_settings, name, function):
    settings = make_settings(name=name)
    conditioning = tiny_model.condition([CAPTIONS["clip a"]], [4.096])
    latents = initial_noise(1, ["clip a"], tiny_model.latent_shape) * settings.sigma_max
    generator = torch.Generator().manual_seed(clip_seed(1, "clip a/sde"))
    with torch.inference_mode():
        theirs = getattr(k_sampling, function)(
            lambda x, sigma: tiny_model.denoise(x, sigma, conditioning, 3.0), latents, sigmas_of(tiny_model, settings),
            disable=True, noise_sampler=lambda *_sigmas: torch.randn(latents.shape[1:], generator=generator)[None],
        )  # fmt: skip
    assert_close(run(["clip a"], name=name), theirs)


@pytest.mark.parametrize("name", OF_V)
def test_every_level_of_the_schedule_is_passed_once_and_in_order(run, tiny_model, make_settings, name):
    heard = []
    remove = tiny_model.add_step_listener(heard.append)
    run(["clip a", "clip b"], name=name, steps=6)
    remove()
    # Calibration finds its row by this number.
    assert heard == list(make_settings(name=name, steps=6).levels(tiny_model.objective).values)


def test_the_schedule_is_even_in_log_sigma_and_ends_at_zero(tiny_model, make_settings):
    sigmas = sigmas_of(tiny_model, make_settings(steps=7))
    assert len(sigmas) == 8
    assert sigmas[-1] == 0
    torch.testing.assert_close(
        sigmas[:-1].double(),
        torch.logspace(4.38203, -1.20397, 7, base=2.718281828, dtype=torch.float64),
        rtol=1e-4,
        atol=0,
    )
    curved = sigmas_of(tiny_model, make_settings(steps=7, rho=2.0))
    assert (curved[1:-2] < sigmas[1:-2]).all()
    for rho, ours in ((1.0, sigmas), (2.0, curved)):
        assert torch.equal(ours, k_sampling.get_sigmas_polyexponential(7, 0.3, 80.0, rho))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "dpmpp-4m"}, "the samplers are dpmpp-3m-sde, dpmpp-2m-sde, dpmpp-2m, euler, ddim"),
        ({"steps": 1}, "at least 2 steps"),
        ({"sigma_min": 0.0}, "0 < sigma_min"),
        ({"sigma_min": 80.0}, "sigma_min < sigma_max"),
        ({"sigma_max": float("nan")}, "nan"),
    ],
)
def test_settings_that_cannot_be_walked_are_refused(make_settings, changes, message):
    with pytest.raises(UserError, match=message):
        make_settings(**changes)


@pytest.mark.parametrize("seconds", [1.1, 0.0, -1.0, float("nan")])
def test_lengths_that_the_model_cannot_make_are_refused(tiny_model, seconds):
    check_lengths(tiny_model, [1.024, 0.1])  # 16384 samples at 16 kHz are its longest clip
    with pytest.raises(UserError, match=r"at most 1.024 seconds: change `seconds_total`"):
        check_lengths(tiny_model, [1.0, seconds])


def test_initial_noise_is_standard_normal_and_differs_by_id_and_seed():
    noise = initial_noise(7, ["a", "b"], (64, 256))
    # 16384 draws: the mean's deviation is 0.008, the deviation's 0.0055; five of each.
    assert noise.mean((1, 2)).abs().max() < 0.04
    assert (noise.std((1, 2)) - 1).abs().max() < 0.028
    # Independent draws correlate by 0.008 at random.
    pairs = [noise[0], noise[1], initial_noise(8, ["a"], (64, 256))[0]]
    correlations = torch.corrcoef(torch.stack([each.flatten() for each in pairs])) - torch.eye(3)
    assert correlations.abs().max() < 0.04


def test_the_noise_of_steps_is_fresh_and_standard_normal_and_ignores_the_batch():
    like = torch.zeros(2, 64, 64)
    noise = step_noise(3, ["a", "b"], like)
    steps = torch.stack([noise(like, like) for _ in range(2)])
    # 4096 draws: the deviation's own deviation is 0.011, a chance correlation's 0.016; five of each.
    assert (steps.std((2, 3)) - 1).abs().max() < 0.055
    streams = torch.cat([steps.flatten(0, 1), initial_noise(3, ["a", "b"], (64, 64))]).flatten(1)
    assert (torch.corrcoef(streams) - torch.eye(6)).abs().max() < 0.08
    alone = step_noise(3, ["b"], like[:1])
    assert torch.equal(torch.stack([alone(like, like)[0] for _ in range(2)]), steps[:, 1])


def test_clip_seeds_are_the_same_on_every_machine():
    # printf '1000:clip 1' | sha256sum: half the first 32 bits.
    assert clip_seed(1000, "clip 1") == 0x09BD494C >> 1
    assert 0 <= clip_seed(2**31 - 1, "дождь") < 2**31
