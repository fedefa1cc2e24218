"""LAION-CLAP's network and tokenizer, built from given files alone: no hub is asked."""

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from torch import nn

from audioptq.embed.torch_file import fill_network, read_torch_file
from audioptq.errors import DamagedArtifactError, damaged
from audioptq.files.artifacts import read_json
from audioptq.machine.compat import allow_cuda_wheels_on_cpu, quietly

# roberta-base's published config.json, where it differs from RobertaConfig's own values. The weights cannot betray a wrong
# `layer_norm_eps`.
ROBERTA_BASE: dict[str, Any] = {
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
# From the documentation of roberta-base's tokenizer: holds only for its own vocabulary and merges.
KNOWN_TOKENS = ("Hello world", [0, 31414, 232, 2])
# A buffer that transformers dropped in 4.31; the published checkpoints still have it (LAION-AI/CLAP, issue 118).
DROPPED_BUFFER = "text_branch.embeddings.position_ids"


@dataclass(frozen=True)
class ClapVariant:
    """Which of laion_clap's networks a checkpoint holds.

    Attributes:
        audio_model: Name of the audio encoder in laion_clap.
        fusion: Whether it was trained with feature fusion for clips beyond 10 s.
    """

    audio_model: str
    fusion: bool

    def __str__(self) -> str:
        """As errors name it."""
        return f"{self.audio_model} {'with' if self.fusion else 'without'} fusion"


def build_network(variant: ClapVariant) -> tuple[nn.Module, Mapping[str, Any]]:
    """The network with random weights, and laion_clap's settings of its audio."""
    package = _clap_module()
    with quietly(), _roberta_from_its_geometry(package):
        network, settings = package.factory.create_model(
            variant.audio_model,
            "roberta",
            device="cpu",
            enable_fusion=variant.fusion,
            fusion_type="aff_2d" if variant.fusion else "None",
        )
    return network, settings["audio_cfg"]


def read_network(path: Path, variant: ClapVariant) -> tuple[nn.Module, Mapping[str, Any]]:
    """The network with the weights of a published checkpoint, and laion_clap's settings of its audio.

    Raises:
        DamagedArtifactError: If the file does not hold it.
    """
    checkpoint = read_torch_file(path)
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, Mapping) else checkpoint
    if isinstance(state, Mapping):
        # It was trained in parallel, which puts `module.` before every name.
        state = {str(name).removeprefix("module."): value for name, value in state.items()}
        state.pop(DROPPED_BUFFER, None)
    network, audio = build_network(variant)
    return fill_network(network, state, path, f"LAION-CLAP's {variant}"), audio


def read_tokenizer(vocabulary: Path, merges: Path) -> Any:
    """roberta-base's tokenizer from vocab.json and merges.txt.

    Raises:
        DamagedArtifactError: If the files are not roberta-base's: other tokens would give every caption another meaning.
    """
    from transformers import RobertaTokenizer

    tokens = read_json(vocabulary, foreign=True)
    try:
        lines = [line for line in merges.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise _other_tokenizer(vocabulary, merges, str(error)) from error
    pairs: list[Any] = [tuple(line.split(" ")) for line in lines if not line.startswith("#version")]
    try:
        tokenizer = RobertaTokenizer(vocab=tokens, merges=pairs)
        found = len(tokenizer), tokenizer(KNOWN_TOKENS[0])["input_ids"]
    except Exception as error:  # the tokenizers library raises bare exceptions
        raise _other_tokenizer(vocabulary, merges, str(error)) from error
    if found != (ROBERTA_BASE["vocab_size"], KNOWN_TOKENS[1]):
        raise _other_tokenizer(
            vocabulary,
            merges,
            f"of {found[0]} tokens, with {KNOWN_TOKENS[0]!r} as {found[1]}; roberta-base has "
            f"{ROBERTA_BASE['vocab_size']} and {KNOWN_TOKENS[1]}",
        )
    return tokenizer


def _other_tokenizer(vocabulary: Path, merges: Path, why: str) -> DamagedArtifactError:
    cure = "Replace them by vocab.json and merges.txt of roberta-base (workflow/weights.tsv has their addresses)."
    return damaged(f"{vocabulary} and {merges}", f"they do not make roberta-base's tokenizer: {why}", cure)


def _clap_module() -> ModuleType:
    """`laion_clap/clap_module`, the networks, without `laion_clap` itself.

    That would ask a hub for three tokenizers, hang for minutes without a network, and offline be content with empty ones.
    """
    if "clap_module" not in sys.modules:
        allow_cuda_wheels_on_cpu()
        package = find_spec("laion_clap")
        folders = list(package.submodule_search_locations or []) if package else []
        sys.path[:0] = folders  # it is imported as a package of its own, as laion_clap does
        try:
            with quietly():
                importlib.import_module("clap_module")
        finally:
            sys.path[:] = [entry for entry in sys.path if entry not in folders]
    return sys.modules["clap_module"]


@contextmanager
def _roberta_from_its_geometry(package: ModuleType) -> Iterator[None]:
    """Has the text encoder built with random weights: laion_clap asks a hub for roberta-base, then overwrites its weights."""
    from transformers import RobertaConfig, RobertaModel

    original = package.model.RobertaModel
    package.model.RobertaModel = SimpleNamespace(
        from_pretrained=lambda name: RobertaModel(RobertaConfig(**ROBERTA_BASE))
    )
    try:
        yield
    finally:
        package.model.RobertaModel = original
