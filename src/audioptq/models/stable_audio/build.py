"""Builds networks from stable-audio-tools' configurations, with the module types that stable-audio-tools lacks."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from audioptq.errors import UserError
from audioptq.machine.compat import quietly
from audioptq.models.stable_audio.config import check_config
from audioptq.models.stable_audio.mel_pca import MelPcaPretransform
from audioptq.models.stable_audio.t5_text import T5TextConditioner
from audioptq.models.stable_audio.upstream import create_diffusion_cond_from_config
from audioptq.models.stable_audio.word_text import WordTransformerConditioner

# Those that stable-audio-tools lacks, or whose own loads what is not asked for.
PRETRANSFORMS: dict[str, type[nn.Module]] = {"mel_pca": MelPcaPretransform}
CONDITIONERS: dict[str, type[nn.Module]] = {"word_transformer": WordTransformerConditioner, "t5": T5TextConditioner}


class WithoutInitialising(TorchFunctionMode):
    """Within it new layers keep whatever their memory holds: drawing a billion numbers that a file replaces takes minutes.

    Memory that nobody has written is not taken from the machine either, so a network that waits for its weights costs nothing.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Passes every function on but those of `torch.nn.init`."""
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def build_network(
    config: dict[str, Any], text_encoder: str | Path | None = None, text_dtype: str | None = None
) -> nn.Module:
    """Builds the network with random weights; modules that stable-audio-tools does not know are put in afterwards.

    Args:
        config: stable-audio-tools' model configuration.
        text_encoder: Directory of the text encoder, for configurations with a `t5` conditioner.
        text_dtype: In which its text encoder computes; None for the model's own choice.

    Raises:
        UserError: If the model is of another kind than is sampled here (`config.check_config`), or its text encoder is not what
            is given.
    """
    check_config(config)
    config = copy.deepcopy(config)
    model = config["model"]
    pretransform = model.get("pretransform") or {}
    own_pretransform = PRETRANSFORMS.get(str(pretransform.get("type")))
    if own_pretransform is not None:
        del model["pretransform"]
    entries = model["conditioning"]["configs"]
    own_conditioners = [entry for entry in entries if entry["type"] in CONDITIONERS]
    model["conditioning"]["configs"] = [entry for entry in entries if entry["type"] not in CONDITIONERS]
    text = {"directory": text_encoder, "dtype": text_dtype}
    _check_text([entry["type"] for entry in entries], text)
    with quietly():  # of a deprecated weight_norm
        network = create_diffusion_cond_from_config(config)
    for entry in own_conditioners:
        arguments = entry["config"] | (text if entry["type"] == "t5" else {})
        module = CONDITIONERS[entry["type"]](output_dim=model["conditioning"]["cond_dim"], **arguments)
        network.conditioner.conditioners[entry["id"]] = module
    if own_pretransform is not None:
        network.pretransform = own_pretransform(sample_rate=config["sample_rate"], **pretransform.get("config", {}))
        network.min_input_length *= network.pretransform.downsampling_ratio
    return network


def _check_text(types: list[str], text: Mapping[str, Any]) -> None:
    if "t5" in types:
        return
    if text["dtype"] is not None:
        raise UserError(
            f"The recipe's `text_dtype` is {text['dtype']}, but this model has no T5 text encoder (its conditioners are "
            f"{', '.join(types)}): remove `text_dtype` from the recipe."
        )
    if text["directory"] is not None:
        raise UserError(
            f"`models.<name>.text_encoder` is {text['directory']}, but this model has no T5 text encoder (its conditioners are "
            f"{', '.join(types)}): remove the key."
        )
