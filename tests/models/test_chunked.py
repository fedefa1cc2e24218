"""Chunks of a convolutional decoder add up to its whole audio, with exactly the overlap that this needs."""

import copy

import pytest
import torch
from torch import nn

from audioptq.models.stable_audio import chunked_decoding as chunked
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.models.stable_audio.build import build_network
from audioptq.models.stable_audio.chunked_decoding import chunk_overlap, decode_in_chunks, input_range

RATIO = 2048


@pytest.fixture(scope="module")
def pretransform(published):
    """In float64, where the order of sums does not hide a wrong edge."""
    return StableAudioModel.load(published / "model").network.pretransform.double()


@pytest.fixture(scope="module")
def latents():
    return torch.randn(2, 8, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def whole(pretransform, latents):
    with torch.inference_mode():
        return pretransform.decode(latents)


@pytest.mark.parametrize("chunk", [7, 16, 39, 40, 100])
def test_chunks_are_the_whole(pretransform, latents, whole, monkeypatch, chunk):
    monkeypatch.setattr(chunked, "CHUNK_LATENTS", chunk)
    with torch.inference_mode():
        ours = decode_in_chunks(pretransform.decode, latents, 40 * RATIO, RATIO, chunk_overlap(pretransform))
    assert ours.shape == whole.shape
    # Sums of float64 in another order.
    assert (ours - whole).abs().max() < 1e-12 * whole.abs().max() + 1e-12


def test_one_latent_less_of_overlap_is_heard(pretransform, latents, whole, monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK_LATENTS", 16)
    overlap = chunk_overlap(pretransform)
    with torch.inference_mode():
        ours = decode_in_chunks(pretransform.decode, latents, 40 * RATIO, RATIO, overlap - 1)
    assert overlap == 10
    assert (ours - whole).abs().max() > 1e-4 * whole.abs().max()


@pytest.mark.parametrize("n_samples", [1, 2048, 2049, 20000, 40 * 2048, 50 * 2048])
def test_only_what_the_samples_need_is_decoded(pretransform, latents, whole, n_samples):
    seen = []

    def decode(part):
        seen.append(part.shape)
        return pretransform.decode(part)

    with torch.inference_mode():
        ours = decode_in_chunks(decode, latents, n_samples, RATIO, 10)
    torch.testing.assert_close(ours, whole[..., :n_samples], rtol=0, atol=1e-12)
    wanted = min(-(-n_samples // RATIO) + 10, 40)
    assert seen == [(1, 8, wanted)] * 2


def test_the_reach_is_what_gradients_say(pretransform):
    decoder = pretransform.model.decoder
    latents = torch.randn(1, 8, 41, dtype=torch.float64, requires_grad=True)
    decoder(latents)[..., 20 * RATIO : 21 * RATIO].abs().sum().backward()
    reached = latents.grad.abs().sum((0, 1)).nonzero().flatten()
    assert (reached[0], reached[-1]) == (10, 30)
    assert input_range(decoder, 20 * RATIO, 21 * RATIO - 1) == (10, 30)


def test_the_published_geometry_reaches_ten_latents(published_model):
    with torch.device("meta"):
        network = build_network(published_model.published_config("full"))
    assert chunk_overlap(network.pretransform) == 10


def altered(published_model, change):
    config = copy.deepcopy(published_model.published_config())
    change(config["model"]["pretransform"], config["model"]["pretransform"]["config"])
    return config


@pytest.mark.parametrize(
    "change",
    [
        lambda _outer, inner: inner["decoder"]["config"].update(antialias_activation=True),
        lambda _outer, inner: inner["decoder"]["config"].update(use_nearest_upsample=True),
        lambda _outer, inner: inner["decoder"]["config"].update(strides=[3, 4, 4, 8, 8]),
    ],
    ids=["antialias", "upsampling", "odd stride"],
)
def test_decoders_whose_reach_is_not_known_are_decoded_whole(published_model, change):
    with torch.device("meta"):
        network = build_network(altered(published_model, change))
    assert chunk_overlap(network.pretransform) is None


def test_other_pretransforms_are_decoded_whole(tiny_model):
    assert chunk_overlap(tiny_model.network.pretransform) is None
    assert chunk_overlap(None) is None
    with pytest.raises(NotImplementedError, match="LSTM"):
        input_range(nn.Sequential(nn.LSTM(1, 1)), 0, 1)


def test_griffin_lim_is_as_before_but_for_the_cut(tiny_model):
    latents = torch.randn(2, *tiny_model.latent_shape, generator=torch.Generator().manual_seed(2))
    whole = tiny_model.network.pretransform.decode(latents)
    assert torch.equal(tiny_model.decode(latents), whole)
    assert torch.equal(tiny_model.decode(latents, 5000), whole[..., :5000])


@pytest.mark.parametrize(
    "change",
    [
        lambda outer, _inner: outer.update(scale=3.0),
        lambda outer, _inner: outer.update(iterate_batch=False),
        lambda outer, _inner: outer.update(chunked=True),
        lambda _outer, inner: inner["decoder"].update(soft_clip=True),
        lambda _outer, inner: inner["decoder"]["config"].update(final_tanh=True),
    ],
    ids=["scale", "batch", "chunked", "soft clip", "tanh"],
)
def test_the_autoencoders_own_options_hold(published_model, published, change):
    model = StableAudioModel(altered(published_model, change))
    plain = StableAudioModel.load(published / "model").network.pretransform
    model.network.pretransform.model.load_state_dict(plain.model.state_dict())
    latents = torch.randn(2, 8, 130, generator=torch.Generator().manual_seed(4))
    pretransform = model.network.pretransform
    with torch.inference_mode():
        expected = pretransform.model.decode(latents * pretransform.scale)
        ours = model.decode(latents, 130 * RATIO - 5)
    # Float rounding, which the snakes' squares of sines let grow over five blocks.
    torch.testing.assert_close(ours, expected[..., :-5], rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
