"""What the exactness benchmark finds, and how often that is a failure."""

import math
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks import _exactness_paths as along
from experiments.benchmarks._exactness_laws import LAWS, Errors
from experiments.benchmarks._g2 import HARD, MOLECULES, Clouds


class Found(NamedTuple):
    """What was found of one frame in one dtype.

    Attributes:
      laws: the errors of each cloud, by law.
      jumps: the largest jump of the energy, by path.
      energies: those at places evenly spread along the path `SHOWN`.
    """

    laws: dict[str, Errors]
    jumps: dict[str, float]
    energies: np.ndarray


Results = dict[str, dict[str, Found]]
"""By dtype, then by the name of the frame."""
Evaluations = dict[str, np.ndarray]
"""The elements for each molecule, by what a robust frame was asked for."""


class Tally(NamedTuple):
    """How many inputs fail a law.

    Attributes:
      inputs: their kind.
      law: a key of `LAWS`, or the jumps along paths.
      total: the number of inputs.
      failures: by dtype, a number for each frame.
    """

    inputs: str
    law: str
    total: int
    failures: dict[str, list[int]]


def tally(results: Results, clouds: Clouds) -> list[Tally]:
    """Counts the failures of each law, for the molecules, the hard clouds and the paths.

    Args:
      results: what was found.
      clouds: the inputs.
    """
    rows = []
    for kind in (MOLECULES, HARD):
        chosen = np.array(clouds.kinds) == kind
        for law in LAWS:
            failures = {
                dtype: [int(np.sum(each.laws[law].failed[chosen])) for each in found.values()]
                for dtype, found in results.items()
            }
            rows.append(Tally(kind, law, int(np.sum(chosen)), failures))
    jumps = {
        dtype: [
            sum(not jump <= along.ALLOWED for jump in each.jumps.values())
            for each in found.values()
        ]
        for dtype, found in results.items()
    }
    return [*rows, Tally("paths", "jumps", len(along.make_paths()), jumps)]


def plain(results: Results, evaluations: Evaluations, clouds: Clouds) -> dict[str, Any]:
    """Everything in plain types for JSON, which has no NaN: what is not finite is a string.

    Args:
      results: what was found.
      evaluations: of robust frames, for the molecules.
      clouds: the inputs, molecules first.
    """

    def number(value: float) -> float | str:
        return float(value) if math.isfinite(value) else str(float(value))

    def laws(found: Found) -> dict[str, Any]:
        errors = {
            law: dict(zip(clouds.names, map(number, each.errors), strict=True))
            for law, each in found.laws.items()
        }
        failed = {
            law: [clouds.names[place] for place in np.flatnonzero(each.failed)]
            for law, each in found.laws.items()
        }
        jumps = {path: number(jump) for path, jump in found.jumps.items()}
        return {"failed": failed, "errors": errors, "jumps": jumps}

    return {
        "frames": {
            dtype: {name: laws(found) for name, found in some.items()}
            for dtype, some in results.items()
        },
        "evaluations": {
            name: dict(zip(clouds.names, some.tolist(), strict=False))
            for name, some in evaluations.items()
        },
    }
