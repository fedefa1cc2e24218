"""What calibration streams of a layer's input: one file of this folder per statistic.

Such a file has, beside a literal `TENSORS` with the names of its tensors, which no other statistic may use,

* a class `Statistic` like the one below,
* `merge(shards)`: the tensors of all prompts, from those of parts of them, a mapping by name each,
* `check(tensors, rows)`: raises a ValueError, a clause about the layer, if shapes are not those over so many noise levels.

Its name is what recipes need (`QuantRecipe.needs`) and files list. The files are found without importing them.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from audioptq.errors import UserError, did_you_mean
from audioptq.files.literals import files_with

if TYPE_CHECKING:
    from torch import Tensor


class Statistic(Protocol):
    """Streams one statistic of one layer: memory must not grow with the number of passes.

    Args:
        rows: Noise levels of the schedule.
        channels: Of the layer's input.
    """

    def __init__(self, rows: int, channels: int) -> None: ...

    def observe(self, tokens: "Tensor", row: int) -> None:
        """Takes in the input of one pass.

        Args:
            tokens: `[n, channels]` in the model's type and on its device: every token or position of every clip of a batch, both
                halves of the guidance.
            row: Of the noise level.
        """

    def tensors(self) -> "dict[str, Tensor]":
        """The statistic so far, on the CPU, under the names in `TENSORS`."""


@cache
def statistics(folder: Path = Path(__file__).parent) -> dict[str, tuple[str, ...]]:
    """Names of the tensors of every statistic, by the statistic's name."""
    found = {name: tuple(tensors) for name, tensors in files_with(folder, "TENSORS").items()}
    owners: dict[str, str] = {}
    for name, tensors in found.items():
        for tensor in tensors:
            if owners.setdefault(tensor, name) != name:
                raise ValueError(f"the statistics {owners[tensor]} and {name} both have a tensor {tensor!r}")
    return found


def statistic(name: str) -> Any:
    """The module of a statistic.

    Raises:
        UserError: If there is none of that name.
    """
    check_names([name])
    return import_module(f"{__name__}.{name}")


def check_names(names: Iterable[str]) -> None:
    """Checks that there are statistics of these names.

    Raises:
        UserError: If there is none; the text names the nearest one.
    """
    for name in names:
        if name not in statistics():
            raise UserError(
                f"There is no statistic {name!r}.{did_you_mean(name, statistics())} Calibration can stream "
                f"{', '.join(statistics())}; another one is a file (docs/adding-a-method.md)."
            )


def tensor_names(names: Sequence[str]) -> list[str]:
    """Names of the tensors that these statistics have of each layer."""
    return [tensor for name in names for tensor in statistics()[name]]
