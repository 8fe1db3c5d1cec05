"""The option `--seed` of the commands that take the potential of a run."""

import argparse
from typing import Literal


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Adds the option to a command."""
    parser.add_argument(
        "--seed",
        type=_seed,
        metavar="SEED",
        help="one of the run, or all for their mean; by default that with the best validation",
    )


def _seed(text: str) -> int | Literal["all"]:
    try:
        return "all" if text == "all" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number or all, got {text!r}") from None
