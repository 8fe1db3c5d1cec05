"""Types of the options of benchmarks."""

import argparse
from pathlib import Path


def positive(text: str) -> int:
    """The type of an option that is a positive integer."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text}")
    return value


def new_folder(text: str) -> Path:
    """The type of an option that is a folder to write to, which is made before anything is measured."""
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {error.strerror}") from None
    return path
