"""Writes models in the layouts in which Stable Audio Open 1.0, its Small and google-t5/t5-base are published, with random weights.

    python tests/published_model.py folder full            # 4.85 GB + 0.9 GB, tensor by tensor: folder/model, folder/t5
    python tests/published_model.py folder open_small_full # 1.68 GB + 0.9 GB: Stable Audio Open Small

The keys of the configuration are those of the published model_config.json, as two public copies of it agree on them
(yukara-ikemiya/friendly-stable-audio-tools and a ComfyUI node); the counts of parameters are in tests/models/test_published.py.
"""

import json
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SEED = 1234
WORDS = "a an the of and dog cat man woman bird bark barks rain falls wind blows bell rings speaks sings engine runs water".split()
SPECIAL = ["<pad>", "</s>", "<unk>"]
N_SENTINELS = 100  # <extra_id_0> and so on
# Config of the DiT, of the autoencoder and of T5, small and as published.
SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "sample_size": 2**19, "channels": 4, "latent": 8, "cond": 32, "embed": 64, "depth": 2, "heads": 2, "t5": "t5-random",
    },
    # Stable Audio Open Small, small and as published.
    "open_small": {
        "sample_size": 2**19, "channels": 4, "latent": 8, "cond": 32, "embed": 64, "depth": 2, "heads": 2, "t5": "t5-random",
    },
    "open_small_full": {
        "sample_size": 2**19, "channels": 128, "latent": 64, "cond": 768, "embed": 1024, "depth": 16, "heads": 8, "t5": "t5-base",
    },
    "full": {
        "sample_size": 2**21, "channels": 128, "latent": 64, "cond": 768, "embed": 1536, "depth": 24, "heads": 24, "t5": "t5-base",
    },
}  # fmt: skip
T5_SIZES: dict[str, dict[str, int]] = {
    "small": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 256},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "vocab_size": 32128},
}
# As built: constants, and what starts at a value that training only moves a little.
KEPT = ("gamma", "alpha", "beta", "inv_freq", "timestep_features.weight", ".weights", "relative_attention_bias.weight")


def published_config(geometry: str = "small") -> dict[str, Any]:
    """`model_config.json` with the published keys."""
    size = SIZES[geometry]
    coder = {"channels": size["channels"], "c_mults": [1, 2, 4, 8, 16], "strides": [2, 4, 4, 8, 8], "use_snake": True}
    encoder = {"in_channels": 2, **coder, "latent_dim": 2 * size["latent"]}
    decoder = {"out_channels": 2, **coder, "latent_dim": size["latent"], "final_tanh": False}
    autoencoder = {
        "encoder": {"type": "oobleck", "requires_grad": False, "config": encoder},
        "decoder": {"type": "oobleck", "config": decoder},
        "bottleneck": {"type": "vae"},
        "latent_dim": size["latent"],
        "downsampling_ratio": 2048,
        "io_channels": 2,
    }
    is_small = geometry.startswith("open_small")
    timing = ["seconds_total"] if is_small else ["seconds_start", "seconds_total"]
    seconds = {"type": "number", "config": {"min_val": 0, "max_val": 256 if is_small else 512}}
    max_length = 64 if is_small else 128
    prompt = {"id": "prompt", "type": "t5", "config": {"t5_model_name": size["t5"], "max_length": max_length}}
    configs = [prompt, *({"id": name, **seconds} for name in timing)]
    dit: dict[str, Any] = {
        "io_channels": size["latent"],
        "embed_dim": size["embed"],
        "depth": size["depth"],
        "num_heads": size["heads"],
        "cond_token_dim": size["cond"],
        "global_cond_dim": len(timing) * size["cond"],
        "transformer_type": "continuous_transformer",
    }
    dit |= {"attn_kwargs": {"qk_norm": "ln"}} if is_small else {"project_cond_tokens": False}
    diffusion = {
        "cross_attention_cond_ids": ["prompt", *timing],
        "global_cond_ids": timing,
        "type": "dit",
        "config": dit,
    }
    if is_small:
        diffusion["diffusion_objective"] = "rf_denoiser"
    model = {
        "pretransform": {"type": "autoencoder", "iterate_batch": True, "config": autoencoder},
        "conditioning": {"configs": configs, "cond_dim": size["cond"]},
        "diffusion": diffusion,
        "io_channels": size["latent"],
    }
    return {
        "model_type": "diffusion_cond",
        "sample_size": size["sample_size"],
        "sample_rate": 44100,
        "audio_channels": 2,
        "model": model,
        "training": {"use_ema": True, "log_loss_info": False},
    }


