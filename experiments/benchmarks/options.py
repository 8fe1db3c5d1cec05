"""Options that several benchmarks have, and the types of their values."""

import argparse
import math
from pathlib import Path


def positive(text: str) -> int:
    """The type of an option that is a positive integer."""
    return _integer(text, 1, "a positive integer")


def natural(text: str) -> int:
    """The type of an option that is an integer from 0."""
    return _integer(text, 0, "an integer from 0")


def positive_number(text: str) -> float:
    """The type of an option that is a positive, finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text}")
    return value


def add_out(parser: argparse.ArgumentParser, files: str = "the table and its numbers") -> None:
    """Adds the option `--out`: a folder, which is made before anything is measured.

    Args:
      parser: the command line of a benchmark.
      files: what is written there, for the help.
    """
    parser.add_argument(
        "--out", metavar="DIR", type=_new_folder, help=f"the folder to write {files} to"
    )


def _integer(text: str, least: int, words: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"must be {words}, got {text}")
    return value


def _new_folder(text: str) -> Path:
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {error.strerror}") from None
    return path
