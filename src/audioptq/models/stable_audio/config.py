"""What of a model configuration may be built: checked here alone, before any module is.

stable-audio-tools builds whatever a configuration names, with modules that open files, download or unpickle. A configuration
comes from others, also within a quantized file, so it chooses among what is listed here and nothing else.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from audioptq.errors import UserError, did_you_mean

CONDITIONERS = ("number", "int", "word_transformer", "t5")
CONDITIONER_IDS = ("prompt", "seconds_start", "seconds_total")
PRETRANSFORMS = ("mel_pca", "autoencoder")
# By stable-audio-tools' names: the published few-step models are trained further from a rectified flow.
OBJECTIVES = {"v": "v", "rectified_flow": "rectified_flow", "rf_denoiser": "rectified_flow"}
AUTOENCODER = (
    "encoder", "decoder", "bottleneck", "latent_dim", "downsampling_ratio", "io_channels", "in_channels", "out_channels",
    "soft_clip", "sample_rate",
)  # fmt: skip
# Whole numbers and their bounds, beyond which a wrong file would take the machine's memory; none is near a real model's.
DENOISER = {"io_channels": 65536, "embed_dim": 16384, "depth": 256, "num_heads": 1024}
OPTIONAL = ("cond_token_dim", "global_cond_dim", "patch_size", "prepend_cond_dim", "input_concat_dim")
LARGEST = 65536
LONGEST = 2**28  # samples


def check_config(config: Mapping[str, Any]) -> None:
    """Checks that a model configuration describes a model that is sampled here, and asks for nothing else.

    Raises:
        UserError: Naming the key, what it is and what is legal.
    """
    for path, value in _leaves(config, ""):
        name = path.rpartition(".")[2]
        if name.endswith("ckpt_path"):
            raise _refused(path, value, "a configuration may name no file to read weights from")
        if path.startswith("model.") and isinstance(value, int | float) and not isinstance(value, bool):
            _number(path, value, -LARGEST, LARGEST)
    _one_of(config, "model_type", ("diffusion_cond",))
    _whole(config, "sample_rate", 1, 10**6)
    _whole(config, "sample_size", 1, LONGEST)
    _whole(config, "model.io_channels", 1, LARGEST)
    _check_denoiser(config)
    _check_conditioning(config)
    if _get(config, "model", dict).get("pretransform") is not None:
        _check_pretransform(config)


def objective_name(config: Mapping[str, Any]) -> str:
    """The objective of a configuration, a key of `noise_levels.NAMES`.

    Raises:
        UserError: If it is none that is sampled here.
    """
    name = _get(config, "model.diffusion", dict).get("diffusion_objective", "v")
    if name not in OBJECTIVES:
        raise _refused("model.diffusion.diffusion_objective", name, f"{', '.join(OBJECTIVES)} are sampled here")
    return OBJECTIVES[name]


def _check_denoiser(config: Mapping[str, Any]) -> None:
    _one_of(config, "model.diffusion.type", ("dit",))
    objective_name(config)
    inner = _get(config, "model.diffusion.config", dict)
    for key, most in DENOISER.items():
        _whole(config, f"model.diffusion.config.{key}", 1, most)
    for key in OPTIONAL:
        if key in inner:
            _whole(config, f"model.diffusion.config.{key}", 0, LARGEST)
    if inner["embed_dim"] % inner["num_heads"]:
        raise _refused(
            "model.diffusion.config.num_heads",
            inner["num_heads"],
            f"a divisor of embed_dim, {inner['embed_dim']}, is needed",
        )


def _check_conditioning(config: Mapping[str, Any]) -> None:
    _whole(config, "model.conditioning.cond_dim", 1, LARGEST)
    entries = _get(config, "model.conditioning.configs", list)
    for index, entry in enumerate(entries):
        where = f"model.conditioning.configs.{index}"
        if not isinstance(entry, dict):
            raise _refused(where, entry, "a mapping with id, type and config is needed")
        _one_of(config, f"{where}.type", CONDITIONERS)
        _one_of(config, f"{where}.id", CONDITIONER_IDS)
        _get(config, f"{where}.config", dict)
    ids = [entry["id"] for entry in entries]
    if "prompt" not in ids:
        raise _refused("model.conditioning.configs", ids, "one with the id prompt is needed, which takes the caption")
    for key in ("cross_attention_cond_ids", "global_cond_ids", "input_concat_ids", "prepend_cond_ids"):
        names = _get(config, "model.diffusion", dict).get(key, [])
        if not isinstance(names, list) or not all(name in ids for name in names):
            raise _refused(
                f"model.diffusion.{key}", names, f"a list of ids of conditioners is needed: {', '.join(ids)}"
            )


def _check_pretransform(config: Mapping[str, Any]) -> None:
    where = "model.pretransform"
    _one_of(config, f"{where}.type", PRETRANSFORMS)
    if _get(config, where, dict)["type"] == "mel_pca":
        for key, value in _get(config, where, dict).get("config", {}).items():
            _number(f"{where}.config.{key}", value, 0, 8192)
        return
    for key in _get(config, f"{where}.config", dict):
        if key not in AUTOENCODER:
            raise _refused(f"{where}.config.{key}", "there", f"an autoencoder has {', '.join(AUTOENCODER)}")
    for key in ("latent_dim", "downsampling_ratio", "io_channels"):
        _whole(config, f"{where}.config.{key}", 1, LARGEST)
    for part in ("encoder", "decoder"):
        _one_of(config, f"{where}.config.{part}.type", ("oobleck",))
        _get(config, f"{where}.config.{part}.config", dict)
    if _get(config, f"{where}.config", dict).get("bottleneck") is not None:
        _one_of(config, f"{where}.config.bottleneck.type", ("vae", "tanh"))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every entry that is no mapping or list of such, by its path."""
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        where = f"{path}.{key}" if path else str(key)
        yield where, inner
        yield from _leaves(inner, where)


def _get(config: Any, path: str, kind: type | tuple[type, ...]) -> Any:
    """The value at a path, of a type; a list's entries go by their number."""
    value, seen = config, []
    for key in path.split("."):
        seen.append(key)
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError) as error:
            raise _refused(".".join(seen), "absent", "it is needed") from error
    if not isinstance(value, kind) or isinstance(value, bool):
        names = {dict: "a mapping", list: "a list", str: "text", int: "a whole number"}
        raise _refused(path, value, f"{names[kind if isinstance(kind, type) else kind[0]]} is needed")
    return value


def _whole(config: Mapping[str, Any], path: str, low: int, high: int) -> None:
    _number(path, _get(config, path, int), low, high)


def _number(path: str, value: Any, low: int, high: int) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not low <= value <= high:
        raise _refused(path, value, f"a number from {low} to {high} is needed")


def _one_of(config: Mapping[str, Any], path: str, legal: tuple[str, ...]) -> None:
    value = _get(config, path, str)
    if value not in legal:
        raise _refused(
            path, value, f"what is built here is {', '.join(legal)}.{did_you_mean(value, legal)}".rstrip(".")
        )


def _refused(path: str, value: object, why: str) -> UserError:
    said = repr(value)
    return UserError(
        f"The model configuration cannot be used: `{path}` is {said if len(said) <= 80 else f'{said[:77]}...'}; {why}. It must "
        "follow stable-audio-tools' schema for a conditioned diffusion model, as models/mini/model_config.json does "
        "(docs/adding-a-model.md)."
    )
