"""Where a model's quantizable layers are, read from the header of its weights: no network is built."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from audioptq.errors import DamagedArtifactError

# The transformer blocks in stable-audio-tools' names; what lies around them stays in float.
BLOCKS = "model.model.transformer.layers."


def block_linears(weights: str | Path) -> list[str]:
    """Names of the linear layers of the transformer blocks: those of their weights that are matrices.

    Raises:
        DamagedArtifactError: If the file is missing or is no safetensors file.
    """
    try:
        with safe_open(str(weights), framework="np") as handle:
            names = [name for name in handle.keys() if name.startswith(BLOCKS) and name.endswith(".weight")]
            return [name.removesuffix(".weight") for name in names if len(handle.get_slice(name).get_shape()) == 2]
    except (OSError, SafetensorError) as error:
        raise DamagedArtifactError(
            f"The model's weights {weights} cannot be read: {error}. Replace the file."
        ) from error
