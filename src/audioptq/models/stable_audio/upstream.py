"""The parts of stable-audio-tools that the adapter uses, imported without what that prints and takes along."""

import os

from audioptq.machine.compat import allow_cuda_wheels_on_cpu, lean_imports, quiet_imports

allow_cuda_wheels_on_cpu()
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # stable-audio-tools asks a hub for tokenizers at import; none is needed

with quiet_imports(), lean_imports():
    from stable_audio_tools.models.autoencoders import DecoderBlock, OobleckDecoder, ResidualUnit
    from stable_audio_tools.models.blocks import SnakeBeta
    from stable_audio_tools.models.conditioners import Conditioner, T5Conditioner
    from stable_audio_tools.models.diffusion import create_diffusion_cond_from_config
    from stable_audio_tools.models.pretransforms import AutoencoderPretransform, Pretransform
    from stable_audio_tools.models.transformer import GLU, LayerNorm, TransformerBlock

T5_WIDTHS: dict[str, int] = T5Conditioner.T5_MODEL_DIMS

__all__ = [
    "GLU",
    "T5_WIDTHS",
    "AutoencoderPretransform",
    "Conditioner",
    "DecoderBlock",
    "LayerNorm",
    "OobleckDecoder",
    "Pretransform",
    "ResidualUnit",
    "SnakeBeta",
    "TransformerBlock",
    "create_diffusion_cond_from_config",
]
