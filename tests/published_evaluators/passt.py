"""PaSST's published weights: a plain table of tensors, here with random values."""

from pathlib import Path

import torch

from audioptq.embed.passt import build_network


def write(folder: Path) -> dict[str, Path]:
    """The file passt-s-f128-p16-s10-ap.476-swa.pt."""
    torch.manual_seed(31)
    state = build_network()[1].state_dict()
    for key, value in state.items():
        if value.ndim == 1:  # biases and norms would otherwise be zeros and ones
            state[key] = value + 0.05 * torch.rand(value.shape)
    path = folder / "passt-s-f128-p16-s10-ap.476-swa.pt"
    torch.save(state, path)
    return {"passt": path}
