"""The results of the exactness benchmark, and how many of them are failures."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.exactness.clouds import HARD, MOLECULES, Clouds
from experiments.benchmarks.exactness.laws import LAWS, Errors
from experiments.benchmarks.exactness.paths import LARGEST_CHANGE, make_paths
from experiments.benchmarks.exactness.ties import Ties


class FrameResult(NamedTuple):
    """The errors of one frame in one dtype.

    Attributes:
      laws: the errors of each cloud, by law.
      jumps: the largest jump of the energy, by path.
      energies: those along the path `SHOWN`, at `shown_times`.
    """

    laws: dict[str, Errors]
    jumps: dict[str, float]
    energies: np.ndarray


Results = dict[str, dict[str, FrameResult]]
"""By dtype, then by the name of the frame."""
Evaluations = dict[str, np.ndarray]
"""The number of elements for each molecule, by the options of a robust frame."""


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
      results: by dtype and frame.
      clouds: the inputs.
    """
    rows = []
    for kind in (MOLECULES, HARD):
        chosen = np.array(clouds.kinds) == kind
        for law in LAWS:
            failures = {
                dtype: [int(np.sum(result.laws[law].failed[chosen])) for result in frames.values()]
                for dtype, frames in results.items()
            }
            rows.append(Tally(kind, law, int(np.sum(chosen)), failures))
    jumps = {
        dtype: [
            sum(not jump <= LARGEST_CHANGE for jump in result.jumps.values())
            for result in frames.values()
        ]
        for dtype, frames in results.items()
    }
    return [*rows, Tally("paths", "jumps", len(make_paths()), jumps)]


def plain(
    results: Results, evaluations: Evaluations, ties: Mapping[str, Ties], clouds: Clouds
) -> dict[str, Any]:
    """Everything in the types of JSON.

    Args:
      results: by dtype and frame.
      evaluations: of robust frames, for the molecules.
      ties: what tied clouds need, by name.
      clouds: the inputs, molecules first.
    """

    def laws(result: FrameResult) -> dict[str, Any]:
        errors = {
            law: dict(zip(clouds.names, some.errors.tolist(), strict=True))
            for law, some in result.laws.items()
        }
        failed = {
            law: [clouds.names[index] for index in np.flatnonzero(some.failed)]
            for law, some in result.laws.items()
        }
        return {"failed": failed, "errors": errors, "jumps": result.jumps}

    return {
        "frames": {
            dtype: {name: laws(result) for name, result in frames.items()}
            for dtype, frames in results.items()
        },
        "evaluations": {
            # Molecules come first, and are all that is counted.
            name: dict(zip(clouds.names, counts.tolist(), strict=False))
            for name, counts in evaluations.items()
        },
        "ties": {name: tie._asdict() for name, tie in ties.items()},
    }
