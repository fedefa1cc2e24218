"""The parts of stable-audio-tools and k-diffusion that adapters use, imported without what those print on import."""

from audioptq.compat import quiet_imports

with quiet_imports():
    from k_diffusion.external import VDenoiser
    from stable_audio_tools.models.conditioners import Conditioner
    from stable_audio_tools.models.diffusion import create_diffusion_cond_from_config
    from stable_audio_tools.models.pretransforms import Pretransform

__all__ = ["Conditioner", "Pretransform", "VDenoiser", "create_diffusion_cond_from_config"]
