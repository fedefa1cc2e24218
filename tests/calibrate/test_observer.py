"""Streamed ranges equal those of a naive implementation that keeps every activation, whatever kind of layer meets it."""

import pytest
import torch
from torch import nn

from audioptq.calibrate.observer import ActObserver, rows_of, tokens_of
from audioptq.errors import UserError
from audioptq.noise_levels import NoiseLevels
from audioptq.site import KINDS, Site, linear_sites

SIGMAS = torch.tensor([80.0, 9.0, 1.0])
LEVELS = NoiseLevels("v", SIGMAS.tolist())


@pytest.fixture
def network():
    torch.manual_seed(4)
    return nn.ModuleDict({"a": nn.Linear(5, 7), "b": nn.Linear(7, 3), "c": nn.Linear(3, 3)})


def passes(network, observer, n_batches=3):
    """Runs batches through `a` and `b` at every level; returns all inputs by (layer, row)."""
    seen = {}
    for batch in range(n_batches):
        for row, sigma in enumerate(SIGMAS.tolist()):
            observer.set_level(sigma)
            x = sigma**0.5 * torch.randn(batch + 1, 6, 5) + 0.3 * row
            hidden = network["a"](x)
            network["b"](hidden)
            seen.setdefault(("a", row), []).append(x.flatten(0, 1))
            seen.setdefault(("b", row), []).append(hidden.detach().flatten(0, 1))
    return seen


def test_ranges_equal_those_over_all_stored_activations(network):
    observer = ActObserver(network, linear_sites(["a", "b"]), LEVELS)
    seen = passes(network, observer)
    stats = observer.act_stats()
    assert stats.levels == LEVELS
    assert set(stats.layers) == {"a", "b"}
    for (layer, row), activations in seen.items():
        every = torch.cat(activations)
        assert torch.equal(stats.layers[layer].min[row], every.amin(0))
        assert torch.equal(stats.layers[layer].max[row], every.amax(0))
        assert torch.equal(stats.layers[layer].absmax[row], every.abs().amax(0))


def test_memory_does_not_grow_with_the_number_of_batches(network):
    def held(n_batches):
        observer = ActObserver(network, linear_sites(["a", "b"]), LEVELS, map_layer="a", map_step=1)
        passes(network, observer, n_batches)
        layers = observer.act_stats().layers.values()
        tensors = [tensor for layer in layers for tensor in layer.values()] + [observer.activation_map]
        assert not any(tensor.requires_grad for tensor in tensors)  # a graph would keep every activation alive
        return [tensor.untyped_storage().nbytes() for tensor in tensors]

    assert held(1) == held(5)


def test_the_map_is_the_first_clips_whole_input_at_its_step(network):
    observer = ActObserver(network, linear_sites(["a", "b"]), LEVELS, map_layer="b", map_step=2)
    seen = passes(network, observer)
    assert torch.equal(observer.activation_map, seen["b", 2][0][:6])


def test_the_order_of_levels_does_not_matter(network):
    observer = ActObserver(network, linear_sites(["a"]), LEVELS)
    x = torch.randn(2, 5)
    for sigma, scale in ((1.0, 3.0), (80.0, 1.0), (9.0, 2.0)):
        observer.set_level(sigma)
        network["a"](scale * x)
    expected = torch.stack([scale * x.abs().amax(0) for scale in (1.0, 2.0, 3.0)])
    torch.testing.assert_close(observer.act_stats().layers["a"].absmax, expected)


@pytest.mark.parametrize("sigma", [0.0, -1.0, 30.0, 80.2, float("inf"), float("nan")])
def test_a_level_outside_the_schedule_is_refused(network, sigma):
    observer = ActObserver(network, linear_sites(["a"]), LEVELS)
    with pytest.raises(
        UserError,
        match=r"noise level sigma = .*for which there are no statistics.*another schedule, whose 3 levels are 80, 9, 1",
    ):
        observer.set_level(sigma)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused_and_the_layer_named(network, value):
    observer = ActObserver(network, linear_sites(["a", "b"]), LEVELS)
    passes(network, observer)
    observer.set_level(9.0)
    network["a"](torch.tensor([[0.0, 1.0, value, 2.0, 3.0]]))
    passes(network, observer)
    with pytest.raises(UserError, match=r"layer a .* not finite"):
        observer.act_stats()


def test_a_layer_that_is_never_reached_is_named(network):
    observer = ActObserver(network, linear_sites(["a", "c"]), LEVELS)
    passes(network, observer)
    with pytest.raises(UserError, match="never reached layer c"):
        observer.act_stats()


def test_closing_takes_every_hook_off(network):
    observer = ActObserver(network, linear_sites(["a", "b"]), LEVELS)
    passes(network, observer)
    before = observer.act_stats().layers["a"].absmax.clone()
    observer.close()
    network["a"](1e6 * torch.ones(1, 5))
    assert torch.equal(observer.act_stats().layers["a"].absmax, before)


CONVOLUTIONS = {
    "conv1d": nn.Conv1d(5, 7, 3),
    "conv2d": nn.Conv2d(5, 7, 3, stride=2),
    "conv_transpose1d": nn.ConvTranspose1d(5, 7, 3),
    "conv_transpose2d": nn.ConvTranspose2d(5, 7, 3),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_s_ranges_are_those_of_its_input_channels_over_all_positions(kind):
    space = (8,) if kind.endswith("1d") else (8, 6)
    observer = ActObserver(CONVOLUTIONS[kind], [Site("", kind)], LEVELS, map_layer="", map_step=1)
    inputs = [torch.randn(2, 5, *space, generator=torch.Generator().manual_seed(row)) for row in range(3)]
    for sigma, x in zip(SIGMAS.tolist(), inputs, strict=True):
        observer.set_level(sigma)
        CONVOLUTIONS[kind](x)
    layer, channels_first = observer.act_stats().layers[""], [x.transpose(0, 1).flatten(1) for x in inputs]
    assert torch.equal(layer.min, torch.stack([x.amin(1) for x in channels_first]))
    assert torch.equal(layer.max, torch.stack([x.amax(1) for x in channels_first]))
    assert torch.equal(observer.activation_map, inputs[1][0].flatten(1).T)  # the first clip's positions
    observer.close()


def test_every_kind_of_site_has_its_tokens():
    assert {"linear", *CONVOLUTIONS} == set(KINDS)
    x = torch.randn(2, 5, 8, 6)
    assert torch.equal(tokens_of(x, "conv2d")[7], x[0, :, 1, 1])
    assert torch.equal(tokens_of(x, "linear")[9], x[0, 1, 1])


def test_an_unknown_statistic_is_refused_and_the_nearest_named(network):
    with pytest.raises(UserError, match=r"no statistic 'ranges'. Did you mean 'range'"):
        ActObserver(network, linear_sites(["a"]), LEVELS, statistics=["ranges"])


@pytest.mark.parametrize(
    ("kind", "layer"), [("conv1d", nn.Conv1d(3, 5, 2)), ("conv_transpose2d", nn.ConvTranspose2d(3, 5, 2))]
)
def test_a_weight_has_a_column_for_each_input_channel(kind, layer):
    rows = rows_of(layer.weight, kind)
    assert rows.shape == (layer.weight.numel() // 3, 3)
    channels = layer.weight.unbind(0 if kind == "conv_transpose2d" else 1)
    assert torch.equal(rows.abs().amax(0), torch.stack([channel.abs().max() for channel in channels]))
