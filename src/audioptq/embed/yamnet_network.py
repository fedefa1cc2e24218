"""YAMNet's network: MobileNet v1 over log-mel patches, with each batch normalisation folded into its convolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional

N_CLASSES = 521
EMBEDDING_DIM = 1024
# Stride and output channels of the first convolution and of the 13 pairs of a depthwise and a pointwise one.
LAYERS = (
    (2, 32),
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    *((1, 512),) * 5,
    (2, 1024),
    (1, 1024),
)


class SamePadded(nn.Conv2d):
    """A convolution of three by three as TensorFlow's "same" pads an input of even sides: at stride 2, at the end alone."""

    def __init__(self, before: int, after: int, stride: int, groups: int = 1) -> None:
        super().__init__(before, after, 3, stride=stride, groups=groups)

    @property
    def pads(self) -> tuple[int, int]:
        """Zeros before and after, the same in both directions."""
        return (1, 1) if self.stride[0] == 1 else (0, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps `[batch, after, height / stride, width / stride]` of `[batch, before, height, width]`."""
        return super().forward(functional.pad(maps, 2 * self.pads))


class YamnetNetwork(nn.Module):
    """27 convolutions with rectifiers, the mean over time and frequency, and a linear classifier.

    Source: tensorflow/models, audioset/yamnet/yamnet.py; MobileNet v1: Howard et al. 2017.
    """

    def __init__(self) -> None:
        super().__init__()
        (stride, before), *separable = LAYERS
        convolutions: list[nn.Conv2d] = [SamePadded(1, before, stride)]
        for stride, after in separable:
            convolutions += [SamePadded(before, before, stride, groups=before), nn.Conv2d(before, after, 1)]
            before = after
        self.convolutions = nn.ModuleList(convolutions)
        self.classifier = nn.Linear(EMBEDDING_DIM, N_CLASSES)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits `[batch, 521]` and embeddings `[batch, 1024]` of log-mel patches `[batch, 1, 96, 64]`."""
        maps = patches
        for convolution in self.convolutions:
            maps = torch.relu(convolution(maps))
        embeddings = maps.mean((2, 3))
        return self.classifier(embeddings), embeddings
