"""Where a model's quantizable layers are, and what each of them does."""

from pathlib import Path

from torch import nn

from audioptq.models.stable_audio.files import tensor_shapes
from audioptq.site import Site

# The transformer blocks in stable-audio-tools' names; what lies around them stays in float.
BLOCKS = "model.model.transformer.layers."
# Role of a layer by its name within its block.
ROLES = {
    "self_attn.to_qkv": "qkv",
    "self_attn.to_out": "out",
    "cross_attn.to_q": "cross_q",
    "cross_attn.to_kv": "cross_kv",
    "cross_attn.to_out": "cross_out",
    "ff.ff.0.proj": "ff_in",
    "ff.ff.2": "ff_out",
}
PROMPT_ROLES = ("cross_kv",)


def sites_of(network: nn.Module) -> list[Site]:
    """The linear layers of the transformer blocks, in the order in which they are built."""
    return [
        _site(name)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(BLOCKS)
    ]


def _site(name: str) -> Site:
    block, _, within = name.removeprefix(BLOCKS).partition(".")
    role = ROLES.get(within)
    return Site(name, "linear", block=block, role=role, reads_prompt_only=role in PROMPT_ROLES)


def block_linears(weights: str | Path) -> list[str]:
    """Names of the linear layers of the transformer blocks: those of their weights that are matrices.

    Args:
        weights: `model.safetensors` or `model.ckpt`.

    Raises:
        DamagedArtifactError: If the file is missing or cannot be read.
    """
    shapes = tensor_shapes(weights)
    return [
        name.removesuffix(".weight")
        for name, shape in shapes.items()
        if name.startswith(BLOCKS) and name.endswith(".weight") and len(shape) == 2
    ]
