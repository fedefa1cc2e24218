"""The T5 text conditioner of Stable Audio Open, from a directory on this machine and in a dtype of one's choice."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.machine.compat import quiet_imports
from audioptq.models.stable_audio.upstream import T5_WIDTHS, Conditioner

FILES = ("config.json", "model.safetensors", "tokenizer.json")
# T5's embedding has 32,128 rows for 32,100 tokens: rounded up to a multiple of this.
ROWS_ROUNDED_TO = 128
SPACE = "▁"  # how the tokenizer marks the start of a word; alone it says nothing of the word


class T5TextConditioner(Conditioner):
    """Gives captions to the DiT's cross-attention exactly as stable-audio-tools' `T5Conditioner` does.

    That one takes T5 from a hub by its name and always computes in float16. T5's weights are not in the state dict, as there:
    they are read at the first caption, so that a stage that sees none needs no T5.

    Args:
        output_dim: Width that the cross-attention expects.
        directory: T5's `config.json`, `model.safetensors` and `tokenizer.json`; None where no caption will come.
        dtype: `float16` (the default, as in stable-audio-tools) or `float32`.
        t5_model_name: The name of the T5 that the model was trained with.
        max_length: Tokens of a caption, padding included; longer ones are cut.
        enable_grad: Whether the T5 was trained along; such a model brings its own, which is not supported.
        project_out: Whether a linear layer follows even if the widths agree.

    Raises:
        UserError: If the T5 is not the one that the model was trained with.
        DamagedArtifactError: If a file is missing or damaged.
    """

    def __init__(
        self,
        output_dim: int,
        directory: str | Path | None = None,
        dtype: str | None = None,
        t5_model_name: str = "t5-base",
        max_length: int = 128,
        enable_grad: bool = False,
        project_out: bool = False,
    ) -> None:
        if enable_grad:
            raise UserError(
                "The model's T5 was trained along with it (enable_grad in model_config.json) and lies in the model's own weights, "
                "which is not supported: use a model with a frozen T5."
            )
        # Of a T5 that is neither given nor known the width is a guess, which the names in the weights prove or disprove.
        width = T5_WIDTHS.get(t5_model_name, output_dim)
        if directory is not None:
            width = _width(Path(directory), t5_model_name)
        super().__init__(width, output_dim, project_out=project_out)
        self.directory = None if directory is None else Path(directory)
        self.name, self.max_length = t5_model_name, max_length
        self.dtype: torch.dtype = getattr(torch, dtype or "float16")
        self.__dict__["parts"] = None  # tokenizer and encoder; not a submodule, so that no state dict holds T5

    def load(self) -> tuple[Any, Any]:
        """The tokenizer and the encoder, read at the first call.

        Raises:
            UserError: If no directory was given.
            DamagedArtifactError: If its files are damaged.
        """
        if self.parts is None:
            if self.directory is None:
                raise no_text_encoder(self.name)
            self.__dict__["parts"] = read_tokenizer(self.directory), read_encoder(self.directory, self.dtype)
        return self.__dict__["parts"]

    def forward(self, x: list[str], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Embeddings `[batch, max_length, output_dim]`, zero where padded, and the mask `[batch, max_length]`."""
        tokenizer, encoder = self.load()
        encoder.to(device)
        tokens = tokenizer(x, truncation=True, max_length=self.max_length, padding="max_length", return_tensors="pt")
        present = tokens["attention_mask"].to(device).to(torch.bool)
        with torch.no_grad():
            hidden = encoder(input_ids=tokens["input_ids"].to(device), attention_mask=present)["last_hidden_state"]
        if isinstance(self.proj_out, torch.nn.Linear):
            hidden = hidden.to(self.proj_out.weight.dtype)
        return self.proj_out(hidden) * present.unsqueeze(-1).float(), present

    def dropped(self, caption: str) -> list[str]:
        """Words of `caption` of which T5 gets no token that it knows: behind the cut, or in letters that it lacks."""
        tokenizer, _ = self.load()
        tokens = tokenizer(caption, truncation=True, max_length=self.max_length, return_offsets_mapping=True)
        empty = {tokenizer.unk_token, tokenizer.eos_token, SPACE}
        pieces = tokenizer.convert_ids_to_tokens(tokens["input_ids"])
        known = [span for piece, span in zip(pieces, tokens["offset_mapping"], strict=True) if piece not in empty]
        words = re.finditer(r"\S+", caption)
        return [word[0] for word in words if not any(a < word.end() and b > word.start() for a, b in known)]


