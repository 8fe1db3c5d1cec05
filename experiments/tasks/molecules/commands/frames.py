"""The command `frames`: draws a molecule, or what an atom sees, with frames as axes."""

import argparse
from pathlib import Path
from typing import get_args

from experiments.commands.command import Command, make_console
from experiments.config.choices import CommandFrame
from experiments.tasks.molecules.choices import FrameGroup
from experiments.tasks.molecules.commands.split import add_split


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "molecule",
        metavar="MOLECULE",
        nargs="?",
        default="pyridine",
        help="a name, such as pyridine (the default) or CH4, or a file that ase reads",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path(), help="a folder, by default this one"
    )
    parser.add_argument(
        "--frame",
        choices=(*get_args(CommandFrame), "local"),
        help="by default pca and robust side by side; local is that of an atom, also of a crystal, "
        "such as Si, NaCl or a file with a cell",
    )
    parser.add_argument(
        "--atom", metavar="N", type=int, help="of a local frame, from 1 on; by default 1"
    )
    parser.add_argument(
        "--cutoff",
        metavar="X",
        type=float,
        help="of a local frame, in angstrom, beyond which the atom sees no others; by default 5",
    )
    parser.add_argument("--group", choices=get_args(FrameGroup), default="E", help="by default E")
    add_split(parser)


def _run(options: argparse.Namespace) -> None:
    from experiments.tasks.molecules.shown_frames import show_frames

    show_frames(options, make_console())


COMMAND = Command(
    "frames",
    "draw a molecule or an atom of a crystal with its frames as coordinate systems",
    _add_arguments,
    _run,
    "Prints the frames of a molecule, or the local frame of an atom, and draws them as a picture and "
    "as an interactive page that opens in a browser without a network.",
)
