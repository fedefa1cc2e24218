"""LAION-CLAP's checkpoint and roberta-base's tokenizer, with random weights and made-up words."""

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from audioptq.embed.clap_network import ClapVariant, build_network

VARIANTS = {
    "clap_630k_audioset_fusion_best": ClapVariant("HTSAT-tiny", fusion=True),
    "clap_music_audioset_epoch_15": ClapVariant("HTSAT-base", fusion=False),
}


def write(folder: Path, file: str = "clap_630k_audioset_fusion_best") -> dict[str, Path]:
    """A checkpoint as LAION trained it: with an optimizer, numpy numbers, and `module.` before every name."""
    torch.manual_seed(30)
    state = OrderedDict((f"module.{key}", value) for key, value in weights(VARIANTS[file]).items())
    group = {"lr": np.float64(1e-4), "betas": (0.99, 0.9), "params": [0]}
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [group]}
    torch.save({"epoch": 45, "name": "a run", "state_dict": state, "optimizer": optimizer}, folder / "clap.pt")
    return {file: folder / "clap.pt"} | write_tokenizer(folder)


def weights(variant: ClapVariant) -> dict[str, torch.Tensor]:
    """The text encoder's tensors are named here as roberta-base's were when LAION trained; the rest is laion_clap's own."""
    made = {key: value for key, value in build_network(variant)[0].state_dict().items() if "text_branch." not in key}
    for key, value in made.items():
        if value.ndim == 1 and value.is_floating_point():  # biases and norms would otherwise be zeros and ones
            made[key] = value + 0.05 * torch.rand(value.shape)
    for key, shape in roberta_shapes().items():
        scale = torch.randn(shape) * 0.02
        made[f"text_branch.{key}"] = scale + 1 if key.endswith("LayerNorm.weight") else scale
    return {"text_branch.embeddings.position_ids": torch.arange(514)[None]} | made


def roberta_shapes(width: int = 768, inner: int = 3072) -> dict[str, tuple[int, ...]]:
    """Names and shapes of roberta-base's tensors."""

    def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}

    def norm(name: str) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (50265, width),
        "embeddings.position_embeddings.weight": (514, width),
        "embeddings.token_type_embeddings.weight": (1, width),
    } | norm("embeddings.LayerNorm")
    for layer in (f"encoder.layer.{index}" for index in range(12)):
        for name in ("query", "key", "value"):
            shapes |= linear(f"{layer}.attention.self.{name}", width, width)
        shapes |= linear(f"{layer}.attention.output.dense", width, width) | norm(f"{layer}.attention.output.LayerNorm")
        shapes |= linear(f"{layer}.intermediate.dense", inner, width)
        shapes |= linear(f"{layer}.output.dense", width, inner) | norm(f"{layer}.output.LayerNorm")
    return shapes | linear("pooler.dense", width, width)


def write_tokenizer(folder: Path) -> dict[str, Path]:
    """vocab.json and merges.txt: 50265 tokens, of which "Hello world" has its published ones and other words are letters."""
    from tokenizers.pre_tokenizers import ByteLevel

    merges = ["H e", "l l", "ll o", "He llo", "o r", "Ġ w", "Ġw or", "l d", "Ġwor ld"]
    known = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "Ġworld": 232, "Hello": 31414, "<mask>": 50264}
    words = sorted(ByteLevel.alphabet()) + [merge.replace(" ", "") for merge in merges]
    words = [word for word in words if word not in known] + [f"madeupword{index}" for index in range(50265)]
    free = (index for index in range(50265) if index not in known.values())
    vocabulary = known | dict(zip(words, free, strict=False))
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return {"roberta_vocab": folder / "vocab.json", "roberta_merges": folder / "merges.txt"}
