"""Where a model's quantizable layers are, read from the header of its weights: no network is built."""

from pathlib import Path

from audioptq.models.stable_audio.files import tensor_shapes

# The transformer blocks in stable-audio-tools' names; what lies around them stays in float.
BLOCKS = "model.model.transformer.layers."


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
