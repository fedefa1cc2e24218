"""The sound classes and the voice of each."""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from audioptq.soundscapes import animals, household, machines, noise, tonal
from audioptq.soundscapes.events import Controls

Voice = Callable[[Controls], np.ndarray]

_FAMILIES = (
    (tonal, ("siren", "alarm", "phone", "bell", "whistle", "train_horn")),
    (noise, ("rain", "wind", "waves", "applause", "thunder", "hiss", "vacuum")),
    (machines, ("engine", "helicopter", "saw", "clock", "typing", "hammer")),
    (household, ("knock", "footsteps", "drip")),
    (animals, ("bird", "dog", "cat", "frog", "cricket", "owl")),
)

VOICES: MappingProxyType[str, Voice] = MappingProxyType(
    {label: getattr(module, label) for module, labels in _FAMILIES for label in labels}
)
CLASSES: tuple[str, ...] = tuple(VOICES)
