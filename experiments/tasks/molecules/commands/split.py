"""The option `--split`, which every command has that reads a file of molecules."""

import argparse


def add_split(parser: argparse.ArgumentParser) -> None:
    """Adds the option to a command."""
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="of an .npz file with several sets, the end of its arrays: test for R_test",
    )
