"""Potentials of ethanol in training, evaluation and dynamics, beside e3x."""

import argparse

from rich.console import Console

from experiments.benchmarks import potentials
from experiments.benchmarks.speed.part import Part

_QUICK = ["--batches", "2", "--molecules", "2", "--e3x-hidden", "8", "--e3x-layers", "1"]


def measure(options: argparse.Namespace) -> Part:
    """Times the models of `experiments.benchmarks.potentials`."""
    arguments = [f"--{name}={getattr(options, name)}" for name in ("repeats", "hidden", "layers")]
    own = potentials.parser().parse_args([*arguments, *(_QUICK if options.quick else [])])
    results = potentials.measure(own, Console())
    caption = f"{potentials.describe(own)} Medians, on the clock."
    return Part(caption, potentials.tables(results, own.batches), {"models": results})
