"""torchvggish's published weights: a plain table of tensors in the old format of torch.save, here with random values."""

from pathlib import Path

import torch

CONVOLUTIONS = {0: (1, 64), 3: (64, 128), 6: (128, 256), 8: (256, 256), 11: (256, 512), 13: (512, 512)}
LINEARS = {0: (512 * 4 * 6, 4096), 2: (4096, 4096), 4: (4096, 128)}


def write(folder: Path) -> dict[str, Path]:
    """The file vggish-10086976.pth."""
    generator = torch.Generator().manual_seed(6)
    state = {}
    for index, (before, after) in CONVOLUTIONS.items():
        state[f"features.{index}.weight"] = (
            torch.randn(after, before, 3, 3, generator=generator) * (2 / (9 * before)) ** 0.5
        )
        state[f"features.{index}.bias"] = 0.1 * torch.randn(after, generator=generator)
    for index, (before, after) in LINEARS.items():
        state[f"embeddings.{index}.weight"] = torch.randn(after, before, generator=generator) * (2 / before) ** 0.5
        state[f"embeddings.{index}.bias"] = 0.1 * torch.randn(after, generator=generator)
    path = folder / "vggish-10086976.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return {"vggish": path}
