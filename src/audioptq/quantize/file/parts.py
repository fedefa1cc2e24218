"""What a tensor of a quantized file is for, told by its name: its component of the model and its kind."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

PARTS = {
    "qdata": "qdata",
    "scale": "scale",
    "act_scale": "scale",
    "smooth_scale": "smooth_scale",
    "smooth_row": "smooth_scale",
    "low_rank.a": "low_rank",
    "low_rank.b": "low_rank",
    "weight": "full_precision",
}
REST = "rest"


@dataclass(frozen=True)
class ByteCounts:
    """Bytes of tensors.

    Attributes:
        components: By component; `other` for tensors under no prefix.
        parts: By kind; every kind is there.
    """

    components: dict[str, int]
    parts: dict[str, int]


def count_bytes(n_bytes: Mapping[str, int], layers: Collection[str], components: Mapping[str, str]) -> ByteCounts:
    """Adds up the bytes of tensors by component and by kind.

    Args:
        n_bytes: By name of tensor.
        layers: Names of the quantized layers.
        components: Prefix of tensor names -> component.
    """
    layers = set(layers)
    by_part = dict.fromkeys([*PARTS.values(), REST], 0)
    by_component = dict.fromkeys(components.values(), 0)
    for name, size in n_bytes.items():
        by_part[part_of(name, layers)] += size
        component = component_of(name, components)
        by_component[component] = by_component.get(component, 0) + size
    return ByteCounts(by_component, by_part)


def part_of(name: str, layers: Collection[str]) -> str:
    """The kind of a tensor; biases and all that is outside the quantized layers are the rest."""
    for suffix, part in PARTS.items():
        if name.endswith(f".{suffix}") and name.removesuffix(f".{suffix}") in layers:
            return part
    return REST


def component_of(name: str, components: Mapping[str, str]) -> str:
    """The component under whose prefix a tensor's name falls, the longest prefix first."""
    prefixes = [prefix for prefix in components if name.startswith(prefix)]
    return components[max(prefixes, key=len)] if prefixes else "other"
