"""How a class is spoken of, and the words of captions that name an attribute of the sound."""

from dataclasses import dataclass
from types import MappingProxyType

Verbs = tuple[tuple[str, str], ...]
Clauses = tuple[tuple[tuple[str, ...], Verbs], ...]


@dataclass(frozen=True)
class Wording:
    """How one class is spoken of.

    Attributes:
        clauses: Groups of (subjects, (present, gerund) verbs) that go together.
        rhythmic: Whether "slowly" and "rapidly" make sense of it.
        countable: Whether "twice" and "three times" do.
        indoor: Whether it is heard indoors.
        places: Places of its own, without an effect on the sound.
    """

    clauses: Clauses
    rhythmic: bool = False
    countable: bool = False
    indoor: bool = True
    places: tuple[str, ...] = ()


PITCH_WORDS = MappingProxyType({"small": 1.22, "high": 1.22, "large": 0.82, "deep": 0.82})
RATE_WORDS = MappingProxyType({"slowly": 0.6, "rapidly": 1.7, "quickly": 1.7})
LEVEL_WORDS = MappingProxyType({"loudly": 5.0, "softly": -8.0, "quietly": -8.0})
COUNT_WORDS = MappingProxyType({"twice": 2, "three times": 3})
OUTDOOR_PLACES = MappingProxyType(
    {
        "in the distance": "distant",
        "far away": "distant",
        "nearby": "near",
        "up close": "near",
        "outside": "dry",
        "in the open air": "dry",
    }
)
INDOOR_PLACES = MappingProxyType(
    {
        "in a large hall": "hall",
        "in a church": "hall",
        "in an empty hall": "hall",
        "in a small room": "room",
        "in a kitchen": "room",
        "indoors": "room",
    }
)
