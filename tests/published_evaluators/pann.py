"""PANNs' published checkpoint, in the old format of torch.save: the network beside its training's sampler; random values."""

from pathlib import Path

import numpy as np
import torch

from audioptq.embed.pann import Cnn14


def write(folder: Path) -> dict[str, Path]:
    """The file Cnn14_16k_mAP=0.438.pth."""
    torch.manual_seed(3)
    network = Cnn14()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.1)
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.05, 0.2)
        network.bn0.running_mean.fill_(-30.0)  # decibels
        network.bn0.running_var.fill_(400.0)
    sampler = {"indexes_per_class": [np.arange(5), np.arange(3)], "queue": [2, 0, 1], "pointer": 1}
    path = folder / "Cnn14_16k_mAP=0.438.pth"
    checkpoint = {"iteration": 600000, "model": network.state_dict(), "sampler": sampler}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
    return {"cnn14_16k": path}
