"""The command `audit`: measures how far a function or a trained model is from its symmetry."""

import argparse
from pathlib import Path
from typing import get_args

from experiments.commands.command import Command, make_console
from experiments.config.choices import CommandFrame, GroupName, Returned


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="package.module:function or file.py:function of a cloud (points, 3), which is run; or "
        "the folder of a run",
    )
    parser.add_argument(
        "--group", choices=get_args(GroupName), help="by default E, or that of the run"
    )
    parser.add_argument(
        "--returns",
        choices=get_args(Returned),
        help="how what the function returns is to move; scalars, which do not, by default",
    )
    parser.add_argument(
        "--average",
        choices=get_args(CommandFrame),
        help="average it over these frames first",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all that was measured")
    parser.add_argument("--seed", type=int, default=0, help="draws what is random")
    parser.add_argument("--float64", action="store_true", help="in double precision")


def _run(options: argparse.Namespace) -> None:
    from experiments.results.audit import audit_target

    audit_target(options, make_console())


COMMAND = Command(
    "audit",
    "measure how far a function or a trained model is from its symmetry",
    _add_arguments,
    _run,
    "Measures how far a function of a point cloud, or the model of a run, is from equivariant, "
    "continuous and conservative: on symmetric, degenerate and badly scaled clouds, or on the run's "
    "own test inputs.",
)
