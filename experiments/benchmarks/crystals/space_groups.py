"""How many crystals keep their space group where a potential relaxes atoms and cell."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator
from rich.console import Console

from experiments.benchmarks.crystals.prototypes import (
    prototypes,
    prototypes_of,
    space_group,
    strained,
)
from experiments.benchmarks.crystals.rest import at_rest
from experiments.benchmarks.crystals.trained import trained
from experiments.benchmarks.crystals.untrained import Sizes, untrained
from experiments.benchmarks.report import Table
from experiments.errors import UsageError
from experiments.runs.folder import RunFolder

TOLERANCE = 1e-5
"""Angstrom: that of a space group that is kept."""
_TOLERANCES = tuple(10.0**power for power in range(-10, 0))
_CONTROLS = 2
"""Crystals of a kind of structure that are relaxed without a frame."""
_FORCE = 1e-3
"""In eV/Angstrom: where a relaxation ends."""


class Relaxation(NamedTuple):
    """What became of a crystal.

    Attributes:
      name: of the crystal.
      atoms: in its cell.
      before: the number of its space group.
      after: that of the relaxed crystal at `TOLERANCE`.
      tolerance: in Angstrom, the smallest power of ten at which it still has the first one; nothing
        if there is none.
      steps: how many were taken.
      converged: whether forces and stress ended below the limit.
      refused: why there is no relaxation, if there is none.
    """

    name: str
    atoms: int
    before: int | None
    after: int | None
    tolerance: float | None
    steps: int
    converged: bool
    refused: str | None = None

    @property
    def kept(self) -> bool:
        """Whether the space group is the one that it was."""
        return self.refused is None and self.before == self.after


def relaxed(name: str, atoms: Atoms, calculator: Calculator, steps: int) -> Relaxation:
    """Relaxes a crystal with its cell.

    Args:
      name: of the crystal.
      atoms: the crystal, which stays as it is.
      calculator: of energies, forces and stresses.
      steps: the most to take.
    """
    before = space_group(atoms, TOLERANCE)
    try:
        end, taken, converged = at_rest(atoms, calculator, _FORCE, steps)
    except (UsageError, CalculationFailed) as error:
        # A network may have no bottom far from what it was trained on.
        return Relaxation(name, len(atoms), before, None, None, 0, False, str(error))
    within = [tolerance for tolerance in _TOLERANCES if space_group(end, tolerance) == before]
    return Relaxation(
        *(name, len(atoms), before, space_group(end, TOLERANCE)),
        *(min(within, default=None), taken, converged),
    )


def measure(
    console: Console,
    run: RunFolder | None,
    most: int | None,
    steps: int,
    sizes: Sizes,
    seed: int,
) -> dict[str, list[Relaxation]]:
    """Relaxes all crystals with a network over local frames, and few of them with one without.

    Args:
      console: where progress is shown.
      run: the folder of a run on crystals, which relaxes crystals of its elements alone.
      most: crystals of a kind of structure; all by default, and with a run.
      steps: the most of a relaxation.
      sizes: of the untrained networks.
      seed: of their weights, and of the strains that relaxations begin with.

    Raises:
      UsageError: the run has no potential of crystals.
    """
    calculators: dict[str, Calculator] = {}
    sets: dict[str, dict[str, Atoms]] = {}
    if run is None:
        for frame in ("local", "none"):
            calculators[frame] = untrained(frame, sizes, seed)
            sets[frame] = prototypes(_CONTROLS if frame == "none" and most is None else most)
    else:
        known, elements, frame = trained(run)
        calculators[frame], sets[frame] = known, prototypes_of(elements)
    found: dict[str, list[Relaxation]] = {}
    for frame, calculator in calculators.items():
        generator = np.random.default_rng(seed)
        # Crystals of one size after the other: their programs are the same.
        crystals = sorted(sets[frame].items(), key=lambda item: len(item[1]))
        found[frame] = []
        with console.status("relaxing") as status:
            for number, (name, atoms) in enumerate(crystals, start=1):
                status.update(f"frame {frame}: {name}, {number} of {len(crystals)}")
                start = strained(atoms, generator)
                found[frame].append(relaxed(name, start, calculator, steps))
    return found


def table_of(found: Mapping[str, list[Relaxation]]) -> Table:
    """How many kept their space group, and what others became."""
    names = [
        "frame",
        "crystals",
        "refused",
        f"space group kept at {TOLERANCE:g} A",
        "largest tolerance, A",
    ]
    rows = []
    for frame, relaxations in found.items():
        done = [relaxation for relaxation in relaxations if relaxation.refused is None]
        kept = [relaxation for relaxation in done if relaxation.kept]
        largest = max((one.tolerance or np.inf for one in done), default=np.nan)
        lost = [one for one in done if not one.kept]
        words = ", ".join(f"{one.name}: {one.before} to {one.after}" for one in lost[:3])
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        ended = sum(one.converged for one in done)
        rows.append(
            [
                frame,
                f"{len(relaxations)}",
                f"{len(relaxations) - len(done)}",
                f"{len(kept)}",
                f"{largest:g}",
                f"{ended}",
                f"{np.median([one.steps for one in done] or [0]):g}",
                f"{words}{more}" or "-",
            ]
        )
    return Table([*names, "converged", "median steps", "lost"], rows)


def numbers_of(found: Mapping[str, list[Relaxation]]) -> dict[str, Any]:
    """All that was found, in the types of JSON."""
    return {
        frame: [one._asdict() | {"kept": one.kept} for one in relaxations]
        for frame, relaxations in found.items()
    }
