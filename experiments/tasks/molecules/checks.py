"""What no potential has an energy of: refused alike by `predict` and by the calculator."""

import numpy as np
from ase import Atoms

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.coincident import refuse_coincident
from experiments.tasks.molecules.data.units import check_declared, stated_units

_UNITS = stated_units()


def refuse_unfit(label: str, atoms: Atoms) -> None:
    """Refuses a molecule without atoms, with an unusable one, or in another unit than angstrom.

    Reading refuses the same. What depends on the potential, such as its elements, comes later.

    Args:
      label: what the molecule is called in errors.
      atoms: the molecule; its cell does not matter.

    Raises:
      DataError: there is no atom; a number is not that of an element; a position is not finite;
        two atoms are at one point; the info declares another unit of length.
    """
    numbers, positions = atoms.numbers, atoms.positions
    if len(atoms) == 0 or np.any((numbers < 1) | (numbers > 118)):
        raise DataError(
            f"{label}: atomic numbers must be at least 1 and at most 118, of at least one atom, "
            f"got {numbers.tolist()}"
        )
    wrong = ~np.all(np.isfinite(positions), axis=1)
    if np.any(wrong):
        atom = int(np.argmax(wrong))
        raise DataError(
            f"{label}: the position of atom {atom + 1} must be finite, got "
            f"{positions[atom].tolist()} (if dynamics ended so, shorten the time step)"
        )
    check_declared(label, atoms.info, _UNITS, ["positions"])
    refuse_coincident(numbers[None], positions[None], [label])
