"""What is made of a stored weight: how much of it at a time, and what of it is kept from one call to the next."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

# A weight of at most this many elements is made whole and kept. Making a larger one anew costs a few percent of the product that it
# is made for; keeping all of them would take more memory than the full-precision model.
KEPT_WEIGHTS = 2**20
# A larger one is made, used and let go a few output channels at a time: about this many elements. Products of those channels, in as
# many parts as exact sums need, are the room that a step takes beside its activations.
WEIGHTS_AT_ONCE = 2**20
# Output channels that are requantized at once: what is made on the way stays within the processor's cache.
CHANNELS_AT_ONCE = 256
EVERY = slice(None)


class WeightCache:
    """What one layer keeps of its compute weight: the last one made, where it will serve again.

    Args:
        shape: `(out, in * taps)`.
        repeats: Whether one timestep's weight serves the next: else keeping it would take memory and save nothing.
    """

    def __init__(self, shape: Sequence[int], repeats: bool) -> None:
        self.shape = shape
        self.repeats = repeats
        self._kept: tuple[Hashable, Any] | None = None

    @property
    def is_small(self) -> bool:
        """Whether the weight is made whole, and may be kept."""
        return is_kept(self.shape)

    def get(self, key: Hashable, make: Callable[[], Any], *, keep: bool) -> Any:
        """What was kept under `key`, else what `make` makes, which is kept if `keep` says so and it will serve again."""
        if self._kept is not None and self._kept[0] == key:
            return self._kept[1]
        made = make()
        if keep and self.repeats:
            self._kept = key, made
        return made

    def clear(self) -> None:
        """Forgets it: the layer was moved, cast or loaded."""
        self._kept = None


def is_kept(shape: Sequence[int]) -> bool:
    """Whether the compute weight of `shape` (out, in * taps) may be kept from one call to the next."""
    return shape[0] * shape[1] <= KEPT_WEIGHTS


def channels_at_once(shape: Sequence[int]) -> Iterator[slice]:
    """Ranges of output channels, in order, in which a larger compute weight of `shape` (out, in * taps) is made and used."""
    step = max(1, WEIGHTS_AT_ONCE // shape[1])
    for first in range(0, shape[0], step):
        yield slice(first, first + step)


def compute_weight_bytes(shapes: Iterable[Sequence[int]], smoothing: Mapping[str, Any]) -> int:
    """About what float32 compute weights take in a step of the simulated form: those kept, and the largest made for one product.

    Args:
        shapes: `(out, in * taps)` of each quantized layer.
        smoothing: As a recipe's record has it; empty for none.
    """
    shapes = list(shapes)
    is_used_again, is_made_whole = smoothing.get("kind") != "timestep", smoothing.get("form") == "simulated"
    kept = sum(rows * columns for rows, columns in shapes if is_used_again and is_kept((rows, columns)))
    largest = max((rows * columns for rows, columns in shapes), default=0)
    return 4 * (kept + (largest if is_made_whole else min(largest, WEIGHTS_AT_ONCE)))
