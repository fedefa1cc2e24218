"""The pretransform: what it keeps of a sound, and that its way back is stable."""

import math

import pytest
import torch

from audioptq.audio.log_mel import LogMel, mel_filters
from audioptq.models.stable_audio.mel_pca import MelPcaPretransform, invert_mel

DECIBELS = 10 / math.log(10)


@pytest.fixture(scope="module")
def sounds():
    """Noise bands with slow envelopes `[8, 1, 16384]`, seeded."""
    generator = torch.Generator().manual_seed(2)
    spectrum = torch.fft.rfft(torch.randn(8, 1, 16384, generator=generator))
    hz = torch.linspace(0, 8000, spectrum.shape[-1])
    centres = torch.logspace(2.3, 3.6, 8)[:, None, None]
    bands = torch.fft.irfft(spectrum * torch.exp(-((hz / centres).clamp_min(1e-3).log2().square())))
    envelope = 0.55 + 0.45 * torch.sin(torch.linspace(0, 9, 16384) + torch.arange(8)[:, None, None])
    return 0.3 * bands * envelope / bands.abs().amax(-1, keepdim=True)


@pytest.fixture(scope="module")
def pretransform(sounds):
    module = MelPcaPretransform(16000, channels=96).eval()
    explained = module.fit(module.log_mel(sounds[:, 0]))
    assert 0.9 < explained <= 1  # 64 patches span at most 63 dimensions, so 96 components keep them all
    return module


def test_latents_have_the_stated_shape_and_unit_spread(pretransform, sounds):
    latents = pretransform.encode(sounds)
    assert latents.shape == (8, 96, 16384 // pretransform.downsampling_ratio)
    rms = latents.transpose(0, 1).flatten(1).var(1).mean().sqrt()  # over all components, as `fit` scales them
    assert rms == pytest.approx(1, rel=0.05)


def test_encoding_inverts_the_latent_part_of_decoding(pretransform, sounds):
    log_mel = pretransform.log_mel(sounds[:, 0])
    latents = pretransform.encode_log_mel(log_mel)
    patches = (latents.transpose(1, 2) * pretransform.deviation) @ pretransform.basis.T + pretransform.mean
    # All variance is kept here; what remains is float32 rounding of values of about 18.
    torch.testing.assert_close(patches.unflatten(2, (8, 64)).flatten(1, 2), log_mel, rtol=0, atol=0.02)


def test_a_decoded_sound_keeps_its_log_mel(pretransform, sounds):
    decoded = pretransform.decode(pretransform.encode(sounds))
    assert decoded.shape == sounds.shape
    before, after = (LogMel(16000)(audio[:, 0])[:, 4:-4] for audio in (sounds, decoded))
    audible = before > before.amax((1, 2), keepdim=True) - 40 / DECIBELS  # within 40 dB of the loudest
    error = (after - before)[audible] * DECIBELS
    # Griffin-Lim's phases let noise fluctuate from frame to frame; the level itself must stay.
    assert abs(float(error.mean())) < 2.0
    assert float(error.square().mean().sqrt()) < 4.0


def test_decoding_is_deterministic_and_leaves_the_random_state_alone(pretransform, sounds):
    latents = pretransform.encode(sounds[:2])
    state = torch.random.get_rng_state()
    first = pretransform.decode(latents)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(5)
    assert torch.equal(pretransform.decode(latents), first)
    # Alone and in a batch: float32 sums in another order, iterated.
    torch.testing.assert_close(
        pretransform.decode(latents[1:]), first[1:], rtol=0, atol=1e-3 * float(first.abs().max())
    )


def test_wild_latents_stay_finite(pretransform):
    wild = 1e4 * torch.randn(1, 96, 4, generator=torch.Generator().manual_seed(0))
    decoded = pretransform.decode(wild)
    assert torch.isfinite(decoded).all()
    assert decoded.any()


def test_principal_components_explain_what_the_spectrum_of_the_covariance_says():
    generator = torch.Generator().manual_seed(5)
    mixing = torch.randn(10, 3 * 4, generator=generator, dtype=torch.float64)
    frames = (
        (torch.randn(6, 50, 10, generator=generator, dtype=torch.float64) @ mixing).unflatten(2, (3, 4)).flatten(1, 2)
    )
    module = MelPcaPretransform(16000, n_fft=64, hop_length=16, n_mels=4, patch_frames=3, channels=5)
    explained = module.fit(frames.float())
    values = torch.linalg.svdvals(
        frames.unflatten(1, (-1, 3))
        .flatten(2)
        .flatten(0, 1)
        .float()
        .double()
        .sub(frames.unflatten(1, (-1, 3)).flatten(2).flatten(0, 1).float().double().mean(0))
    ).square()
    assert explained == pytest.approx(float(values[:5].sum() / values.sum()), rel=1e-6)
    torch.testing.assert_close(module.basis.T @ module.basis, torch.eye(5), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def filters():
    return mel_filters(16000, 1024, 64)


def test_inverted_mel_power_is_never_negative_and_close(filters):
    generator = torch.Generator().manual_seed(1)
    # Spectra of 200 frames, smooth over eight bins so that the filter bank resolves them, over 60 dB.
    power = torch.exp(7 * torch.randn(200, 65, generator=generator)).repeat_interleave(8, 1)[:, :513].clamp(1e-6, 1)
    mel = power @ filters
    inverted = invert_mel(mel, filters)
    assert (inverted >= 0).all()
    error = ((inverted @ filters) / mel).log().abs() * DECIBELS
    # Ten multiplicative updates: typically within a decibel; a band far below its neighbours is the worst case.
    assert float(error.median()) < 1.0
    assert float(error.quantile(0.95)) < 5.0


def test_more_updates_come_closer(filters, monkeypatch):
    mel = torch.exp(2 * torch.randn(50, 64, generator=torch.Generator().manual_seed(1)))

    def divergence():  # the generalised Kullback-Leibler divergence, which the updates never increase
        ours = invert_mel(mel, filters) @ filters
        return float((mel * (mel / ours).log() - mel + ours).sum())

    values = []
    for iterations in (0, 1, 3, 10, 30):
        monkeypatch.setattr("audioptq.models.stable_audio.mel_pca.MEL_INVERSION_ITERATIONS", iterations)
        values.append(divergence())
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.5 * values[0]


def test_silence_inverts_to_silence(filters):
    assert not invert_mel(torch.zeros(3, 64), filters).any()
