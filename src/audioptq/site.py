"""What a model says of each of its layers that can be quantized."""

from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("linear", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d")


@dataclass(frozen=True)
class Part:
    """One piece of a concatenated input.

    Attributes:
        label: What the piece is, such as `skip` or `time`.
        size: Its channels.
    """

    label: str
    size: int


@dataclass(frozen=True)
class Site:
    """A layer that recipes may quantize.

    Attributes:
        name: Path of the module within the network.
        kind: One of `KINDS`.
        parts: Pieces of which the layer's input is concatenated, in the order of its channels; empty for an input of one piece.
        block: The repeated unit of the network that the layer belongs to, for reports; None outside of one.
        role: What the layer does there (`qkv`, `q`, `kv`, `out`, `ff_in`, `ff_out`, `conv`, ...), for reports; None for nothing
            that has a name.
        reads_prompt_only: Whether its input depends on the prompt alone, so that it is the same at every timestep.
    """

    name: str
    kind: str
    parts: tuple[Part, ...] = ()
    block: str | None = None
    role: str | None = None
    reads_prompt_only: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"layer {self.name} is of kind {self.kind!r}; the kinds are {', '.join(KINDS)}")

    @property
    def part_sizes(self) -> tuple[int, ...]:
        """Channels of each part; empty for an input of one piece."""
        return tuple(part.size for part in self.parts)


def linear_sites(names: Iterable[str]) -> list[Site]:
    """Plain linear layers under these names."""
    return [Site(name, "linear") for name in names]
