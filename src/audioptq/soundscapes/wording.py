"""The wording of every sound class."""

from types import MappingProxyType

from audioptq.soundscapes.wording_nature import NATURE
from audioptq.soundscapes.wording_things import THINGS
from audioptq.soundscapes.words import Wording

WORDINGS: MappingProxyType[str, Wording] = MappingProxyType({**THINGS, **NATURE})
