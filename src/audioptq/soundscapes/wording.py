"""The words of the captions: who sounds, what it does, how, and where."""

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

WORDINGS: MappingProxyType[str, Wording] = MappingProxyType(
    {
        "siren": Wording(
            (
                (("a siren", "an emergency siren", "a police siren"), (("wails", "wailing"), ("blares", "blaring"))),
                (("an ambulance",), (("wails", "wailing"), ("sounds its siren", "sounding its siren"))),
            ),
            rhythmic=True,
            places=("on a street",),
        ),
        "alarm": Wording(
            (
                (
                    ("an alarm", "an alarm clock", "a smoke alarm", "an electronic alarm"),
                    (("beeps", "beeping"), ("goes off", "going off")),
                ),
            ),
            rhythmic=True,
        ),
        "phone": Wording(
            ((("a phone", "a telephone", "an old telephone", "a phone bell"), (("rings", "ringing"),)),),
            places=("on a desk", "in an office"),
        ),
        "bell": Wording(
            (
                (
                    ("a bell", "a church bell", "a large bell", "a small bell"),
                    (("tolls", "tolling"), ("chimes", "chiming")),
                ),
            ),
            rhythmic=True,
            countable=True,
        ),
        "whistle": Wording(
            (
                (
                    ("a person", "a man", "a woman", "someone"),
                    (("whistles", "whistling"), ("whistles a tune", "whistling a tune")),
                ),
            ),
            rhythmic=True,
        ),
        "train_horn": Wording(
            (
                (("a train horn", "a locomotive horn"), (("blows", "blowing"), ("sounds", "sounding"))),
                (("a train",), (("blows its horn", "blowing its horn"), ("honks", "honking"))),
            ),
            countable=True,
            indoor=False,
            places=("at a station", "at a crossing"),
        ),
        "rain": Wording(
            (
                (
                    ("rain", "heavy rain", "steady rain", "a rain shower"),
                    (("falls", "falling"), ("pours", "pouring"), ("patters", "pattering")),
                ),
            ),
            places=("on a roof", "on a window", "on leaves"),
            indoor=False,
        ),
        "wind": Wording(
            (
                (
                    ("wind", "strong wind", "a gusty wind", "the wind"),
                    (("blows", "blowing"), ("howls", "howling"), ("gusts", "gusting")),
                ),
            ),
            indoor=False,
            places=("through trees", "over a field"),
        ),
        "waves": Wording(
            (
                (("waves", "ocean waves", "sea waves"), (("crash", "crashing"), ("roll in", "rolling in"))),
                (("the surf", "the ocean"), (("breaks", "breaking"), ("rolls in", "rolling in"))),
            ),
            rhythmic=True,
            indoor=False,
            places=("on a beach", "on rocks"),
        ),
        "applause": Wording(
            (
                (("a crowd", "an audience"), (("applauds", "applauding"), ("claps", "clapping"))),
                (("people", "many people"), (("applaud", "applauding"), ("clap", "clapping"))),
            ),
            places=("in a theater",),
        ),
        "thunder": Wording(
            (
                (("thunder", "heavy thunder"), (("rumbles", "rumbling"), ("rolls", "rolling"), ("booms", "booming"))),
                (("a thunderstorm",), (("rumbles", "rumbling"), ("booms", "booming"))),
            ),
            indoor=False,
            places=("over a field", "in a storm"),
        ),
        "hiss": Wording(
            (
                (("steam", "hot steam", "a jet of steam"), (("hisses", "hissing"), ("escapes", "escaping"))),
                (("a steam pipe", "a valve"), (("hisses", "hissing"), ("leaks steam", "leaking steam"))),
            ),
        ),
        "vacuum": Wording(
            (
                (
                    ("a vacuum cleaner", "a vacuum", "an electric vacuum cleaner"),
                    (("runs", "running"), ("hums", "humming"), ("whirs", "whirring")),
                ),
            ),
            places=("on a carpet",),
        ),
        "engine": Wording(
            (
                (("an engine", "a car engine", "a large engine"), (("runs", "running"), ("revs", "revving"))),
                (("a car", "a truck", "a motor"), (("idles", "idling"), ("revs", "revving"))),
            ),
            places=("on a road", "in a garage"),
        ),
        "helicopter": Wording(
            (
                (
                    ("a helicopter", "a large helicopter", "a small helicopter"),
                    (("flies overhead", "flying overhead"), ("hovers", "hovering"), ("passes by", "passing by")),
                ),
            ),
            indoor=False,
            places=("over a field", "over a city"),
        ),
        "saw": Wording(
            (
                (("a saw", "a hand saw"), (("cuts wood", "cutting wood"), ("rasps", "rasping"))),
                (("someone", "a carpenter"), (("saws wood", "sawing wood"), ("saws a board", "sawing a board"))),
            ),
            rhythmic=True,
            places=("in a workshop",),
        ),
        "clock": Wording(
            (
                (
                    ("a clock", "a wall clock", "a small clock", "a watch"),
                    (("ticks", "ticking"), ("ticks and tocks", "ticking and tocking")),
                ),
            ),
            rhythmic=True,
            places=("on a wall", "on a desk"),
        ),
        "typing": Wording(
            (
                (
                    ("someone", "a person", "a woman", "a man"),
                    (("types", "typing"), ("types on a keyboard", "typing on a keyboard")),
                ),
                (("a keyboard", "a computer keyboard"), (("clicks", "clicking"), ("clacks", "clacking"))),
            ),
            rhythmic=True,
            places=("in an office",),
        ),
        "hammer": Wording(
            (
                (("a hammer",), (("strikes metal", "striking metal"), ("clangs", "clanging"))),
                (
                    ("someone", "a man", "a blacksmith"),
                    (("hammers metal", "hammering metal"), ("hammers an anvil", "hammering an anvil")),
                ),
            ),
            rhythmic=True,
            places=("in a workshop",),
        ),
        "knock": Wording(
            (
                (
                    ("someone", "a person", "a visitor"),
                    (("knocks", "knocking"), ("knocks on a door", "knocking on a door")),
                ),
                (("a fist", "a hand"), (("knocks on wood", "knocking on wood"), ("raps", "rapping"))),
            ),
            rhythmic=True,
            countable=True,
        ),
        "footsteps": Wording(
            (
                (
                    ("someone", "a person", "a man", "a woman"),
                    (("walks", "walking"), ("walks on gravel", "walking on gravel")),
                ),
                (("footsteps", "heavy footsteps"), (("crunch", "crunching"), ("approach", "approaching"))),
            ),
            rhythmic=True,
            places=("on a path",),
        ),
        "drip": Wording(
            (
                (("water", "a faucet", "a leaky tap"), (("drips", "dripping"), ("drips into a sink", "dripping into a sink"))),
                (("drops of water", "water drops"), (("fall", "falling"), ("plop", "plopping"))),
            ),
            rhythmic=True,
            places=("in a cave",),
        ),
        "bird": Wording(
            (
                (("a bird", "a small bird", "a songbird"), (("chirps", "chirping"), ("sings", "singing"))),
                (("birds",), (("chirp", "chirping"), ("tweet", "tweeting"))),
            ),
            rhythmic=True,
            places=("in a tree", "in a garden", "in a forest"),
        ),
        "dog": Wording(
            ((("a dog", "a large dog", "a small dog"), (("barks", "barking"), ("yaps", "yapping"))),),
            rhythmic=True,
            countable=True,
            places=("in a yard", "on a street"),
        ),
        "cat": Wording(
            ((("a cat", "a small cat", "a kitten"), (("meows", "meowing"), ("cries", "crying"))),),
            countable=True,
            places=("at a door", "on a roof"),
        ),
        "frog": Wording(
            (
                (("a frog", "a large frog", "a toad"), (("croaks", "croaking"), ("calls", "calling"))),
                (("frogs",), (("croak", "croaking"),)),
            ),
            rhythmic=True,
            indoor=False,
            places=("by a pond", "in a marsh"),
        ),
        "cricket": Wording(
            (
                (("a cricket", "an insect"), (("chirps", "chirping"), ("trills", "trilling"))),
                (("crickets", "insects"), (("chirp", "chirping"), ("trill", "trilling"))),
            ),
            rhythmic=True,
            places=("at night", "in the grass"),
        ),
        "owl": Wording(
            ((("an owl", "a large owl", "a small owl"), (("hoots", "hooting"), ("calls", "calling"))),),
            rhythmic=True,
            countable=True,
            indoor=False,
            places=("at night", "in a forest"),
        ),
    }
)
