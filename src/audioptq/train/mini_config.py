"""The configuration of `mini`, in stable-audio-tools' schema: Stable Audio Open's, scaled down."""

from typing import Any

from audioptq.soundscapes import SAMPLE_RATE_HZ, VOCABULARY

CLIP_SAMPLES = 65536  # 4.096 s
MAX_SECONDS = 8.192
LATENT_CHANNELS, COND_DIM = 96, 128


def mini_config() -> dict[str, Any]:
    """The model configuration; what differs from Stable Audio Open's is the size, the pretransform and the text encoder."""
    seconds = {"min_val": 0, "max_val": MAX_SECONDS}
    return {
        "model_type": "diffusion_cond",
        "sample_size": CLIP_SAMPLES,
        "sample_rate": SAMPLE_RATE_HZ,
        "audio_channels": 1,
        "model": {
            "pretransform": {
                "type": "mel_pca",
                "config": {
                    "n_fft": 1024,
                    "hop_length": 256,
                    "n_mels": 64,
                    "patch_frames": 8,
                    "channels": LATENT_CHANNELS,
                },
            },
            "conditioning": {
                "configs": [
                    {
                        "id": "prompt",
                        "type": "word_transformer",
                        "config": {"vocabulary": list(VOCABULARY), "dim": 128},
                    },
                    {"id": "seconds_start", "type": "number", "config": seconds},
                    {"id": "seconds_total", "type": "number", "config": seconds},
                ],
                "cond_dim": COND_DIM,
            },
            "diffusion": {
                "cross_attention_cond_ids": ["prompt", "seconds_start", "seconds_total"],
                "global_cond_ids": ["seconds_start", "seconds_total"],
                "type": "dit",
                "config": {
                    "io_channels": LATENT_CHANNELS,
                    "embed_dim": 256,
                    "depth": 8,
                    "num_heads": 4,
                    "cond_token_dim": COND_DIM,
                    "global_cond_dim": 2 * COND_DIM,
                    "project_cond_tokens": False,
                    "transformer_type": "continuous_transformer",
                },
            },
            "io_channels": LATENT_CHANNELS,
        },
    }
