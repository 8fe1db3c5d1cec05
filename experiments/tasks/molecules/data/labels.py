"""What labels of snapshots must be: finite, symmetric, and of what has them."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from experiments.data.npz import DataError

_OF_MOLECULES = ("dipoles", "polarizabilities")
_OF_CELLS = ("stresses", "virials")
_ASYMMETRY = 0.01
"""Relative to the largest entry of a matrix: more than programs round to."""
_VANISHING = {"polarizabilities": 0.0, "stresses": 1e-4}
"""What programs leave of matrices that vanish; of stresses in eV/Angstrom^3, 0.02 GPa."""
_UNITS = {"polarizabilities": "Angstrom^3", "stresses": "eV/Angstrom^3"}


def refuse_not_finite(
    locations: Sequence[str], name: str, received: np.ndarray, array: np.ndarray
) -> None:
    """Refuses what is not finite.

    Args:
      locations: of the snapshots, for errors.
      name: of the array.
      received: as the file has it.
      array: in our units, where it may be infinite though the file is not.

    Raises:
      DataError: a number is not finite.
    """
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        snapshot, *rest = wrong[0].tolist()
        atom = f" of atom {rest[0] + 1}" if name in ("positions", "forces") else ""
        raise DataError(
            f"{locations[snapshot]}: {name}{atom} must be finite numbers, got "
            f"{received[tuple(wrong[0])]}"
        )


def without_stresses_of_others(
    arrays: Mapping[str, np.ndarray],
    crystals: Bool[np.ndarray, " snapshots"],
    locations: Sequence[str],
) -> dict[str, np.ndarray]:
    """Stresses and virials of crystals, and zeros for slabs, wires and molecules beside them.

    These have no volume that a stress would be of; their energies and forces count nevertheless.
    Warns if they have one.

    Args:
      arrays: by their names in `Molecules`.
      crystals: which snapshots repeat in all three directions.
      locations: of the snapshots, for errors.

    Returns:
      The arrays, with zeros for such stresses and virials.
    """
    found = dict(arrays)
    for name in found.keys() & _OF_CELLS:
        given = ~crystals & np.any(np.nan_to_num(found[name]) != 0, axis=(1, 2))
        if given.any():
            warnings.warn(
                f"{locations[int(np.argmax(given))]}: has {name} though it does not repeat in all "
                f"three directions ({given.sum()} of {len(given)} snapshots); of those none is learnt",
                stacklevel=3,
            )
        found[name] = np.where(crystals[:, None, None], found[name], 0)
    return found


def refuse_of_other_kind(
    arrays: Mapping[str, np.ndarray], locations: Sequence[str], whole: bool
) -> None:
    """Refuses dipoles of periodic snapshots, and stresses where none is a crystal.

    Args:
      arrays: by their names in `Molecules`, with `pbc` where any snapshot is periodic.
      locations: of the snapshots, for errors.
      whole: whether these are all snapshots; of others a crystal may come later.

    Raises:
      DataError: there are such.
    """
    pbc = arrays.get("pbc", np.zeros((len(locations), 3), bool))
    crystals = pbc.all(axis=1)
    for names, wrong, must in (
        (_OF_MOLECULES, pbc.any(axis=1), "be of molecules, without pbc"),
        (
            _OF_CELLS,
            ~crystals & whole & ~crystals.any(),
            "be of cells that repeat in all three directions, one of them at least",
        ),
    ):
        for name in arrays.keys() & names:
            if wrong.any():
                first = int(np.argmax(wrong))
                raise DataError(
                    f"{locations[first]}: {name} must {must}, got pbc {pbc[first].tolist()}"
                )


def refuse_asymmetric(arrays: Mapping[str, np.ndarray], locations: Sequence[str]) -> None:
    """Refuses polarizabilities and stresses that are no symmetric matrices.

    Args:
      arrays: by their names in `Molecules`.
      locations: of the snapshots, for errors.

    Raises:
      DataError: there are such.
    """
    for name, vanishing in _VANISHING.items():
        if name not in arrays:
            continue
        matrices = arrays[name]
        odd = np.max(np.abs(matrices - np.swapaxes(matrices, 1, 2)), axis=(1, 2))
        most = _ASYMMETRY * np.max(np.abs(matrices), axis=(1, 2)) + vanishing
        if np.any(odd > most):
            first = int(np.argmax(odd > most))
            raise DataError(
                f"{locations[first]}: {name} must be symmetric matrices, got one that differs from "
                f"its transpose by {odd[first]:.3g} {_UNITS[name]}"
            )
