"""The wording of signals, machines and tools."""

from audioptq.soundscapes.words import Wording

THINGS: dict[str, Wording] = {
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
}
