"""A trained potential of crystals, with room for the frames of sites of high symmetry."""

from typing import NamedTuple

from experiments.errors import UsageError
from experiments.runs.folder import RunFolder
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.local_potential import make_potential
from experiments.tasks.molecules.stored import load_potential

_CAPACITY = (16, 16)
_ELEMENTS = 256
"""At least: more than sites of crystals need, which have many equal neighbours."""


class Trained(NamedTuple):
    """A trained potential.

    Attributes:
      calculator: of it, in double precision.
      elements: atomic numbers that it knows.
      frame: that it is averaged over.
    """

    calculator: SymmetrizedCalculator
    elements: tuple[int, ...]
    frame: str


def trained(run: RunFolder) -> Trained:
    """The potential of a run on crystals.

    Its frames have at least the room of those of untrained potentials: where they had enough, this
    changes nothing.

    Args:
      run: its folder.

    Raises:
      UsageError: it has no potential of crystals.
    """
    potential, params = load_potential(run)
    if potential.reach is None:
        raise UsageError(
            f"{run.path}: must be a potential of crystals, got one with "
            f"model.frame={potential.config.frame}"
        )
    config = potential.config
    if config.frame == "local":
        capacity = tuple(map(max, config.capacity, _CAPACITY))
        room = {"capacity": capacity, "max_elements": max(config.max_elements, _ELEMENTS)}
        wide = config.model_copy(update=room)
        potential = make_potential(wide, potential.facts, potential.targets)
    calculator = SymmetrizedCalculator.of(potential, params, skin=0.3, dtype="float64")
    return Trained(calculator, potential.facts.elements, config.frame)
