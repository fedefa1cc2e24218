"""Which layers a recipe is for, and which of them get something else: globs over their names."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from audioptq.quantize.recipe.options import RecipeError, check_keys, read_section
from audioptq.quantize.recipe.specs import SECTIONS, ActivationSpec, LayerRecipe, SmoothingSpec, WeightSpec, record_of

OVERRIDDEN = ("weight", "activation", "smoothing")
# Keys that mean something only beside the value of another one, with which they were given.
BELONGING = {
    "granularity": ("group_size",),
    "kind": ("groups", "tolerance", "max_groups", "form"),
    "groups": ("tolerance", "max_groups"),
}


@dataclass(frozen=True)
class LayerOverride:
    """Other sections for the layers whose names match `glob`; None leaves that operand in float, or unsmoothed."""

    glob: str
    weight: WeightSpec | None
    activation: ActivationSpec | None
    smoothing: SmoothingSpec | None


@dataclass(frozen=True)
class LayerSpec:
    """Which layers take part, as globs over their names (`*` also crosses dots).

    Where several overrides fit a layer, the most specific one wins: its own name, else the longest glob. Order in the
    config never matters.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    overrides: tuple[LayerOverride, ...] = ()

    def __post_init__(self) -> None:
        by_length = sorted(self.overrides, key=lambda override: (len(override.glob), override.glob))
        object.__setattr__(self, "overrides", tuple(by_length))

    def override_of(self, name: str) -> LayerOverride | None:
        """The override that a layer gets."""
        fitting = [override for override in self.overrides if name == override.glob or fnmatchcase(name, override.glob)]
        return max(
            fitting, key=lambda override: (override.glob == name, len(override.glob), override.glob), default=None
        )

    def with_layers(self, layers: Mapping[str, LayerRecipe]) -> "LayerSpec":
        """The same with an override under the name of each of these layers."""
        own = [LayerOverride(name, each.weight, each.activation, each.smoothing) for name, each in layers.items()]
        return replace(self, overrides=(*(kept for kept in self.overrides if kept.glob not in layers), *own))

    def to_config(self, smoothing: SmoothingSpec | None) -> dict[str, Any]:
        """A JSON-able record that `read_layers` reads back; `smoothing` is the recipe's own, which is not repeated."""
        overrides: dict[str, Any] = {}
        for override in self.overrides:
            kept = OVERRIDDEN if override.smoothing != smoothing else ("weight", "activation")
            specs = {name: getattr(override, name) for name in kept}
            overrides[override.glob] = {name: None if spec is None else record_of(spec) for name, spec in specs.items()}
        return {"include": list(self.include), "exclude": list(self.exclude), "overrides": overrides}


def read_layers(entry: Any, recipe: Mapping[str, Any], key: str) -> LayerSpec:
    """Reads the section `layers`, found under `key`; overrides are laid over the sections of `recipe`.

    Raises:
        RecipeError: If a key is unknown or a value illegal.
    """
    check_keys(entry, ("include", "exclude", "overrides"), key)
    globs = {name: entry[name] for name in ("include", "exclude") if name in entry}
    for name, patterns in globs.items():
        if not isinstance(patterns, list | tuple) or not all(isinstance(pattern, str) for pattern in patterns):
            raise RecipeError(f"{key}.{name}", f"is {patterns!r}; it must be a list of globs over layer names.")
        globs[name] = tuple(patterns)
    overrides = entry.get("overrides") or {}
    return LayerSpec(**globs, overrides=tuple(_read_override(glob, overrides[glob], recipe, key) for glob in overrides))


def _read_override(glob: str, entry: Any, recipe: Mapping[str, Any], key: str) -> LayerOverride:
    """Keys of an override are laid over the recipe's own; null switches the operand, or smoothing, off."""
    path = f"{key}.overrides.{glob}"
    check_keys(entry, OVERRIDDEN, path)
    specs: dict[str, Any] = {}
    for name in OVERRIDDEN:
        base, changes = recipe.get(name), entry.get(name, {})
        is_off = changes is None or (base is None and name not in entry)
        merged = _merged(base or {}, changes) if isinstance(changes, Mapping) else changes
        specs[name] = None if is_off else read_section(SECTIONS[name], merged, f"{path}.{name}")
    return LayerOverride(glob, **specs)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    stale = {name for switch, names in BELONGING.items() if switch in changes for name in names}
    return {name: value for name, value in base.items() if name not in stale} | dict(changes)
