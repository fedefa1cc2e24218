"""Decoding in chunks: the audio of a convolutional decoder, exact to float rounding, in bounded memory."""

from collections.abc import Callable
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from audioptq.models.stable_audio.upstream import (
    AutoencoderPretransform,
    DecoderBlock,
    OobleckDecoder,
    ResidualUnit,
    SnakeBeta,
)

# Latents of one chunk. Stable Audio Open's decoder takes 6 MB of activations per latent in float32: 0.9 GB for a chunk with its
# overlap, however long the clip. Smaller chunks repeat more of the overlap.
CHUNK_LATENTS = 128
# Those 6 MB are six tensors of the decoder's last block at a time, where the rate is that of the audio.
TENSORS_AT_A_TIME = 6

POINTWISE = (SnakeBeta, nn.ELU, nn.Tanh, nn.Identity)


def chunk_overlap(pretransform: nn.Module | None) -> int | None:
    """Latents on either side of a chunk that its audio depends on; None if the pretransform cannot be decoded in chunks.

    Chunks are exact where the decoder is convolutional and keeps lengths in proportion; nothing around it mixes times, of what a
    configuration may ask for (`config.check_config`).
    """
    if not isinstance(pretransform, AutoencoderPretransform):
        return None
    try:
        first, last = input_range(pretransform.model.decoder, 0, int(pretransform.downsampling_ratio) - 1)
    except NotImplementedError:
        return None
    return max(-first, last)


def decoding_bytes(pretransform: Any, overlap: int) -> int:
    """About what the activations of a chunk take, in float32."""
    last = [layer for layer in pretransform.model.decoder.layers if isinstance(layer, nn.Conv1d)][-1]
    samples = (CHUNK_LATENTS + 2 * overlap) * int(pretransform.downsampling_ratio)
    return 4 * TENSORS_AT_A_TIME * int(last.in_channels) * samples


def decode_in_chunks(
    decode: Callable[[Tensor], Tensor], latents: Tensor, n_samples: int, ratio: int, overlap: int
) -> Tensor:
    """The first `n_samples` of the audio `[batch, audio_channels, n_samples]` of latents, clip by clip and chunk by chunk.

    At the ends of the latents no overlap is taken: a decoder pads each of its layers there, which no added latent imitates.

    Args:
        decode: Audio `[1, audio_channels, ratio * frames]` of latents `[1, channels, frames]`.
        latents: `[batch, channels, frames]`.
        n_samples: Samples wanted, at most `ratio * frames`.
        ratio: Samples per latent.
        overlap: Of `chunk_overlap`.
    """
    frames = latents.shape[-1]
    wanted = min(ceil(n_samples / ratio), frames)
    clips = []
    for clip in latents.split(1):
        pieces = []
        for first in range(0, wanted, CHUNK_LATENTS):
            last = min(first + CHUNK_LATENTS, wanted)
            start, end = max(first - overlap, 0), min(last + overlap, frames)
            audio = decode(clip[..., start:end])
            pieces.append(audio[..., (first - start) * ratio : (last - start) * ratio])
        clips.append(torch.cat(pieces, dim=-1)[..., :n_samples])
    return torch.cat(clips)


def input_range(module: nn.Module, first: int, last: int) -> tuple[int, int]:
    """First and last position of a module's input that its outputs `first` to `last` depend on, padding counted as input.

    Raises:
        NotImplementedError: If the module is not one whose reach is known, or if it changes lengths out of proportion.
    """
    if isinstance(module, POINTWISE):
        return first, last
    if isinstance(module, nn.Conv1d):
        return _range_of_convolution(module, first, last)
    if isinstance(module, nn.ConvTranspose1d):
        return _range_of_transposed(module, first, last)
    if isinstance(module, ResidualUnit):
        low, high = input_range(module.layers, first, last)
        return min(low, first), max(high, last)
    if isinstance(module, OobleckDecoder | DecoderBlock):
        return input_range(module.layers, first, last)
    if isinstance(module, nn.Sequential):
        for layer in reversed(module):
            first, last = input_range(layer, first, last)
        return first, last
    raise NotImplementedError(type(module).__name__)


def _range_of_convolution(layer: nn.Conv1d, first: int, last: int) -> tuple[int, int]:
    """Output i reads inputs i - padding + dilation * k, k from 0 to kernel - 1."""
    reach = layer.dilation[0] * (layer.kernel_size[0] - 1)
    if layer.stride[0] != 1 or isinstance(layer.padding, str) or 2 * layer.padding[0] != reach:
        raise NotImplementedError("a convolution that changes the length")
    return first - layer.padding[0], last - layer.padding[0] + reach


def _range_of_transposed(layer: nn.ConvTranspose1d, first: int, last: int) -> tuple[int, int]:
    """Input i adds to outputs stride * i - padding + k, k from 0 to kernel - 1."""
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    if kernel - 2 * padding != stride or layer.dilation[0] != 1 or layer.output_padding[0] != 0:
        raise NotImplementedError("a transposed convolution whose length is no multiple")
    return ceil((first + padding - kernel + 1) / stride), (last + padding) // stride