def read_tokenizer(directory: Path) -> Any:
    """The tokenizer of a T5 directory, checked against `tokenizer.json` and the encoder's embedding.

    transformers answers missing or foreign files with a tokenizer of five tokens, to which all captions are alike.

    Raises:
        DamagedArtifactError: If it is not the encoder's.
    """
    with quiet_imports():
        from tokenizers import Tokenizer
        from transformers import AutoTokenizer
    config = _read_config(directory)
    try:
        n_listed = Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab_size(with_added_tokens=True)
        tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    except Exception as error:  # tokenizers raises bare exceptions
        raise _damaged(directory, f"tokenizer.json cannot be read ({error})") from error
    n_tokens, n_rows = len(tokenizer), int(config["vocab_size"])
    # The file may leave the 100 sentinels to transformers, which adds them; it never has fewer tokens than it lists.
    if not n_listed <= n_tokens <= n_rows < n_tokens + ROWS_ROUNDED_TO:
        raise _damaged(
            directory,
            f"the tokenizer has {n_tokens} tokens, its tokenizer.json lists {n_listed}, and the encoder of config.json "
            f"embeds {n_rows}",
        )
    last = tokenizer("a dog barks")["input_ids"][-1:]
    if last != [config.get("eos_token_id", 1)] or tokenizer.pad_token_id != config.get("pad_token_id", 0):
        raise _damaged(directory, "the tokenizer does not end a caption with T5's end token, or pads with another one")
    return tokenizer


def read_encoder(directory: Path, dtype: torch.dtype) -> Any:
    """T5's encoder in `dtype`, rounded from float32 as a whole, as stable-audio-tools does it.

    Raises:
        DamagedArtifactError: If `model.safetensors` is damaged or lacks tensors of the encoder.
    """
    with quiet_imports():
        from transformers import T5EncoderModel
        from transformers.utils import logging
    logging.disable_progress_bar()
    previous = logging.get_verbosity()
    logging.set_verbosity_error()  # the decoder's tensors, of which it would list all, are not wanted
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loader: Any = T5EncoderModel  # whose annotations do not know that it can return two things
            encoder, found = loader.from_pretrained(
                str(directory),
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise _damaged(directory, f"model.safetensors cannot be read ({error})") from error
    finally:
        logging.set_verbosity(previous)
    if found["missing_keys"]:
        raise _damaged(directory, f"model.safetensors lacks {', '.join(sorted(found['missing_keys'])[:3])}")
    return encoder.eval().requires_grad_(False).to(dtype)


def no_text_encoder(name: str) -> UserError:
    """The error of a model whose T5 was not given."""
    return UserError(
        f"The model encodes its captions with T5 ({name}), whose files are not among its own: set `models.<name>.text_encoder` in "
        "the config, or `--text-encoder` of the command, to a directory with T5's config.json, model.safetensors and "
        "tokenizer.json (google-t5/t5-base for Stable Audio Open)."
    )


def _width(directory: Path, name: str) -> int:
    missing = [file for file in FILES if not (directory / file).is_file()]
    if missing:
        raise DamagedArtifactError(
            f"The text encoder's directory {directory} has no {' and no '.join(missing)}: it needs {', '.join(FILES)} of {name}. "
            "Copy them there, or correct `models.<name>.text_encoder` in the config."
        )
    width = int(_read_config(directory)["d_model"])
    if T5_WIDTHS.get(name, width) != width:
        raise UserError(
            f"The model was trained with {name}, which is {T5_WIDTHS[name]} wide, but the T5 in {directory} is {width} wide: point "
            "`models.<name>.text_encoder` in the config at the right one."
        )
    return width


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        return config | {key: int(config[key]) for key in ("d_model", "vocab_size")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(directory, f"config.json is no configuration of a T5 ({error!r})") from error


def _damaged(directory: Path, why: str) -> DamagedArtifactError:
    return DamagedArtifactError(
        f"The text encoder in {directory} cannot be used: {why}. Replace its files ({', '.join(FILES)}) by whole ones of one T5."
    )
