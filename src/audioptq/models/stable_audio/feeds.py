"""Which module makes the input of each linear layer of a transformer block, channel by channel."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audioptq.models.stable_audio.upstream import GLU, LayerNorm, TransformerBlock


@dataclass(frozen=True)
class Feed:
    """Where the input of a linear layer comes from.

    Attributes:
        layer: Name of the layer.
        source: Name of the norm or linear layer: if its output `rows[j]` is multiplied by a number, and so are all others that
            channels of this layer are made of, then channel `j` of the layer's input is multiplied by that number.
        rows: int64 `[in]`.
        obstacle: Why that is not so here, as a clause; None if it is.
    """

    layer: str
    source: str
    rows: Tensor
    obstacle: str | None = None


def block_feeds(network: nn.Module) -> list[Feed]:
    """The feeds of all transformer blocks, in stable-audio-tools' layout.

    Queries, keys and values of the latents, queries to the prompt, and the feed-forward's first layer read a norm; an attention's
    output layer reads weighted means of its values, which the rotary embedding leaves alone; the feed-forward's second layer reads
    `a silu(g)`, of which `a` is the first half of the first layer's outputs. Keys and values of the prompt have no feed: all blocks
    read the same prompt.
    """
    blocks = [(name, module) for name, module in network.named_modules() if isinstance(module, TransformerBlock)]
    return [feed for name, block in blocks for feed in _of_block(name, block)]


def _of_block(name: str, block: Any) -> Iterator[Feed]:
    is_modulated = block.global_cond_dim is not None
    yield _from_norm(name, "pre_norm", block.pre_norm, "self_attn.to_qkv", is_modulated)
    yield _from_values(f"{name}.self_attn", block.self_attn, "to_qkv", 2)
    if block.cross_attend and hasattr(block.cross_attn, "to_kv"):
        yield _from_norm(name, "cross_attend_norm", block.cross_attend_norm, "cross_attn.to_q", is_modulated=False)
        yield _from_values(f"{name}.cross_attn", block.cross_attn, "to_kv", 1)
    if isinstance(block.ff.ff[0], GLU):
        yield _from_norm(name, "ff_norm", block.ff_norm, "ff.ff.0.proj", is_modulated)
        values = torch.arange(block.ff.ff[0].proj.out_features // 2)
        yield Feed(f"{name}.ff.ff.2", f"{name}.ff.ff.0.proj", values)


def _from_norm(block: str, norm: str, module: nn.Module, layer: str, is_modulated: bool) -> Feed:
    obstacle = None
    if is_modulated:
        obstacle = "the timestep and the prompt modulate the norm before it"
    elif not isinstance(module, LayerNorm):
        obstacle = f"{type(module).__name__} before it is no layer norm"
    gamma: Any = module.gamma
    return Feed(f"{block}.{layer}", f"{block}.{norm}", torch.arange(len(gamma)), obstacle)


def _from_values(attention: str, module: Any, source: str, before: int) -> Feed:
    """`before`: how many parts as wide as the values stand before them in the source's output (queries, keys)."""
    obstacle = "its attention is differential" if module.differential else None
    head = torch.arange(module.num_heads) // (module.num_heads // module.kv_heads)
    row = (before * module.kv_heads + head).unsqueeze(1) * module.dim_heads + torch.arange(module.dim_heads)
    return Feed(f"{attention}.to_out", f"{attention}.{source}", row.flatten(), obstacle)
