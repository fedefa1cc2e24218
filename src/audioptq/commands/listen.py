"""`audioptq listen`: builds a blind listening test, collects its answers, and says what they show."""

import argparse
from pathlib import Path

from audioptq.commands.arguments import whole_number
from audioptq.errors import UserError

MODES = ("rating", "mushra", "abx")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the arguments of the four subcommands."""
    parser = commands.add_parser("listen", help="a blind listening test: build, serve, analyse, webmushra")
    steps = parser.add_subparsers(required=True, metavar="step")
    _add_build(steps)
    serve = steps.add_parser("serve", help="serve the page in a lab and collect answers")
    serve.add_argument("folder", help="of `audioptq listen build`")
    serve.add_argument(
        "--host", default="127.0.0.1", help="address (default: this machine alone; 0.0.0.0: the network)"
    )
    serve.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    serve.set_defaults(run=_serve)
    analyse = steps.add_parser("analyse", help="say what the answers show")
    analyse.add_argument("key", help="FOLDER.key.json")
    analyse.add_argument(
        "answers", nargs="+", help="files that listeners saved, FOLDER.answers.jsonl, or folders of them"
    )
    analyse.add_argument(
        "-o", "--output", metavar="FOLDER", help="write a section, the figure and the judgements there"
    )
    analyse.set_defaults(run=_analyse)
    export = steps.add_parser("webmushra", help="export a rating or MUSHRA test to webMUSHRA")
    export.add_argument("folder", help="of `audioptq listen build`")
    export.add_argument(
        "-o", "--output", required=True, metavar="FOLDER", help="to write configuration and WAV files into"
    )
    export.set_defaults(run=_export)


def _add_build(steps: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = steps.add_parser("build", help="make the folder for listeners, and its key, from a finished run")
    parser.add_argument("results", help="the config's `results`")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FOLDER", help="to make; its key becomes FOLDER.key.json"
    )
    parser.add_argument("--mode", choices=MODES, default="rating", help="(default: rating, as in the paper)")
    what = "to compare with fp32 (default: w8a8_sqs and w8a8_sqd_lora, the paper's, or the first two of the run)"
    parser.add_argument("--recipes", nargs="+", default=[], metavar="NAME", help=what)
    parser.add_argument(
        "--prompts", nargs="+", default=[], metavar="CLIP_ID", help="(default: some of different classes)"
    )
    parser.add_argument("--n-prompts", type=whole_number, default=5, help="how many to choose (default: 5)")
    what = "how often each question is asked (default: 1, of an ABX 3)"
    parser.add_argument("--repeats", type=whole_number, help=what)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of prompts (default: 0)")
    parser.add_argument("--title", default="Listening test", help="what listeners read; it should name no recipe")
    parser.add_argument("--model", help="needed if the run has several")
    parser.add_argument("--noise-seed", type=int, help="seed of the clips (default: the one that most recipes have)")
    parser.set_defaults(run=_build)


def _build(options: argparse.Namespace) -> None:
    from audioptq.listen.build import TestSettings, build_test

    settings = TestSettings(
        mode=options.mode,
        recipes=options.recipes,
        prompts=options.prompts,
        n_prompts=options.n_prompts,
        repeats=options.repeats,
        seed=options.seed,
        title=options.title,
        model=options.model,
        noise_seed=options.noise_seed,
    )
    build_test(options.results, options.output, settings)


def _serve(options: argparse.Namespace) -> None:
    from audioptq.listen.answers.serve import ListeningServer, answers_path

    with ListeningServer(options.folder, options.host, options.port) as server:
        print(
            f"Open {' or '.join(server.addresses)}. Answers go to {answers_path(options.folder)}; Ctrl+C ends.",
            flush=True,
        )
        if not server.is_signing:
            print(
                "The key does not lie beside the folder: answers get no receipt, and are checked when they are analysed."
            )
        server.serve_forever()


def _analyse(options: argparse.Namespace) -> None:
    from audioptq.listen.analyse.findings import find
    from audioptq.listen.analyse.sentences import summary
    from audioptq.listen.analyse.write import write

    missing = [path for path in options.answers if not Path(path).exists()]
    if missing:
        raise UserError(f"There is no {missing[0]}. Name files of answers, or folders of them.")
    found = find(options.key, options.answers)
    print("\n".join(summary(found.record)))
    for entry in found.record["refused"]:
        print(f"Not counted: {printable(entry['why'])}")
    for entry in found.record["set_aside"]:
        print(f"Set aside: {printable(entry['source'])}: {printable(entry['why'])}")
    if options.output:
        write(found, options.output)
        print(f"Written to {options.output}: listening.html, listening.md, listening.svg, listening.json, judgements.*")


def _export(options: argparse.Namespace) -> None:
    from audioptq.listen.webmushra import export

    print(
        f"{export(options.folder, options.output)}: copy the folder configs into webMUSHRA's, and open ?config=<its name>."
    )


def printable(text: str) -> str:
    """Text from a stranger without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