def publish_stable_audio(directory: str | Path, geometry: str = "small", dtype: str = "float32") -> Path:
    """Writes `model_config.json` and `model.safetensors`; the peak of memory is far below the file's size.

    Layers that stable-audio-tools starts at zero get weights like the others: else nothing would react to prompt or recipe.
    """
    from audioptq.models.stable_audio.build import WithoutInitialising, build_network

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    config = published_config(geometry)
    (directory / "model_config.json").write_text(json.dumps(config, indent=2))
    torch.manual_seed(SEED)
    with WithoutInitialising():
        state = build_network(config).state_dict()
    # Small's file has its autoencoder in 16 bits.
    is_half = "pretransform." if geometry.startswith("open_small") else "nothing"
    write_safetensors(directory / "model.safetensors", state, random_value(), getattr(torch, dtype), is_half)
    return directory


def publish_t5(directory: str | Path, size: str = "small") -> Path:
    """Writes `config.json`, `model.safetensors` (encoder and decoder), `tokenizer.json` and `tokenizer_config.json`."""
    from transformers import T5Config, T5ForConditionalGeneration

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    config = T5Config(
        **T5_SIZES[size], architectures=["T5ForConditionalGeneration"], decoder_start_token_id=0, dropout_rate=0.1
    )
    config.save_pretrained(str(directory))
    with torch.device("meta"):
        state = T5ForConditionalGeneration(config).state_dict()
    tied = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")  # of shared.weight
    state = {name: tensor for name, tensor in state.items() if name not in tied}
    write_safetensors(directory / "model.safetensors", state, random_value(), torch.float32)
    n_rows = T5_SIZES[size]["vocab_size"]
    write_tokenizer(directory, n_rows - 28 if size == "base" else n_rows)
    return directory


def random_value() -> Callable[[str, Tensor], Tensor]:
    """Seeded values by name and shape, of a scale that neither fades nor explodes along the network."""
    generator = torch.Generator().manual_seed(SEED)

    def value(name: str, tensor: Tensor) -> Tensor:
        if name.endswith("weight_g"):
            return torch.full(tensor.shape, conv_gain(name, tensor))
        if "norm" in name.rpartition(".")[0].rpartition(".")[2]:
            return torch.full(
                tensor.shape, 0.0 if name.endswith("bias") else 1.0
            )  # T5's, and those of queries and keys
        if name.endswith(KEPT) and not tensor.is_meta:
            return tensor
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim < 2:
            return 0.02 * noise
        gain = 0.2 if name.endswith(("project_out.weight", "relative_attention_bias.weight")) else 1.0
        return noise * gain * tensor[0].numel() ** -0.5

    return value


def conv_gain(name: str, norm: Tensor) -> float:
    """Norm of each kernel of the autoencoder: 1 keeps the power; small in the residual branches and before the audio."""
    if norm.shape[0] == 2:  # the last one: two channels of audio
        return 0.004
    return 0.3 if name.endswith("layers.3.weight_g") and name.count("layers.") == 4 else 1.0


def write_safetensors(
    path: Path,
    state: Mapping[str, Tensor],
    value: Callable[[str, Tensor], Tensor],
    dtype: torch.dtype,
    half: str = "nothing",
) -> None:
    """Writes a safetensors file tensor by tensor: 8 bytes of length, the header as JSON, the data in the header's order.

    Names that begin with `half` are stored in float16.
    """
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    types = {name: torch.float16 if name.startswith(half) else dtype for name in state}
    end, header = 0, {}
    for name, tensor in state.items():
        start, end = end, end + tensor.numel() * types[name].itemsize
        header[name] = {"dtype": kinds[types[name]], "shape": list(tensor.shape), "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as handle:
        handle.write(struct.pack("<Q", len(head)) + head)
        for name, tensor in state.items():
            stored = value(name, tensor).detach().to(types[name]).contiguous()
            handle.write(stored.flatten().view(torch.uint8).numpy().data)


def write_tokenizer(directory: Path, n_tokens: int) -> None:
    """A tokenizer of T5's kind: pieces of words with scores (unigram), an end token, and 100 sentinels at the end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = ["▁", *letters, *(f"▁{word}" for word in WORDS), ",", "."]
    scores = {piece: -8.0 if len(piece) == 1 else -4.0 for piece in pieces}
    n_pieces = n_tokens - N_SENTINELS - len(SPECIAL)
    filler = {f"▁{index}#": -20.0 for index in range(n_pieces - len(scores))}
    vocabulary = [(token, 0.0) for token in SPECIAL] + list((scores | filler).items())
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL.index("<unk>"), byte_fallback=False))
    space = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", SPECIAL.index("</s>"))]
    )
    sentinels = [f"<extra_id_{index}>" for index in range(N_SENTINELS)]
    tokenizer.add_special_tokens([*SPECIAL, *reversed(sentinels)])
    assert tokenizer.get_vocab_size(with_added_tokens=True) == n_tokens
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": N_SENTINELS, "model_max_length": 512}
    tokens = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "additional_special_tokens": sentinels}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings | tokens))


if __name__ == "__main__":
    folder, geometry = Path(sys.argv[1]), sys.argv[2]
    print(
        publish_stable_audio(folder / "model", geometry),
        publish_t5(folder / "t5", "base" if geometry.endswith("full") else "small"),
    )
