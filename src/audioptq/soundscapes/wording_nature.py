"""The wording of weather, water, animals and people."""

from audioptq.soundscapes.words import Wording

NATURE: dict[str, Wording] = {
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
            (
                ("water", "a faucet", "a leaky tap"),
                (("drips", "dripping"), ("drips into a sink", "dripping into a sink")),
            ),
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
