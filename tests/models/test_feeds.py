"""What is said of a layer's input holds: scale the outputs of its source, and the input is scaled, channel by channel."""

import pytest
import torch
from torch import nn

from audioptq.models.stable_audio.feeds import block_feeds
from audioptq.models.stable_audio.upstream import TransformerBlock

WIDTH, CONTEXT = 32, 16
LAYERS = ("self_attn.to_qkv", "self_attn.to_out", "cross_attn.to_q", "cross_attn.to_out", "ff.ff.0.proj", "ff.ff.2")
ROUNDING = 1e-12  # of float64


def network_of(**changes):
    """A block with four heads of queries and, by default, two of the prompt's keys and values."""
    torch.manual_seed(0)
    sizes = {"dim_heads": 8, "cross_attend": True, "dim_context": CONTEXT, "zero_init_branch_outputs": False}
    block = TransformerBlock(WIDTH, **(sizes | changes)).double().eval().requires_grad_(False)
    return nn.ModuleDict({"layers": nn.ModuleList([block])})


def input_of(network, name, context_width):
    """What the layer reads when the block runs on seeded latents and a seeded prompt."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 7, WIDTH, dtype=torch.float64, generator=generator)
    context = torch.randn(2, 5, context_width, dtype=torch.float64, generator=generator)
    seen = []
    handle = network.get_submodule(name).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network["layers"][0](x, context=context)
    handle.remove()
    return seen[0]


def feeds_of(network):
    return {feed.layer.removeprefix("layers.0."): feed for feed in block_feeds(network)}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("context_width", [8, 16, 32])
@pytest.mark.parametrize("qk_norm", ["none", "ln"])
def test_an_input_is_scaled_with_the_outputs_it_is_made_of(layer, context_width, qk_norm):
    network = network_of(dim_context=context_width, attn_kwargs={"qk_norm": qk_norm})
    feed = feeds_of(network)[layer]
    assert feed.obstacle is None
    before = input_of(network, feed.layer, context_width)
    assert feed.rows.shape == before.shape[-1:]
    factors = torch.ones(1000, dtype=torch.float64)
    factors[feed.rows.unique()] = torch.rand(len(feed.rows.unique()), dtype=torch.float64) + 0.5
    network.get_submodule(feed.source).register_forward_hook(lambda _module, _given, y: y * factors[: y.shape[-1]])
    after = input_of(network, feed.layer, context_width)
    assert (after - before * factors[feed.rows]).abs().max() <= ROUNDING * before.abs().max()
    assert not torch.allclose(after, before)


def test_the_gate_and_the_queries_are_no_part_of_any_feed():
    feeds = feeds_of(network_of())
    assert feeds["ff.ff.2"].rows.tolist() == list(range(4 * WIDTH))
    assert feeds["self_attn.to_out"].rows.tolist() == list(range(2 * WIDTH, 3 * WIDTH))
    assert feeds["cross_attn.to_out"].rows.tolist() == [*range(16, 24), *range(16, 24), *range(24, 32), *range(24, 32)]


def test_the_prompts_keys_and_values_have_no_feed_and_a_block_without_a_prompt_fewer():
    assert set(feeds_of(network_of())) == set(LAYERS)
    alone = feeds_of(network_of(cross_attend=False))
    assert set(alone) == {name for name in LAYERS if not name.startswith("cross_attn")}


@pytest.mark.parametrize(
    ("changes", "obstacles"),
    [
        ({"global_cond_dim": WIDTH}, {"self_attn.to_qkv": "modulate", "ff.ff.0.proj": "modulate"}),
        (
            {"remove_norms": True},
            dict.fromkeys(["self_attn.to_qkv", "cross_attn.to_q", "ff.ff.0.proj"], "DynamicTanh before it is no layer"),
        ),
        (
            {"attn_kwargs": {"differential": True}},
            dict.fromkeys(["self_attn.to_out", "cross_attn.to_out"], "its attention is differential"),
        ),
    ],
    ids=["adaLN", "no norms", "differential"],
)
def test_what_breaks_the_proportion_is_said(changes, obstacles):
    feeds = feeds_of(network_of(**changes))
    found = {name: feed.obstacle for name, feed in feeds.items() if feed.obstacle}
    assert set(found) == set(obstacles)
    assert all(text in found[name] for name, text in obstacles.items())


def test_a_feed_forward_without_a_gate_has_none():
    feeds = feeds_of(network_of(ff_kwargs={"glu": False}))
    assert not any(name.startswith("ff") for name in feeds)
