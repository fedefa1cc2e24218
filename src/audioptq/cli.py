"""The command `audioptq`: what is asked of a run without snakemake."""

import argparse
import sys
from collections.abc import Sequence

from audioptq.errors import UserError


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one subcommand; a user's mistake is one paragraph on standard error and exit code 1."""
    parser = argparse.ArgumentParser(prog="audioptq", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_status(commands)
    _add_estimate(commands)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


def _add_status(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    status = commands.add_parser("status", help="how far a run is: clips, rate, time left and failures of each recipe")
    status.add_argument("results", nargs="?", default="results", help="the config's `results` (default: results)")
    status.add_argument("--directory", default=".", help="where snakemake was started (default: here)")
    status.set_defaults(run=_status)


def _status(options: argparse.Namespace) -> None:
    from audioptq.status.run import run_status
    from audioptq.status.show import as_lines, as_table

    show = as_table if sys.stdout.isatty() else as_lines
    print("\n".join(show(run_status(options.results, options.directory))))


def _add_estimate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from audioptq.estimate.command import add_options, run_estimate

    estimate = commands.add_parser("estimate", help="how long a larger run would take on so many GPUs or processors")
    add_options(estimate)
    estimate.set_defaults(run=run_estimate)


if __name__ == "__main__":
    main()
