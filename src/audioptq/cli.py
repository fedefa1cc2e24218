"""The command `audioptq`: what is asked without snakemake."""

import argparse
import sys
from collections.abc import Sequence

import audioptq
from audioptq.commands import bench, generate, inspect, listen, quantize
from audioptq.errors import UserError


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one subcommand; a user's mistake is one paragraph on standard error and exit code 1."""
    parser = argparse.ArgumentParser(prog="audioptq", description=__doc__)
    parser.add_argument("--version", action="version", version=f"audioptq {audioptq.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in (generate, quantize, inspect, bench, listen):
        command.add_parser(commands)
    _add_status(commands)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)


def _add_status(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    status = commands.add_parser("status", help="how far a run is: clips, rate, time left and failures of each recipe")
    status.add_argument("results", nargs="?", default="results", help="the config's `results` (default: results)")
    status.add_argument("--directory", default=".", help="where snakemake was started (default: here)")
    status.set_defaults(run=_status)


def _status(options: argparse.Namespace) -> None:
    from audioptq.runs.status.run import run_status
    from audioptq.runs.status.show import as_lines, as_table

    show = as_table if sys.stdout.isatty() else as_lines
    print("\n".join(show(run_status(options.results, options.directory))))


if __name__ == "__main__":
    main()
